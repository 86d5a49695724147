"""The largest of many values, found by counting.

The bits of positive floats are in the floats' order, so that the least of the `count` largest can be searched for as
one searches for a whole number: each step counts how many values lie from a threshold on. A sorted sample says about
where that is; between two thresholds the next is guessed from their counts. That takes about ten counts, a fraction of
the time of `top_k`, and a gradient without a scatter.

Only single numbers are whole numbers: arrays of 32-bit ones TensorFlow keeps on the host, so that a GPU would wait.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from workers.tensors import Tensor

SAMPLE = 512
"""The least number of values that are sorted; of more than twice as many, a part at equal distances."""

GUESSES = 12
"""Guesses before the search goes by halves: few more are needed, unless the values are very uneven, or equal."""

PARTS = 8
"""Into which the values are cut to be counted: enough for XLA, and few enough not to cost without it."""


def worst(values: Tensor, count: Tensor) -> Tensor:
    """1 for the `count` largest of a vector, 0 for the rest, the last place divided between equals.

    Args:
        values: float32 or float64, none below the least normal number (1e-38 in float32).
        count: a whole number of the same type, from 1 to the number of values.

    Returns:
        A vector of the same type and length.
    """
    whole = tf.int64 if values.dtype == tf.float64 else tf.int32
    size, wanted = tf.size(values), tf.cast(count, tf.float64)
    # Filled up with what lies below every threshold.
    parts = tf.reshape(tf.pad(values, [[0, -size % PARTS]], constant_values=-1.0), (PARTS, -1))

    def narrowed(
        threshold: Tensor, low: Tensor, from_low: Tensor, high: Tensor, from_high: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`low` or `high` moved to `threshold`, all as bits; each beside the number of values that lie from it on."""
        lie_above = tf.cast(parts >= tf.bitcast(threshold, values.dtype), values.dtype)
        # Part upon part, which XLA adds in half the time of a vector's sum; beyond 2^24 float32 would miscount.
        found = tf.reduce_sum(tf.cast(tf.add_n(tf.unstack(lie_above, num=PARTS)), tf.float64))
        enough = found >= wanted
        return (
            tf.where(enough, threshold, low),
            tf.where(enough, found, from_low),
            tf.where(enough, high, threshold),
            tf.where(enough, from_high, found),
        )

    def guess(step: Tensor, low: Tensor, from_low: Tensor, high: Tensor, from_high: Tensor) -> tuple[Tensor, ...]:
        share = tf.where(step < GUESSES, (from_low - wanted) / (from_low - from_high), 0.5)
        threshold = low + tf.cast(share * tf.cast(high - low, tf.float64), whole)
        return step + 1, *narrowed(tf.clip_by_value(threshold, low + 1, high - 1), low, from_low, high, from_high)

    # At least `count` values lie from `low` on, fewer from `high` on.
    bounds = (
        tf.bitcast(tf.constant(np.finfo(values.dtype.as_numpy_dtype).tiny), whole),
        tf.cast(size, tf.float64),
        tf.bitcast(tf.constant(np.inf, values.dtype), whole) + 1,
        tf.zeros((), tf.float64),
    )
    for threshold in _around(tf.bitcast(_sample(values), whole), count / tf.cast(size, count.dtype)):
        bounds = narrowed(threshold, *bounds)
    _, low, from_low, _, _ = tf.while_loop(
        lambda _, low, from_low, high, __: tf.logical_and(tf.not_equal(from_low, wanted), high - low > 1),
        guess,
        (0, *bounds),
        parallel_iterations=1,
    )
    least = tf.bitcast(low, values.dtype)
    largest = tf.cast(values >= least, values.dtype)

    def divided() -> Tensor:
        larger = tf.cast(values > least, values.dtype)
        equal = largest - larger
        return larger + equal * (count - tf.reduce_sum(larger)) / tf.reduce_sum(equal)

    return tf.cond(tf.equal(from_low, wanted), lambda: largest, divided)


def _sample(values: Tensor) -> Tensor:
    """Some of the values, the largest first."""
    return tf.sort(values[:: tf.maximum(tf.size(values) // SAMPLE, 1)], direction="DESCENDING")


def _around(sample: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Two thresholds: most likely that `share` of the values lies from the first on, and not from the second on."""
    size = tf.size(sample)
    place = share * tf.cast(size, share.dtype)
    # The place in a sample is off by its root at most, in two of three; 2.5 times as much is rarely passed.
    first, second = (tf.cast(place + off * tf.sqrt(place), tf.int32) for off in (2.5, -2.5))
    # Where values are equal, what was to lie between the two may be one of them: one more ends the search at once.
    return sample[tf.minimum(first, size - 1)], sample[tf.clip_by_value(second, 0, size - 1)] + 1
