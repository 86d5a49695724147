"""Losses of the cross-entropy kind (sections 2.1 and 2.2 of Yeung et al. 2022).

Probabilities are clipped to [1e-7, 1 − 1e-7], terms summed over classes, averaged over pixels, then over the batch,
as in the authors' released code. All take truth and prediction (batch, spatial..., classes) and return a scalar.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from workers.losses.sums import clip, entropy_sums, pixels


def cross_entropy(truth: Any, prediction: Any) -> Any:
    """Mean over pixels of Σ_c −g log p (Yeung et al. 2022, equation 2)."""
    return weighted_mean(entropy_sums(truth, prediction), 1.0, prediction)


def focal(truth: Any, prediction: Any, *, alpha: Any, gamma: Any) -> Any:
    """Mean over pixels of Σ_c α (1−p)^γ (−g log p) (Lin et al. 2017; Yeung et al. 2022, equation 5)."""
    return weighted_mean(entropy_sums(truth, prediction, gamma), alpha, prediction)


def top_k_cross_entropy(truth: Any, prediction: Any, *, k: float) -> Any:
    """Mean cross entropy of each image's worst k percent of pixels, at least one (Wu et al. 2016).

    `k` is a plain number, 0 < k ≤ 100. Pixels that tie for the last place share it.
    """
    # A sum of slices: a reduction over an inner axis of a few classes takes three times as long.
    of_truth = tf.add_n(tf.unstack(truth * prediction, axis=-1))
    per_pixel = tf.reshape(-tf.math.log(clip(of_truth)), (tf.shape(prediction)[0], -1))
    count = tf.math.ceil(pixels(prediction) * (k / 100.0))
    weights = tf.stop_gradient(_worst(per_pixel, count))
    return tf.reduce_mean(tf.reduce_sum(weights * per_pixel, axis=-1)) / count


def _worst(values: Any, count: Any) -> Any:
    """1 for the `count` largest of each row of `values` ≥ 0, 0 for the rest, the last place divided between equals.

    The bits of positive floats are in the floats' order, so that their highest bit with fewer than `count` values above
    is found bit by bit: half the time of `top_k`, and a gradient without a scatter.
    """
    bits = tf.bitcast(values, tf.int64 if values.dtype == tf.float64 else tf.int32)
    one = tf.ones((), bits.dtype)

    def above(threshold: Any) -> Any:
        return tf.reduce_sum(tf.cast(bits > threshold, values.dtype), axis=-1, keepdims=True)

    def next_bit(bit: Any, least: Any) -> tuple[Any, Any]:
        candidate = least + tf.bitwise.left_shift(one, bit)
        return bit - 1, tf.where(above(candidate - 1) >= count, candidate, least)

    first = one * (bits.dtype.size * 8 - 2)
    start = tf.zeros_like(bits[:, :1])
    _, last = tf.while_loop(lambda bit, _: bit >= 0, next_bit, (first, start), parallel_iterations=1)
    larger, equal = tf.cast(bits > last, values.dtype), tf.cast(tf.equal(bits, last), values.dtype)
    left = count - tf.reduce_sum(larger, axis=-1, keepdims=True)
    return larger + equal * left / tf.reduce_sum(equal, axis=-1, keepdims=True)


def weighted_mean(sums: Any, weights: Any, prediction: Any) -> Any:
    """Σ_c weight_c · sum_c / pixels, averaged over the batch; `sums` is (batch, classes)."""
    return tf.reduce_mean(tf.reduce_sum(weights * sums, axis=-1)) / pixels(prediction)


def class_weights(rare: Any, background: Any, classes: int) -> Any:
    """The vector (background, rare, ..., rare); of a `rare` that has one value per class, the rare classes' values."""
    rare = tf.broadcast_to(rare, (classes,))
    return tf.concat([tf.reshape(background, (1,)), rare[1:]], axis=0)
