"""Losses of the cross-entropy kind (sections 2.1 and 2.2 of Yeung et al. 2022).

Probabilities are clipped to [1e-7, 1 − 1e-7], terms summed over classes, averaged over pixels, then over the batch,
as in the authors' released code. All take truth and prediction (batch, spatial..., classes) and return a scalar.
"""

from __future__ import annotations

import tensorflow as tf

from workers.losses.distances import contour_nearness_of_one_hot
from workers.losses.maps import map_of_truth
from workers.losses.sums import class_sizes, clip, entropy_sums, pixels
from workers.losses.worst import worst
from workers.tensors import Tensor


def cross_entropy(truth: Tensor, prediction: Tensor) -> Tensor:
    """Mean over pixels of Σ_c −g log p (Yeung et al. 2022, equation 2)."""
    return weighted_mean(entropy_sums(truth, prediction), 1.0, prediction)


def focal(truth: Tensor, prediction: Tensor, *, alpha: Tensor, gamma: Tensor) -> Tensor:
    """Mean over pixels of Σ_c α (1−p)^γ (−g log p) (Lin et al. 2017; Yeung et al. 2022, equation 5)."""
    return weighted_mean(entropy_sums(truth, prediction, gamma), alpha, prediction)


def weighted_cross_entropy(truth: Tensor, prediction: Tensor, *, weight: Tensor, frequency: str) -> Tensor:
    """Mean over pixels of Σ_c w_c (−g log p) (Ronneberger et al. 2015; Ma et al. 2021).

    With `frequency="inverse"` w_c is multiplied with pixels/(classes present · pixels of c) of each image: every class
    that is present counts as much as another, whatever its size.
    """
    weights = weight
    if frequency == "inverse":
        size = class_sizes(truth)
        there = size > 0.5
        number = tf.reduce_sum(tf.cast(there, size.dtype), axis=-1, keepdims=True)
        whole = tf.reduce_sum(size, axis=-1, keepdims=True)
        weights = weight * tf.where(there, whole / (number * tf.where(there, size, 1.0)), 0.0)
    return weighted_mean(entropy_sums(truth, prediction), weights, prediction)


def label_smoothing(truth: Tensor, prediction: Tensor, *, epsilon: Tensor) -> Tensor:
    """Cross entropy with g' = (1 − ε) g + ε/classes in place of g (Szegedy et al. 2016)."""
    # A pixel that is of no class, since it is ignored, stays so.
    any_class = tf.add_n(tf.unstack(truth, axis=-1))[..., tf.newaxis]
    smoothed = (1.0 - epsilon) * truth + (epsilon / prediction.shape[-1]) * any_class
    return weighted_mean(entropy_sums(smoothed, prediction), 1.0, prediction)


def distance_penalised_cross_entropy(
    truth: Tensor, prediction: Tensor, *, weight: Tensor, truth_map: Tensor = None
) -> Tensor:
    """Mean over pixels of (1 + w Φ) Σ_c −g log p (Caliva et al. 2019).

    Φ is 1 at a contour of the truth and falls to 0 at the middle of each class's region: `truth_map`, which training
    computes with the batch. Where it is missing, SciPy computes it within the step, on the host.
    """
    nearness = map_of_truth(contour_nearness_of_one_hot, truth, truth_map, channels=1)
    return weighted_mean(entropy_sums(truth * (1.0 + weight * nearness), prediction), 1.0, prediction)


def top_k_cross_entropy(truth: Tensor, prediction: Tensor, *, k: float) -> Tensor:
    """Mean cross entropy of each image's worst k percent of pixels, at least one (Wu et al. 2016).

    `k` is a plain number, 0 < k ≤ 100. Pixels that tie for the last place share it.
    """
    count = tf.math.ceil(pixels(prediction) * (k / 100.0))

    # The slope is written out: automatic differentiation would keep, and take apart and stack, several arrays more.
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(truth: Tensor, prediction: Tensor) -> Tensor:
        # A sum of slices: a reduction over an inner axis of a few classes takes three times as long.
        of_truth = tf.add_n(tf.unstack(truth * prediction, axis=-1))
        clipped = clip(of_truth)
        per_pixel = -tf.math.log(clipped)
        flat = tf.reshape(per_pixel, (tf.shape(prediction)[0], -1))
        weights = tf.stop_gradient(tf.map_fn(lambda row: worst(row, count), flat, parallel_iterations=1))
        # Made before the value, so that it alone is kept until the gradient is taken.
        slope = tf.where(tf.equal(clipped, of_truth), -tf.reshape(weights, tf.shape(clipped)) / clipped, 0.0)

        def gradient(upstream: Tensor) -> tuple[None, Tensor]:
            each = upstream / (count * tf.cast(tf.shape(prediction)[0], prediction.dtype))
            return None, truth * (each * slope)[..., tf.newaxis]

        with tf.control_dependencies([slope]):
            value = tf.reduce_mean(tf.reduce_sum(weights * flat, axis=-1)) / count
        return value, gradient

    return run(truth, prediction)


def weighted_mean(sums: Tensor, weights: Tensor, prediction: Tensor) -> Tensor:
    """Σ_c weight_c · sum_c / pixels, averaged over the batch; `sums` is (batch, classes)."""
    return tf.reduce_mean(tf.reduce_sum(weights * sums, axis=-1)) / pixels(prediction)


def class_weights(rare: Tensor, background: Tensor, classes: int) -> Tensor:
    """The vector (background, rare, ..., rare); of a `rare` that has one value per class, the rare classes' values."""
    rare = tf.broadcast_to(rare, (classes,))
    return tf.concat([tf.reshape(background, (1,)), rare[1:]], axis=0)
