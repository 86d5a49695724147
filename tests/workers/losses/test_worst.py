"""The largest of many values, against sorting: whatever the number, the spread and the equals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workers.losses.worst import GUESSES, PARTS, SAMPLE, worst

KINDS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "as losses are": lambda rng, n: rng.exponential(1, n),
    "of every size": lambda rng, n: 10 ** rng.uniform(-30, 30, n),
    "few different": lambda rng, n: rng.integers(1, 5, n),
    "nearly all equal": lambda rng, n: np.where(rng.random(n) < 0.95, 1e-7, rng.random(n)),
    "all equal": lambda rng, n: np.full(n, 1e-7),
    "unlike its sample": lambda rng, n: np.tile([1e9, *rng.random(n // SAMPLE or 1)], n)[:n],
    "neighbours": lambda rng, n: (2**30 + rng.integers(0, n, n)).astype(np.int32).view(np.float32),
}

compiled = {
    xla: tf.function(worst, jit_compile=xla, autograph=False, reduce_retracing=not xla) for xla in (False, True)
}


def expected(values: Any, count: int) -> Any:
    least = np.sort(values)[-count]
    larger, equal = values > least, values == least
    return larger + equal * ((count - larger.sum()) / equal.sum())


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 5 * SAMPLE), st.floats(0, 1), st.sampled_from(list(KINDS)), st.booleans(), st.integers(0, 2**32 - 1)
)
@example(PARTS * SAMPLE, 0.1, "unlike its sample", False, 0)
def test_are_those_that_sorting_finds(size: int, share: float, kind: str, double: bool, seed: int) -> None:
    values = KINDS[kind](np.random.default_rng(seed), size).astype(np.float64 if double else np.float32)
    count = max(1, round(share * size))
    found = compiled[False](tf.constant(values), tf.constant(count, values.dtype)).numpy()
    np.testing.assert_allclose(found, expected(values, count), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_are_the_same_under_xla(kind: str) -> None:
    values = KINDS[kind](np.random.default_rng(0), 3 * SAMPLE + 1).astype(np.float32)
    for count in (1, 100, len(values)):
        found = compiled[True](tf.constant(values), tf.constant(count, tf.float32)).numpy()
        np.testing.assert_allclose(found, expected(values, count), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_take_no_more_counts_than_guesses_and_halves(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    whole = tf.while_loop

    def counted(*args: Any, **options: Any) -> Any:
        result = whole(*args, **options)
        steps.append(int(result[0]))
        return result

    monkeypatch.setattr(tf, "while_loop", counted)
    values = tf.constant(KINDS[kind](np.random.default_rng(0), 30_000).astype(np.float32))
    for count in (1, 300, 3000, 15_000, 29_999):
        worst(values, tf.constant(count, tf.float32))
    assert max(steps) <= GUESSES + 31
    if kind in ("as losses are", "nearly all equal"):
        assert max(steps[1:-1]) <= GUESSES
