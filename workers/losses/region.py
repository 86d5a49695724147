"""Losses of the region kind: Dice, Tversky and their relatives (sections 2.3 to 2.5 of Yeung et al. 2022).

Soft sums per image and class over the spatial axes, an index per image and class, its mean over classes, background
included, and batch. Which of them clip, and their smoothing, follow the authors' released code.

An absent class (no pixel of it in the truth of an image) has a loss near 1 even for a perfect prediction, with hardly
any gradient: `absent="keep"`, the released behaviour. `absent="skip"` leaves it out of its image's mean.
"""

from __future__ import annotations

import tensorflow as tf

from workers.losses.sums import EPSILON, Counts, clipped_counts, pixel_sums, pixels, soft_counts
from workers.tensors import Tensor

FLOOR = EPSILON
"""Least base of a power below 1, whose slope is infinite at 0."""


def dice(truth: Tensor, prediction: Tensor, *, smooth: Tensor, absent: str) -> Tensor:
    """1 − DSC, DSC = (tp + s)/(tp + fn/2 + fp/2 + s) (Yeung et al. 2022, equations 8 and 9)."""
    return tversky(truth, prediction, alpha=0.5, beta=0.5, smooth=smooth, absent=absent)


def tversky(truth: Tensor, prediction: Tensor, *, alpha: Tensor, beta: Tensor, smooth: Tensor, absent: str) -> Tensor:
    """1 − TI, TI = (tp + s)/(tp + α fp + β fn + s) (Salehi et al. 2017; equations 10 and 11)."""
    return mean_tversky(soft_counts(truth, prediction), alpha, beta, smooth, absent)


def focal_tversky(
    truth: Tensor, prediction: Tensor, *, alpha: Tensor, beta: Tensor, gamma: Tensor, smooth: Tensor, absent: str
) -> Tensor:
    """(1 − TI)^(1/γ) (Abraham & Khan 2019; equation 12); γ > 1 enhances what is nearly right."""
    return mean_tversky(clipped_counts(truth, prediction), alpha, beta, smooth, absent, exponent=1.0 / gamma)


def asymmetric_similarity(truth: Tensor, prediction: Tensor, *, beta: Tensor, smooth: Tensor, absent: str) -> Tensor:
    """1 − F_β, F_β = (1+β²) tp/((1+β²) tp + β² fn + fp) (Hashemi et al. 2018): Tversky with weights that sum to 1."""
    square = beta * beta
    return tversky(
        truth, prediction, alpha=1.0 / (1.0 + square), beta=square / (1.0 + square), smooth=smooth, absent=absent
    )


def log_cosh_dice(truth: Tensor, prediction: Tensor, *, smooth: Tensor, absent: str) -> Tensor:
    """log cosh of each image's Dice loss (Jadon 2020)."""
    counts = soft_counts(truth, prediction)
    x = class_mean(tversky_distance(counts, 0.5, 0.5, smooth), counts, absent)
    # cosh x = 1 + 2 sinh²(x/2): cosh itself would round to 1 for small x.
    return tf.reduce_mean(tf.math.log1p(2.0 * tf.sinh(x / 2.0) ** 2))


def generalised_dice(truth: Tensor, prediction: Tensor, *, smooth: Tensor, absent: str) -> Tensor:
    """1 − 2 Σ_c w_c tp_c / Σ_c w_c (2 tp_c + fp_c + fn_c), w_c = 1/(pixels of the truth)² (Sudre et al. 2017).

    Weights are scaled to a largest of 1 in each image, so that the smoothing means the same for all sizes. Where an
    absent class is kept, it weighs as the rarest class that is present.
    """
    return tf.reduce_mean(generalised_dice_of_images(truth, prediction, smooth, absent))


def generalised_dice_of_images(truth: Tensor, prediction: Tensor, smooth: Tensor, absent: str) -> Tensor:
    """The generalised Dice loss of each image, (batch,)."""
    tp, fn, fp = counts = soft_counts(truth, prediction)
    size = tf.stop_gradient(tp + fn)
    there = present(counts)
    least = tf.reduce_min(tf.where(there, size, size.dtype.max), axis=-1, keepdims=True)
    weights = tf.where(there, (least / tf.where(there, size, 1.0)) ** 2, 0.0 if absent == "skip" else 1.0)
    wrong = tf.reduce_sum(weights * (fn + fp), axis=-1)
    right = tf.reduce_sum(weights * 2.0 * tp, axis=-1)
    return share(wrong, right + smooth)


def iou(truth: Tensor, prediction: Tensor, *, smooth: Tensor, absent: str) -> Tensor:
    """1 − (tp + s)/(tp + fn + fp + s), the soft Jaccard index (Rahman & Wang 2016): Tversky with weights of 1."""
    return tversky(truth, prediction, alpha=1.0, beta=1.0, smooth=smooth, absent=absent)


def squared_dice(truth: Tensor, prediction: Tensor, *, smooth: Tensor, absent: str) -> Tensor:
    """1 − (2 Σ p g + s)/(Σ p² + Σ g² + s) (Milletari et al. 2016, V-Net).

    Computed as Σ (p − g)² over Σ (p − g)² + 2 Σ p g + s.
    """
    wrong, overlap, size = pixel_sums(
        truth, prediction, lambda g, p: [(p - g) ** 2, g * p, g], lambda g, p: [2.0 * (p - g), g]
    )
    distance = share(wrong, 2.0 * overlap + smooth)
    return tf.reduce_mean(mean_of_classes(distance, size > 0.5, absent))


def batch_dice(truth: Tensor, prediction: Tensor, *, smooth: Tensor, absent: str, background: str) -> Tensor:
    """Dice of the counts of the whole batch in place of each image's (Isensee et al. 2021, nnU-Net)."""
    counts = Counts(*(tf.reduce_sum(count, axis=0, keepdims=True) for count in soft_counts(truth, prediction)))
    return foreground_dice(counts, smooth, absent, background)


def foreground_dice(counts: Counts, smooth: Tensor, absent: str, background: str) -> Tensor:
    """Mean Dice loss over classes and batch, the background among them or not."""
    if background == "skip":
        counts = Counts(*(count[:, 1:] for count in counts))
    return mean_tversky(counts, 0.5, 0.5, smooth, absent)


def sensitivity_specificity(
    truth: Tensor, prediction: Tensor, *, weight: Tensor, smooth: Tensor, absent: str
) -> Tensor:
    """w · Σ (g − p)² g/Σ g + (1 − w) · Σ (g − p)² (1 − g)/Σ (1 − g) (Brosch et al. 2015)."""
    missed, all_errors, size = pixel_sums(
        truth,
        prediction,
        lambda g, p: [(g - p) ** 2 * g, (g - p) ** 2, g],
        lambda g, p: [2.0 * (p - g) * g, 2.0 * (p - g)],
    )
    others = pixels(prediction) - size
    value = weight * missed / (size + smooth) + (1.0 - weight) * (all_errors - missed) / (others + smooth)
    return tf.reduce_mean(mean_of_classes(value, size > 0.5, absent))


def penalised_generalised_dice(truth: Tensor, prediction: Tensor, *, k: Tensor, smooth: Tensor, absent: str) -> Tensor:
    """GD/(1 + k (1 − GD)), GD the generalised Dice loss of an image (Yang et al. 2019, as in Ma et al. 2021)."""
    distance = generalised_dice_of_images(truth, prediction, smooth, absent)
    return tf.reduce_mean(distance / (1.0 + k * (1.0 - distance)))


def mean_tversky(
    counts: Counts, alpha: Tensor, beta: Tensor, smooth: Tensor, absent: str, exponent: Tensor = None
) -> Tensor:
    """Mean over classes and batch of 1 − TI, or of its power: a scalar."""
    distance = tversky_distance(counts, alpha, beta, smooth)
    if exponent is not None:
        distance = tf.maximum(distance, FLOOR) ** exponent
    return tf.reduce_mean(class_mean(distance, counts, absent))


def tversky_distance(counts: Counts, alpha: Tensor, beta: Tensor, smooth: Tensor) -> Tensor:
    """1 − TI per image and class, (batch, classes), as a quotient: a difference from 1 would lose its digits.

    `alpha` weighs false positives, `beta` false negatives; each a scalar or one per class.
    """
    return share(beta * counts.fn + alpha * counts.fp, counts.tp + smooth)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def share(wrong: Tensor, right: Tensor) -> Tensor:
    """wrong/(wrong + right). The quotient rule would take a difference of near equals where either is small."""
    whole = wrong + right

    def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
        scaled = upstream / (whole * whole)
        return scaled * right, -scaled * wrong

    return wrong / whole, gradient


def present(counts: Counts) -> Tensor:
    """Which classes have a pixel in the truth of each image, (batch, classes): tp + fn counts them."""
    return counts.tp + counts.fn > 0.5


def class_mean(values: Tensor, counts: Counts, absent: str) -> Tensor:
    """Mean over classes, (batch, classes) to (batch,); over those present alone where absent is "skip"."""
    if absent == "keep":
        return tf.reduce_mean(values, axis=-1)  # without a look at the counts
    return mean_of_classes(values, present(counts), absent)


def mean_of_classes(values: Tensor, present: Tensor, absent: str) -> Tensor:
    """The same where it is known which classes are present, (batch, classes)."""
    if absent == "keep":
        return tf.reduce_mean(values, axis=-1)
    there = tf.cast(present, values.dtype)
    return tf.reduce_sum(values * there, axis=-1) / tf.maximum(tf.reduce_sum(there, axis=-1), 1.0)
