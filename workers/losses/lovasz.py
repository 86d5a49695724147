"""The Lovász-softmax loss: a convex surrogate of the Jaccard index, by the order of the errors (Berman et al. 2018)."""

from __future__ import annotations

import tensorflow as tf

from workers.losses.region import mean_of_classes
from workers.tensors import Tensor


def lovasz_softmax(truth: Tensor, prediction: Tensor, *, absent: str) -> Tensor:
    """Mean over classes of Σ_i e_i (J_i − J_{i−1}), e = |g − p|, the largest first (Berman et al. 2018).

    J_i is the Jaccard loss of a mask that is wrong in the i worst pixels: 1 − (G − Σ g)/(G + Σ (1 − g)).
    """
    # One class after the other: side by side, each would keep several sorted arrays.
    values, sizes = [], []
    for g, p in zip(tf.unstack(truth, axis=-1), tf.unstack(prediction, axis=-1), strict=True):
        flat = (tf.shape(g)[0], -1)
        size = tf.reduce_sum(tf.reshape(g, flat), axis=-1)
        values.append(_of_class(tf.reshape(g, flat), tf.reshape(tf.abs(g - p), flat), size))
        sizes.append(size)
    return tf.reduce_mean(mean_of_classes(tf.stack(values, axis=-1), tf.stack(sizes, axis=-1) > 0.5, absent))


def _of_class(truth: Tensor, error: Tensor, size: Tensor) -> Tensor:
    """Of one class of each image: (batch, pixels) to (batch,)."""
    order = tf.argsort(tf.stop_gradient(error), axis=-1, direction="DESCENDING", stable=True)
    sorted_error = tf.gather(error, order, axis=1, batch_dims=1)
    g = tf.stop_gradient(tf.gather(truth, order, axis=1, batch_dims=1))
    size = size[:, tf.newaxis]
    left = size - tf.cumsum(g, axis=-1, exclusive=True)
    union = size + tf.cumsum(1.0 - g, axis=-1, exclusive=True)
    # J_i − J_{i−1} without a difference of near equals. Of an absent class the first pixel takes all.
    rise = tf.math.divide_no_nan(left * (1.0 - g) + g * union, union * (union + 1.0 - g))
    first = tf.concat([tf.ones_like(g[:, :1]), tf.zeros_like(g[:, 1:])], axis=-1)
    rise = tf.where(size > 0.5, rise, first)
    return tf.reduce_sum(sorted_error * rise, axis=-1)
