"""The interval of a difference is the test turned round: without 0 where p < 0.05, by R's and textbooks' numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sweeper.analysis import hodges_lehmann
from sweeper.analysis.rank_tests import rank_sum, signed_rank
from sweeper.analysis.statistical_tests import Comparison
from tests.sweeper.analysis.test_rank_tests import (
    DEPRESSION_AFTER,
    DEPRESSION_BEFORE,
    OZONE_AUGUST,
    OZONE_MAY,
    SLEEP_1,
    SLEEP_2,
    array,
)

TEN_THOUSANDTHS = st.integers(0, 10_000)
TENTHS = st.integers(0, 10)


def of(result: Comparison) -> tuple[float, float, float]:
    return result.median_difference, result.low, result.high


def without_zero(result: Comparison) -> bool:
    return result.low > 0 or result.high < 0


def test_signed_rank_gives_the_textbook_s_interval():
    """Hollander and Wolfe (1973), p. 34 and 39: 0.46, and the sixth Walsh average from either side."""
    result = signed_rank(array(DEPRESSION_BEFORE), array(DEPRESSION_AFTER))
    assert of(result) == pytest.approx((0.46, 0.010, 0.786))


def test_signed_rank_gives_r_s_approximate_interval_with_ties_and_a_zero():
    """R: wilcox.test(sleep$extra[1:10], sleep$extra[11:20], paired = TRUE, conf.int = TRUE)."""
    result = signed_rank(array(SLEEP_1), array(SLEEP_2))
    assert of(result) == pytest.approx((-1.400031, -2.949921, -1.050018), abs=1e-4)


def test_rank_sum_gives_the_differences_that_the_test_does_not_refuse():
    """airquality's ozone in May and August, by going through the test itself."""
    x, y = array(OZONE_MAY), array(OZONE_AUGUST)
    result = rank_sum(x, y)
    differences = np.subtract.outer(x, y)
    assert result.median_difference == np.median(differences)
    assert rank_sum(x - result.low + 1e-6, y).p < 0.05 < rank_sum(x - result.low - 0.5, y).p
    assert rank_sum(x - result.high - 1e-6, y).p < 0.05 < rank_sum(x - result.high + 0.5, y).p


@settings(deadline=None)
@given(st.lists(st.integers(-10_000, 10_000).filter(bool), min_size=2, max_size=14, unique_by=abs))
def test_signed_rank_s_exact_interval_is_without_zero_exactly_where_p_is_below_005(differences):
    d = array(differences) / 10_000
    result = signed_rank(d, np.zeros(d.size))
    assert without_zero(result) == (result.p < 0.05)
    assert math.isnan(result.low) == math.isnan(result.high) == (d.size < 6)


@settings(deadline=None)
@given(st.lists(TEN_THOUSANDTHS, min_size=5, max_size=24, unique=True), st.data())
def test_rank_sum_s_exact_interval_is_without_zero_exactly_where_p_is_below_005(scores, data):
    first = data.draw(st.integers(2, len(scores) - 2))
    result = rank_sum(array(scores[:first]) / 10_000, array(scores[first:]) / 10_000)
    assert without_zero(result) == (result.p < 0.05)
    assert math.isnan(result.low) == (result.smallest_p >= 0.05)


@settings(deadline=None)
@given(st.lists(st.tuples(TENTHS, TENTHS), min_size=2, max_size=60), st.booleans())
def test_with_ties_and_zeros_no_interval_contradicts_its_test(pairs, paired):
    """An end may be 0 itself, since many differences are; it never lies on the other side."""
    x, y = array([a for a, _ in pairs]) / 10, array([b for _, b in pairs]) / 10
    result = (signed_rank if paired else rank_sum)(x, y)
    assume(not math.isnan(result.p))
    if result.p < 0.05:
        assert result.low >= 0 or result.high <= 0
    else:
        assert math.isnan(result.low) or result.low <= 0 <= result.high


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([50, 61, 122]), st.floats(-0.15, 0.15))
def test_many_images_without_ties_have_intervals_that_agree_with_the_test(seed, n, shift):
    rng = np.random.default_rng(seed)
    x, y = rng.random(n) + shift, rng.random(n)
    for result in (signed_rank(x, y), rank_sum(x, y)):
        assert without_zero(result) == (result.p < 0.05)
        assert result.low < result.median_difference < result.high


@settings(max_examples=30, deadline=None)
@given(st.lists(TEN_THOUSANDTHS, min_size=12, max_size=24, unique=True), st.floats(-1, 1))
def test_a_shift_is_in_the_interval_where_the_test_does_not_refuse_it(scores, shift):
    """Of scores less the shift the test asks whether the shift is true."""
    half = len(scores) // 2
    x, y = array(scores[:half]) / 10_000, array(scores[half : 2 * half]) / 10_000
    assume(np.unique(np.round(np.abs(x - y), 12)).size == half)
    assume(np.abs(np.subtract.outer(x, y) - shift).min() > 1e-6)
    sums = np.add.outer(x - y, x - y)
    assume(np.abs(sums / 2 - shift).min() > 1e-6)
    for test in (signed_rank, rank_sum):
        result = test(x, y)
        assert (result.low < shift < result.high) == (test(x - shift, y).p >= 0.05)


@pytest.mark.parametrize("test", [signed_rank, rank_sum])
def test_swapping_the_losses_turns_the_interval_round(test):
    rng = np.random.default_rng(1)
    for n in (9, 60):
        x, y = np.round(rng.random(n), 2), np.round(rng.random(n), 2)
        one, other = test(x, y), test(y, x)
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


@pytest.mark.parametrize("test", [signed_rank, rank_sum])
def test_thousands_of_images_have_the_same_interval_by_bisection(test, monkeypatch):
    """Where there are too many differences to sort, the ends are found by counting."""
    rng = np.random.default_rng(2)
    for n, digits in itertools.product((7, 30, 80), (2, 12)):
        x, y = np.round(rng.random(n), digits), np.round(rng.random(n), digits)
        sorted_at_once = of(test(x, y))
        with monkeypatch.context() as patch:
            patch.setattr(hodges_lehmann, "_SORTED_AT_ONCE", 0)
            assert of(test(x, y)) == pytest.approx(sorted_at_once, abs=1e-12)


def test_identical_scores_have_an_interval_of_no_width_where_there_can_be_one():
    same = np.full(8, 0.7)
    assert of(signed_rank(same, same)) == of(rank_sum(same, same)) == (0.0, 0.0, 0.0)
    few = signed_rank(same[:5], same[:5])
    assert few.median_difference == 0
    assert math.isnan(few.low)


def test_the_interval_has_the_variance_of_its_test_with_its_ties():
    """Without the correction for ties the interval would hold 0, beside p = 0.046."""
    result = signed_rank(array([4, 2, 4, 2, 2, 2, 2, 4, 4, 2, 2, -3, -3]) / 10, np.zeros(13))
    assert result.p < 0.05
    assert result.low > 0
