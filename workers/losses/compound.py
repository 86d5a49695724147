"""Compounds of a cross-entropy and a region loss (sections 2.6 and 2.7 of Yeung et al. 2022, and beyond)."""

from __future__ import annotations

import tensorflow as tf

from workers.losses.distribution import class_weights, top_k_cross_entropy, weighted_mean
from workers.losses.region import FLOOR, class_mean, dice, foreground_dice, mean_tversky, tversky_distance
from workers.losses.sums import clip, counts_and_entropy, pixel_sums, pixels, soft_counts
from workers.tensors import Tensor


def combo(truth: Tensor, prediction: Tensor, *, alpha: Tensor, beta: Tensor, smooth: Tensor, absent: str) -> Tensor:
    """α·mCE − (1−α)·DSC (Taghanaki et al. 2019; equations 13 and 14); may be negative.

    mCE weighs rare classes with β and the background with 1−β (the released code had them exchanged).
    """
    counts, entropy = counts_and_entropy(truth, prediction, "raw")
    weights = class_weights(beta, 1.0 - beta, prediction.shape[-1])
    cross_entropy = weighted_mean(entropy, weights, prediction)
    similarity = class_mean(1.0 - tversky_distance(counts, 0.5, 0.5, smooth), counts, absent)
    return alpha * cross_entropy - (1.0 - alpha) * tf.reduce_mean(similarity)


def hybrid_focal(
    truth: Tensor,
    prediction: Tensor,
    *,
    lambda_: Tensor,
    alpha: Tensor,
    gamma: Tensor,
    tversky_alpha: Tensor,
    tversky_beta: Tensor,
    tversky_gamma: Tensor,
    smooth: Tensor,
    absent: str,
) -> Tensor:
    """λ·focal + (1−λ)·focal Tversky (Yeung et al. 2021; equation 15)."""
    counts, entropy = counts_and_entropy(truth, prediction, "clipped", gamma)
    region = mean_tversky(counts, tversky_alpha, tversky_beta, smooth, absent, exponent=1.0 / tversky_gamma)
    return lambda_ * weighted_mean(entropy, alpha, prediction) + (1.0 - lambda_) * region


def dice_focal(
    truth: Tensor, prediction: Tensor, *, lambda_: Tensor, alpha: Tensor, gamma: Tensor, smooth: Tensor, absent: str
) -> Tensor:
    """Dice + λ·focal (Zhu et al. 2019, AnatomyNet)."""
    counts, entropy = counts_and_entropy(truth, prediction, "raw", gamma)
    return mean_tversky(counts, 0.5, 0.5, smooth, absent) + lambda_ * weighted_mean(entropy, alpha, prediction)


def exponential_logarithmic(
    truth: Tensor, prediction: Tensor, *, gamma: Tensor, dice_weight: Tensor, entropy_weight: Tensor, smooth: Tensor,
    absent: str,
) -> Tensor:  # fmt: skip
    """w_D · mean of (−log DSC)^γ + w_E · mean over pixels of Σ_c w_c g (−log p)^γ (Wong et al. 2018).

    w_c = √(pixels/pixels of c) of each image, where the paper takes those of all training images.
    """
    # A node of its own: TensorFlow finds no gradient of a power whose exponent comes from outside a branch (`tf.cond`),
    # as where pixels are ignored, if a written-out gradient has that exponent, too.
    gamma = tf.identity(gamma)
    tp, fn, fp = counts = soft_counts(truth, prediction)
    # −log DSC as log(1 + wrong/right), which loses no digits at either end.
    distance = tf.math.log1p((0.5 * fn + 0.5 * fp) / (tp + smooth))
    region = tf.reduce_mean(class_mean(tf.maximum(distance, FLOOR) ** gamma, counts, absent))

    def values(g: Tensor, raw: Tensor) -> list[Tensor]:
        return [g * (-tf.math.log(clip(raw))) ** gamma]

    def slopes(g: Tensor, raw: Tensor) -> list[Tensor]:
        p = clip(raw)
        return [tf.where(tf.equal(p, raw), -gamma * g * (-tf.math.log(p)) ** (gamma - 1.0) / p, 0.0)]

    (entropy,) = pixel_sums(truth, prediction, values, slopes)
    size = tf.stop_gradient(tp + fn)
    weights = tf.where(size > 0.5, tf.sqrt(pixels(prediction) / tf.maximum(size, 0.5)), 0.0)
    return dice_weight * region + entropy_weight * weighted_mean(entropy, weights, prediction)


def dice_cross_entropy(
    truth: Tensor, prediction: Tensor, *, weight: Tensor, smooth: Tensor, absent: str, background: str
) -> Tensor:
    """Dice + w · cross entropy (Isensee et al. 2021, nnU-Net, whose Dice leaves out the background)."""
    counts, entropy = counts_and_entropy(truth, prediction, "raw")
    return foreground_dice(counts, smooth, absent, background) + weight * weighted_mean(entropy, 1.0, prediction)


def dice_topk(truth: Tensor, prediction: Tensor, *, k: float, smooth: Tensor, absent: str) -> Tensor:
    """Dice + cross entropy of the worst k percent of pixels (Ma et al. 2021, "Loss odyssey")."""
    worst = top_k_cross_entropy(truth, prediction, k=k)
    # One after the other: side by side, the slopes of one would lie about while the other is at its largest.
    with tf.control_dependencies([worst]):
        region = dice(truth, prediction, smooth=smooth, absent=absent)
    return region + worst
