"""The largest of many values, found by counting.

The bits of floats from 0 on are in the floats' order, so that the least of the `count` largest is a whole number that
can be searched for: each step counts how many values lie from a threshold on. A sorted sample says about where that is;
between two thresholds the next is guessed from their counts. That takes about ten counts, a fraction of the time of
`top_k`, and a gradient without a scatter.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

SAMPLE = 512
"""The least number of values that are sorted; of more than twice as many, a part at equal distances."""

GUESSES = 12
"""Guesses before the search goes by halves: few more are needed, unless the values are very uneven, or equal."""

PARTS = 8


def worst(values: Any, count: Any) -> Any:
    """1 for the `count` largest of the vector `values` ≥ 0, 0 for the rest, the last place divided between equals.

    `count` is a whole number from 1 to the number of values, of their dtype; so is what is returned.
    """
    bits = tf.bitcast(values, tf.int64 if values.dtype == tf.float64 else tf.int32)
    wanted = tf.cast(count, tf.int32)
    # Filled up with what lies below every threshold.
    parts = tf.reshape(tf.pad(bits, [[0, -tf.size(bits) % PARTS]], constant_values=-1), (PARTS, -1))

    def narrowed(threshold: Any, low: Any, from_low: Any, high: Any, from_high: Any) -> tuple[Any, Any, Any, Any]:
        """`low` or `high` moved to `threshold`; each beside the number of values that lie from it on."""
        # Whole numbers may be added in any order: part upon part, which XLA adds in half the time of a vector's sum.
        found = tf.reduce_sum(tf.add_n(tf.unstack(tf.cast(parts >= threshold, tf.int32), num=PARTS)))
        enough = found >= wanted
        return (
            tf.where(enough, threshold, low),
            tf.where(enough, found, from_low),
            tf.where(enough, high, threshold),
            tf.where(enough, from_high, found),
        )

    def guess(step: Any, low: Any, from_low: Any, high: Any, from_high: Any) -> tuple[Any, ...]:
        share = tf.cast(from_low - wanted, values.dtype) / tf.cast(from_low - from_high, values.dtype)
        way = tf.where(step < GUESSES, share, 0.5) * tf.cast(high - low, values.dtype)
        threshold = tf.minimum(tf.maximum(low + tf.cast(way, bits.dtype), low + 1), high - 1)
        return step + 1, *narrowed(threshold, low, from_low, high, from_high)

    # At least `count` values lie from `low` on, fewer from `high` on.
    zero = tf.zeros((), tf.int32)
    bounds = tf.cast(zero, bits.dtype), tf.size(bits), tf.constant(bits.dtype.max, bits.dtype), zero
    for threshold in _around(bits, count):
        bounds = narrowed(threshold, *bounds)
    _, low, from_low, _, _ = tf.while_loop(
        lambda _, low, from_low, high, __: tf.logical_and(tf.not_equal(from_low, wanted), high - low > 1),
        guess,
        (zero, *bounds),
        parallel_iterations=1,
    )
    largest = tf.cast(bits >= low, values.dtype)

    def divided() -> Any:
        larger = tf.cast(bits > low, values.dtype)
        equal = largest - larger
        return larger + equal * (count - tf.reduce_sum(larger)) / tf.reduce_sum(equal)

    return tf.cond(tf.equal(from_low, wanted), lambda: largest, divided)


def _around(bits: Any, count: Any) -> tuple[Any, Any]:
    """Two thresholds: most likely `count` of the values lie from the first on, and not from the second on."""
    sample = tf.sort(bits[:: tf.maximum(tf.size(bits) // SAMPLE, 1)], direction="DESCENDING")
    size = tf.size(sample)
    place = tf.cast(size, count.dtype) * count / tf.cast(tf.size(bits), count.dtype)
    # The place of the sample's own is off by less than its root; 2.5 such deviations are rarely passed.
    first, second = (tf.cast(place + off * tf.sqrt(place), tf.int32) for off in (2.5, -2.5))
    # Where values are equal, what was to lie between the two may be one of them: one more ends the search at once.
    return sample[tf.minimum(first, size - 1)], sample[tf.clip_by_value(second, 0, size - 1)] + 1
