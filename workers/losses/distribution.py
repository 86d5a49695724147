"""Losses of the cross-entropy kind (sections 2.1 and 2.2 of Yeung et al. 2022).

Probabilities are clipped to [1e-7, 1 − 1e-7], terms summed over classes, averaged over pixels, then over the batch,
as in the authors' released code. All take truth and prediction (batch, spatial..., classes) and return a scalar.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from workers.losses.sums import clip, cross_entropy_sums, focal_sums, pixels


def cross_entropy(truth: Any, prediction: Any) -> Any:
    """Mean over pixels of Σ_c −g log p (Yeung et al. 2022, equation 2)."""
    return weighted_mean(cross_entropy_sums(truth, clip(prediction)), 1.0, prediction)


def focal(truth: Any, prediction: Any, *, alpha: Any, gamma: Any) -> Any:
    """Mean over pixels of Σ_c α (1−p)^γ (−g log p) (Lin et al. 2017; Yeung et al. 2022, equation 5)."""
    return weighted_mean(focal_sums(truth, clip(prediction), gamma), alpha, prediction)


def top_k_cross_entropy(truth: Any, prediction: Any, *, k: float) -> Any:
    """Mean cross entropy of each image's worst k percent of pixels, at least one (Wu et al. 2016).

    `k` is a plain number, 0 < k ≤ 100.
    """
    per_pixel = -tf.reduce_sum(truth * tf.math.log(clip(prediction)), axis=-1)
    per_pixel = tf.reshape(per_pixel, (tf.shape(per_pixel)[0], -1))
    count = tf.cast(tf.math.ceil(pixels(prediction) * (k / 100.0)), tf.int32)
    worst = tf.math.top_k(per_pixel, k=count, sorted=False).values
    return tf.reduce_mean(worst)


def weighted_mean(sums: Any, weights: Any, prediction: Any) -> Any:
    """Σ_c weight_c · sum_c / pixels, averaged over the batch; `sums` is (batch, classes)."""
    return tf.reduce_mean(tf.reduce_sum(weights * sums, axis=-1)) / pixels(prediction)


def class_weights(rare: Any, background: Any, classes: int) -> Any:
    """The vector (background, rare, ..., rare); of a `rare` that has one value per class, the rare classes' values."""
    rare = tf.broadcast_to(rare, (classes,))
    return tf.concat([tf.reshape(background, (1,)), rare[1:]], axis=0)
