"""Hausdorff distance losses (Karimi & Salcudean 2019): errors weigh with their distance from a contour.

Two forms: with distance maps, and with erosions, which count how deep an error is and need no distances. Both are means
over the pixels and the rare classes. A pixel that is of no class, since it is ignored, has no part.
"""

from __future__ import annotations

import tensorflow as tf

from workers.losses.boundary import rare_classes
from workers.losses.distances import contour_distances_of_one_hot
from workers.losses.maps import map_of_truth
from workers.losses.neighbours import contour_distance, cross_mean
from workers.losses.region import dice
from workers.tensors import Tensor


def hausdorff(truth: Tensor, prediction: Tensor, *, exponent: Tensor, sides: str, truth_map: Tensor = None) -> Tensor:
    """Mean over pixels and rare classes of (p − g)² (d_g^α + d_p^α) (Karimi & Salcudean 2019, equation 8).

    d_g is the distance to the truth's contour, `truth_map`, which training computes with the batch; d_p that to the
    contour of p > ½, found on the device, and only with `sides="both"`.
    """
    rare, of_truth = rare_classes(prediction), truth[..., 1:]
    distance = map_of_truth(contour_distances_of_one_hot, of_truth, truth_map, channels=rare.shape[-1])
    weight = distance**exponent
    if sides == "both":
        weight += tf.cast(contour_distance(rare > 0.5), rare.dtype) ** exponent
    return _mean((rare - of_truth) ** 2 * tf.stop_gradient(weight), truth)


def dice_hausdorff(
    truth: Tensor, prediction: Tensor, *, weight: Tensor, exponent: Tensor, sides: str, smooth: Tensor, absent: str,
    truth_map: Tensor = None,
) -> Tensor:  # fmt: skip
    """Dice + w · the distance-map form (Ma et al. 2021)."""
    distant = hausdorff(truth, prediction, exponent=exponent, sides=sides, truth_map=truth_map)
    return dice(truth, prediction, smooth=smooth, absent=absent) + weight * distant


def hausdorff_erosion(truth: Tensor, prediction: Tensor, *, exponent: Tensor, erosions: float) -> Tensor:
    """Mean over pixels and rare classes of Σ_k (k + 1)^α E_k, E_0 = (p − g)² (Karimi & Salcudean 2019, equation 9).

    E_k is E_{k−1}, eroded softly: 2 · max(0, mean of a cross of pixels − ½). `erosions` is how often, a plain number.
    """
    counted = _of_a_class(truth)
    error = (rare_classes(prediction) - truth[..., 1:]) ** 2
    total = error
    for k in range(1, int(erosions) + 1):
        error = 2.0 * tf.nn.relu(cross_mean(error) - 0.5) * counted
        total += (k + 1.0) ** exponent * error
    return _mean(total, truth)


def _mean(values: Tensor, truth: Tensor) -> Tensor:
    """Mean over the counted pixels and the classes of each image, and over the batch."""
    counted = _of_a_class(truth)
    axes = list(range(1, values.shape.rank))
    sums = tf.reduce_sum(values, axis=axes)
    pixels = tf.maximum(tf.reduce_sum(counted, axis=axes), 1.0)
    return tf.reduce_mean(sums / (pixels * values.shape[-1]))


def _of_a_class(truth: Tensor) -> Tensor:
    """1 where a pixel is of some class, 0 where it is ignored: (batch, spatial..., 1)."""
    return tf.add_n(tf.unstack(truth, axis=-1))[..., tf.newaxis]
