"""Boundary loss: the prediction weighed with the signed distance to the truth's contour (Kervadec et al. 2019, 2021).

It is used beside a region loss, since alone it has a minimum at the empty prediction.
"""

from __future__ import annotations

import tensorflow as tf

from workers.losses.distances import of_one_hot
from workers.losses.maps import map_of_truth
from workers.losses.region import dice, generalised_dice
from workers.tensors import Tensor


def boundary(
    truth: Tensor, prediction: Tensor, *, alpha: Tensor, smooth: Tensor, absent: str, truth_map: Tensor = None
) -> Tensor:
    """(1−α)·generalised Dice + α·mean over pixels and rare classes of φ p (Kervadec et al. 2021).

    φ is the signed distance map of the truth, negative within it, 0 for a class that is absent: `truth_map`, which
    training computes with the batch. Where it is missing, SciPy computes it within the step, on the host: many times
    slower, and not with XLA.
    """
    contour = contour_term(truth, prediction, truth_map)
    return (1.0 - alpha) * generalised_dice(truth, prediction, smooth=smooth, absent=absent) + alpha * contour


def dice_boundary(
    truth: Tensor, prediction: Tensor, *, alpha: Tensor, smooth: Tensor, absent: str, truth_map: Tensor = None
) -> Tensor:
    """(1−α)·Dice + α·mean over pixels and rare classes of φ p (Ma et al. 2021); φ as in `boundary`."""
    contour = contour_term(truth, prediction, truth_map)
    return (1.0 - alpha) * dice(truth, prediction, smooth=smooth, absent=absent) + alpha * contour


def contour_term(truth: Tensor, prediction: Tensor, truth_map: Tensor) -> Tensor:
    """Mean over pixels and rare classes of φ p."""
    distance = map_of_truth(of_one_hot, truth[..., 1:], truth_map, channels=prediction.shape[-1] - 1)
    return tf.reduce_mean(distance * rare_classes(prediction))


@tf.custom_gradient  # type: ignore[untyped-decorator]
def rare_classes(prediction: Tensor) -> Tensor:
    """All classes but the background. A slice's own gradient, along an inner axis, takes two to six times as long."""

    def gradient(upstream: Tensor) -> Tensor:
        return tf.concat([tf.zeros_like(prediction[..., :1]), upstream], axis=-1)

    return prediction[..., 1:], gradient
