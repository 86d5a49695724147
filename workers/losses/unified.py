"""The Unified Focal loss, symmetric and asymmetric (section 2.8 of Yeung et al. 2022).

The form is the released code's, with λ on the focal part (the code's `weight` is 1 − λ) and its defects fixed. δ > 0.5
weighs rare classes in the focal part and false negatives in the Tversky part. γ suppresses easy pixels in the focal
part and, through the exponent 1 − γ, enhances small errors in the Tversky part; in the asymmetric variant the one acts
on the background alone and the other on the rare classes alone.

`convention="published"` is the formulas as printed: δ on false positives (18), sums over classes in place of means
(17, 21), and for the symmetric variant γ and 1 − γ exchanged (16, 17). γ and δ may have one value per class; the
background's entry of δ stands for δ in its weight 1 − δ.
"""

from __future__ import annotations

import tensorflow as tf

from workers.losses.distribution import class_weights, weighted_mean
from workers.losses.region import FLOOR, class_mean, present, tversky_distance
from workers.losses.sums import counts_and_entropy
from workers.tensors import Tensor


def symmetric(
    truth: Tensor,
    prediction: Tensor,
    *,
    lambda_: Tensor,
    delta: Tensor,
    gamma: Tensor,
    smooth: Tensor,
    convention: str,
    absent: str,
) -> Tensor:
    """λ·mF + (1−λ)·mFT; mF = Σ_c w_c (1−p)^γ (−g log p), mFT = (1 − mTI)^(1−γ)."""
    if convention == "published":
        suppression, enhancement = 1.0 - gamma, gamma
    else:
        suppression, enhancement = gamma, 1.0 - gamma
    return _unified(truth, prediction, lambda_, delta, suppression, enhancement, smooth, convention, absent)


def asymmetric(
    truth: Tensor,
    prediction: Tensor,
    *,
    lambda_: Tensor,
    delta: Tensor,
    gamma: Tensor,
    smooth: Tensor,
    convention: str,
    absent: str,
) -> Tensor:
    """λ·maF + (1−λ)·maFT: suppression of the background alone, enhancement of the rare classes alone."""
    classes = prediction.shape[-1]
    zero, one = tf.zeros((), prediction.dtype), tf.ones((), prediction.dtype)
    background = gamma if gamma.shape.rank == 0 else gamma[0]
    suppression = class_weights(zero, background, classes)
    enhancement = class_weights(1.0 - gamma, one, classes)
    return _unified(truth, prediction, lambda_, delta, suppression, enhancement, smooth, convention, absent)


def _unified(
    truth: Tensor,
    prediction: Tensor,
    lambda_: Tensor,
    delta: Tensor,
    suppression: Tensor,
    enhancement: Tensor,
    smooth: Tensor,
    convention: str,
    absent: str,
) -> Tensor:
    counts, entropy = counts_and_entropy(truth, prediction, "clipped", suppression)
    background = delta if delta.shape.rank == 0 else delta[0]
    weights = class_weights(delta, 1.0 - background, prediction.shape[-1])
    focal = weighted_mean(entropy, weights, prediction)

    alpha, beta = (delta, 1.0 - delta) if convention == "published" else (1.0 - delta, delta)
    distance = tversky_distance(counts, alpha, beta, smooth)
    enhanced = tf.maximum(distance, FLOOR) ** enhancement
    if convention == "published":
        there = tf.ones_like(enhanced) if absent == "keep" else tf.cast(present(counts), enhanced.dtype)
        region = tf.reduce_sum(enhanced * there, axis=-1)
    else:
        region = class_mean(enhanced, counts, absent)
    return lambda_ * focal + (1.0 - lambda_) * tf.reduce_mean(region)
