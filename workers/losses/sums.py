"""Soft sums over the pixels of each image and class, from which every loss here is made, in one pass.

A loss is a formula in a few sums per image and class, so that its gradient in a pixel is a sum of that pixel's slopes,
weighed by the formula's derivatives in the sums. The slopes are written out, rather than left to automatic
differentiation, because they share the powers and products of the values and can be computed slab by slab. They are
made of TensorFlow operations, so that second derivatives exist too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import tensorflow as tf

from workers.losses.slabs import Slabs
from workers.tensors import Tensor

EPSILON = 1e-7
"""The released code's clip of probabilities (the epsilon of Keras), and the smoothing of its modified losses."""


class Counts(NamedTuple):
    """Soft counts, each (batch, classes): Σ p·g, Σ (1−p)·g and Σ p·(1−g).

    Each is summed by itself: as a difference of larger sums, a small count would lose its digits.
    """

    tp: Tensor
    fn: Tensor
    fp: Tensor


def soft_counts(truth: Tensor, prediction: Tensor) -> Counts:
    """True positives, false negatives and false positives of probabilities as they are."""
    return Counts(*_sums(truth, prediction, counts="raw"))


def clipped_counts(truth: Tensor, prediction: Tensor) -> Counts:
    """The same of clipped probabilities."""
    return Counts(*_sums(truth, prediction, counts="clipped"))


def entropy_sums(truth: Tensor, prediction: Tensor, gamma: Tensor = None) -> Tensor:
    """Σ (1−p)^γ (−g log p), (batch, classes), of clipped probabilities.

    `gamma` is a scalar or one per class; None stands for 0, without the power.
    """
    return _sums(truth, prediction, entropy=True, gamma=gamma)[0]


def counts_and_entropy(
    truth: Tensor, prediction: Tensor, counts: Literal["raw", "clipped"], gamma: Tensor = None
) -> tuple[Counts, Tensor]:
    """Both at once: for a compound loss one pass in place of two."""
    *found, entropy = _sums(truth, prediction, counts=counts, entropy=True, gamma=gamma)
    return Counts(*found), entropy


def clip(probabilities: Tensor) -> Tensor:
    """Probabilities within [1e-7, 1 − 1e-7]; what is not a number stays so."""
    low = tf.constant(EPSILON, probabilities.dtype)
    return tf.minimum(tf.maximum(probabilities, low), 1.0 - low)


def pixels(prediction: Tensor) -> Tensor:
    """Number of pixels of one image, as a scalar of the prediction's dtype."""
    size = prediction.shape[1:-1].num_elements()
    return tf.cast(tf.reduce_prod(tf.shape(prediction)[1:-1]) if size is None else size, prediction.dtype)


def class_sizes(truth: Tensor) -> Tensor:
    """Pixels of each class in each image's truth, (batch, classes)."""
    slabs = Slabs(truth)
    (sizes,), _ = slabs.sums(lambda g: [g], [slabs.cut(truth)])
    return sizes


def pixel_sums(
    truth: Tensor,
    prediction: Tensor,
    values: Callable[[Tensor, Tensor], Sequence[Tensor]],
    slopes: Callable[[Tensor, Tensor], Sequence[Tensor]],
) -> tuple[Tensor, ...]:
    """Sums over the pixels of functions of truth and probability, each (batch, classes), in one pass.

    Args:
        truth: Of the batch.
        prediction: Of the batch.
        values: What is summed: of g and p, element by element.
        slopes: The derivatives in p, in the same order; what follows the last of them has none. What either takes
            besides, such as an exponent, gets no gradient.
    """
    slabs = Slabs(prediction)

    def slope(g: Tensor, p: Tensor, *upstream: Tensor) -> Tensor:
        return tf.add_n([u * made for u, made in zip(upstream, slopes(g, p), strict=False)])

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(truth: Tensor, prediction: Tensor) -> Tensor:
        arrays = [slabs.cut(truth), slabs.cut(prediction)]
        sums, _ = slabs.sums(values, arrays)

        def gradient(*upstream: Tensor) -> tuple[None, Tensor]:
            return None, slabs.map(slope, [*arrays, *(slabs.rows(u) for u in upstream)])

        return sums, gradient

    return tuple(run(truth, prediction))


def _sums(
    truth: Tensor,
    prediction: Tensor,
    *,
    counts: Literal["none", "raw", "clipped"] = "none",
    entropy: bool = False,
    gamma: Tensor = None,
) -> Tensor:
    """The requested sums in order: three counts, the entropy."""
    slabs = Slabs(prediction)
    exponent = tf.zeros((), prediction.dtype) if gamma is None else gamma
    # The exponents along a slab's last axis, (width·classes,), or a scalar.
    exponents = exponent if exponent.shape.rank == 0 else tf.tile(exponent, (tf.shape(prediction)[-2],))

    def factor(p: Tensor) -> Tensor:
        """(1−p)^γ as exp(γ log(1−p)), whose derivative needs no second power."""
        return tf.exp(exponents * tf.math.log(1.0 - p))

    def values(g: Tensor, raw: Tensor) -> list[Tensor]:
        p = clip(raw)
        terms = []
        if counts != "none":
            counted = raw if counts == "raw" else p
            overlap = g * counted
            terms += [overlap, g - overlap, counted - overlap]
        if not entropy:
            return terms
        log = tf.math.log(p)
        if gamma is None:
            return [*terms, -g * log]
        power = factor(p)
        return [*terms, -g * log * power, power * (1.0 - exponents * p * log / (1.0 - p))]

    def slope(g: Tensor, raw: Tensor, *others: Tensor) -> Tensor:
        share, upstream = (None, others) if gamma is None else (others[0], others[1:])
        p = clip(raw)
        inside = tf.equal(p, raw)
        total = None
        if counts != "none":
            d_tp, d_fn, d_fp = upstream[:3]
            total = g * (d_tp - d_fn - d_fp) + d_fp
            total = total if counts == "raw" else tf.where(inside, total, 0.0)
        if entropy:
            of_entropy = -g * upstream[-1] / p
            if share is not None:
                of_entropy *= share
            of_entropy = tf.where(inside, of_entropy, 0.0)
            total = of_entropy if total is None else total + of_entropy
        return total

    def slope_in_exponent(g: Tensor, raw: Tensor) -> list[Tensor]:
        p = clip(raw)
        return [-g * tf.math.log(p) * factor(p) * tf.math.log(1.0 - p)]

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(truth: Tensor, prediction: Tensor, exponent: Tensor) -> Tensor:
        arrays = [slabs.cut(truth), slabs.cut(prediction)]
        # What the power does to the slope is made with the values, of the same logarithms and powers.
        sums, shares = slabs.sums(values, arrays, kept=0 if gamma is None else 1)

        def gradient(*upstream: Tensor) -> tuple[None, Tensor, Tensor]:
            d_prediction = slabs.map(slope, [*arrays, *shares, *(slabs.rows(u) for u in upstream)])
            if gamma is None:
                return None, d_prediction, None
            (of_exponent,), _ = slabs.sums(slope_in_exponent, arrays)
            d_exponent = tf.reduce_sum(upstream[-1] * of_exponent, axis=0)
            return None, d_prediction, d_exponent if exponent.shape.rank else tf.reduce_sum(d_exponent)

        return sums, gradient

    return run(truth, prediction, exponent)
