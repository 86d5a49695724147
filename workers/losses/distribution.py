"""Losses of the cross-entropy kind (sections 2.1 and 2.2 of Yeung et al. 2022).

Probabilities are clipped to [1e-7, 1 − 1e-7], terms summed over classes, averaged over pixels, then over the batch,
as in the authors' released code. All take truth and prediction (batch, spatial..., classes) and return a scalar.
"""

from __future__ import annotations

import tensorflow as tf

from workers.losses.sums import clip, entropy_sums, pixels
from workers.losses.worst import worst
from workers.tensors import Tensor


def cross_entropy(truth: Tensor, prediction: Tensor) -> Tensor:
    """Mean over pixels of Σ_c −g log p (Yeung et al. 2022, equation 2)."""
    return weighted_mean(entropy_sums(truth, prediction), 1.0, prediction)


def focal(truth: Tensor, prediction: Tensor, *, alpha: Tensor, gamma: Tensor) -> Tensor:
    """Mean over pixels of Σ_c α (1−p)^γ (−g log p) (Lin et al. 2017; Yeung et al. 2022, equation 5)."""
    return weighted_mean(entropy_sums(truth, prediction, gamma), alpha, prediction)


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
