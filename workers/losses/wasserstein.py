"""The generalised Wasserstein Dice loss, for classes that are nearer to some than to others (Fidon et al. 2017)."""

from __future__ import annotations

import tensorflow as tf

from workers.losses.pairs import matrix_of
from workers.losses.region import share
from workers.tensors import Tensor


def generalised_wasserstein_dice(
    truth: Tensor, prediction: Tensor, *, distances: float | tuple[float, ...], smooth: Tensor
) -> Tensor:
    """1 − 2 T/(2 T + E), E = Σ_i δ_i, T = Σ_i Σ_{l ≠ 0} g_l (M_l0 − δ_i), δ = Σ_lm g_l M_lm p_m (Fidon et al. 2017).

    M holds the distance of each two classes, of which class 0 is the background. `distances` is a plain number, or one
    for each pair of classes (`workers.losses.pairs`).
    """
    classes = prediction.shape[-1]
    matrix = tf.constant(matrix_of(distances, classes), prediction.dtype)
    flat = [tf.reshape(values, (tf.shape(values)[0], -1, classes)) for values in (truth, prediction)]
    # All of it is linear in how much of class l is taken for class m.
    taken = tf.matmul(flat[0], flat[1], transpose_a=True)
    wrong = tf.reduce_sum(matrix * taken, axis=-1)
    overlap = tf.reduce_sum((matrix[:, :1] - matrix) * taken, axis=-1)[:, 1:]
    return tf.reduce_mean(share(tf.reduce_sum(wrong, axis=-1), 2.0 * tf.reduce_sum(overlap, axis=-1) + smooth))
