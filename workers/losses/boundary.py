"""Boundary loss: the prediction weighed with the signed distance to the truth's contour (Kervadec et al. 2019, 2021).

It is used beside a region loss, since alone it has a minimum at the empty prediction.
"""

from __future__ import annotations

import tensorflow as tf

from workers.losses.distances import of_one_hot
from workers.losses.region import generalised_dice
from workers.tensors import Tensor


def boundary(
    truth: Tensor, prediction: Tensor, *, alpha: Tensor, smooth: Tensor, absent: str, truth_map: Tensor = None
) -> Tensor:
    """(1−α)·generalised Dice + α·mean over pixels and rare classes of φ p (Kervadec et al. 2021).

    φ is the signed distance map of the truth, negative within it, 0 for a class that is absent: `truth_map`, which
    training computes with the batch. Where it is missing, SciPy computes it within the step, on the host: many times
    slower, and not with XLA.
    """
    rare = _rare(prediction)
    if truth_map is None:
        truth_map = tf.numpy_function(of_one_hot, [truth[..., 1:]], prediction.dtype, stateful=False)
    distance = tf.stop_gradient(tf.ensure_shape(truth_map, rare.shape))
    contour = tf.reduce_mean(distance * rare)
    return (1.0 - alpha) * generalised_dice(truth, prediction, smooth=smooth, absent=absent) + alpha * contour


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _rare(prediction: Tensor) -> Tensor:
    """All classes but the background. A slice's own gradient, along an inner axis, takes two to six times as long."""

    def gradient(upstream: Tensor) -> Tensor:
        return tf.concat([tf.zeros_like(prediction[..., :1]), upstream], axis=-1)

    return prediction[..., 1:], gradient
