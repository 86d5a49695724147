"""`python -m workers.losses.curves NAME`: value and slope of a loss over p and over overlap, as JSON.

The child process of `sweeper losses plot`: it imports TensorFlow.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from numpy.typing import NDArray

SIDE, SQUARE = 36, 12
"""Pixels of the image and of the square of foreground in its middle."""

SURE = 0.95
"""Probability of the predicted class where the square is shifted."""


def curves(name: str) -> dict[str, list[float]]:
    """Two curves of a loss with its defaults, for one image with a square of foreground.

    Over `p` every pixel has this probability of its true class; `slope` is the derivative. Over `overlap` a sure
    prediction is the square shifted aside, and overlap the Dice index of both squares.
    """
    import tensorflow as tf

    from workers.losses.registry import get_loss

    loss = get_loss(name)
    truth = tf.constant(_square(0))

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def of_probability(p: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(p)
            value = loss(truth, truth * p + (1.0 - truth) * (1.0 - p))
        return value, tape.gradient(value, p)

    of_prediction = tf.function(lambda prediction: loss(truth, prediction), autograph=False)
    p = np.linspace(0.01, 0.99, 99)
    found = [[float(x) for x in of_probability(tf.constant(at, tf.float64))] for at in p]
    overlap = 1.0 - np.arange(SQUARE, -1, -1) / SQUARE
    sure = [_square(shift) * SURE + (1.0 - _square(shift)) * (1.0 - SURE) for shift in range(SQUARE, -1, -1)]
    shifted = [float(of_prediction(tf.constant(prediction))) for prediction in sure]
    return {
        "p": p.tolist(),
        "value": [value for value, _ in found],
        "slope": [slope for _, slope in found],
        "overlap": overlap.tolist(),
        "overlap_value": shifted,
        "overlap_slope": np.gradient(shifted, overlap).tolist(),
    }


def _square(shift: int) -> NDArray[np.float64]:
    """One image, one-hot, with the square shifted aside by so many pixels."""
    labels = np.zeros((1, SIDE, SIDE), int)
    first = (SIDE - SQUARE) // 2
    labels[0, first : first + SQUARE, first - shift : first - shift + SQUARE] = 1
    return np.eye(2)[labels]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(curves(sys.argv[1])))
