"""The two Wilcoxon tests against R's documented output, against scipy, and on degenerate scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sweeper.analysis.rank_tests import rank_sum, signed_rank

NAN = float("nan")
# R, ?wilcox.test: depression scores (Hollander & Wolfe 1973, p. 29), two-sided p = 0.03906, V = 40.
DEPRESSION_BEFORE = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
DEPRESSION_AFTER = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
# R, ?wilcox.test: permeability (Hollander & Wolfe 1973, p. 69), one-sided p = 0.1272, W = 35.
PERMEABILITY_TERM = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
PERMEABILITY_EARLY = [1.15, 0.88, 0.90, 0.74, 1.21]
# R, ?wilcox.test: airquality, ozone in May and August, W = 127.5, p = 0.0001208 (ties).
OZONE_MAY = [41, 36, 12, 18, 28, 23, 19, 8, 7, 16, 11, 14, 18, 14, 34, 6, 30, 11, 1, 11, 4, 32, 23, 45, 115, 37]
OZONE_AUGUST = [
    39,
    9,
    16,
    78,
    35,
    66,
    122,
    89,
    110,
    44,
    28,
    65,
    22,
    59,
    23,
    31,
    44,
    21,
    9,
    45,
    168,
    73,
    76,
    118,
    84,
    85,
]
# R, wilcox.test(sleep$extra[1:10], sleep$extra[11:20], paired = TRUE): V = 0, p = 0.009091 (ties and a zero).
SLEEP_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def array(values):
    return np.array(values, dtype=float)


def test_signed_rank_gives_r_s_exact_p():
    result = signed_rank(array(DEPRESSION_BEFORE), array(DEPRESSION_AFTER))
    assert result.p == pytest.approx(0.03906, abs=5e-6)
    assert result.effect == pytest.approx((40 - 5) / 45)  # V = 40 of 45
    assert result.n == 9


def test_signed_rank_gives_r_s_approximate_p_with_ties_and_zeros():
    assert signed_rank(array(SLEEP_1), array(SLEEP_2)).p == pytest.approx(0.009091, abs=5e-7)


def test_rank_sum_gives_r_s_exact_p():
    result = rank_sum(array(PERMEABILITY_TERM), array(PERMEABILITY_EARLY))
    assert result.p == pytest.approx(2 * 0.1272, abs=1e-4)
    assert result.effect == pytest.approx(2 * 35 / 50 - 1)


def test_rank_sum_gives_r_s_approximate_p_with_ties():
    result = rank_sum(array(OZONE_MAY), array(OZONE_AUGUST))
    assert result.p == pytest.approx(0.0001208, abs=5e-8)
    assert result.effect == pytest.approx(2 * 127.5 / (26 * 26) - 1)


def test_large_samples_use_the_approximation():
    rng = np.random.default_rng(0)
    x, y = rng.random(60), rng.random(60)
    assert rank_sum(x, y).p == pytest.approx(stats.mannwhitneyu(x, y, method="asymptotic").pvalue)
    assert signed_rank(x, y).p == pytest.approx(stats.wilcoxon(x - y, correction=True, method="asymptotic").pvalue)


def no_ties(n, m):
    """Two samples of n and m different scores, and of n the pairs' differences are different in size, too."""
    rng = np.random.default_rng(n + m)
    return rng.random(n) + 0.1, rng.random(m)


@pytest.mark.parametrize(("n", "method"), [(21, "exact"), (49, "exact"), (50, "approx")])
def test_signed_rank_is_exact_below_fifty_pairs(n, method):
    x, y = no_ties(n, n)
    p = {m: stats.wilcoxon(np.round(x - y, 12), correction=True, method=m).pvalue for m in ("exact", "approx")}
    assert p["exact"] != pytest.approx(p["approx"], rel=1e-6)
    assert signed_rank(x, y).p == pytest.approx(p[method], rel=1e-9)


@pytest.mark.parametrize(
    ("n", "m", "method"),
    [(21, 21, "exact"), (49, 49, "exact"), (50, 50, "asymptotic"), (8, 60, "asymptotic"), (60, 8, "asymptotic")],
)
def test_rank_sum_is_exact_where_both_samples_are_below_fifty(n, m, method):
    x, y = no_ties(n, m)
    p = {method: stats.mannwhitneyu(x, y, method=method).pvalue for method in ("exact", "asymptotic")}
    assert p["exact"] != pytest.approx(p["asymptotic"], rel=1e-6)
    assert rank_sum(x, y).p == pytest.approx(p[method], rel=1e-9)


def test_signed_rank_with_a_zero_is_approximate_as_in_r():
    d = array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, -0.05])
    p = {m: stats.wilcoxon(d[1:], correction=True, method=m).pvalue for m in ("exact", "approx")}
    assert p["exact"] != pytest.approx(p["approx"], rel=1e-3)
    assert signed_rank(d, np.zeros(d.size)).p == pytest.approx(p["approx"], rel=1e-9)


def test_ties_make_either_test_approximate():
    x, y = array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]), array([0.1, 0.1, 0.15, 0.3, 0.2, 0.45, 0.35])
    assert rank_sum(x, y).p == pytest.approx(stats.mannwhitneyu(x, y, method="asymptotic").pvalue, rel=1e-9)
    d = array([0.1, 0.1, 0.2, -0.3, 0.4, 0.5, 0.6])
    approximate = stats.wilcoxon(d, correction=True, method="approx").pvalue
    assert signed_rank(d, np.zeros(7)).p == pytest.approx(approximate, rel=1e-9)


@pytest.mark.parametrize("test", [rank_sum, signed_rank])
def test_a_difference_of_a_ten_billionth_is_a_difference(test):
    x = np.linspace(0.1, 0.9, 9)
    result = test(x, x - 1e-10 * np.arange(1, 10))
    assert result.effect > 0
    assert result.median_difference > 0
    assert result.note == ""


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30))
def test_swapping_the_losses_changes_the_sign_and_nothing_else(pairs):
    x, y = array([a for a, _ in pairs]), array([b for _, b in pairs])
    for test in (rank_sum, signed_rank):
        one, other = test(x, y), test(y, x)
        assert one.p == pytest.approx(other.p)
        assert 0 <= one.p <= 1
        assert one.effect == pytest.approx(-other.effect)
        assert -1 <= one.effect <= 1
        assert one.median_difference == pytest.approx(-other.median_difference)


@pytest.mark.parametrize("test", [rank_sum, signed_rank])
def test_identical_scores_are_no_difference(test):
    result = test(np.full(8, 0.7), np.full(8, 0.7))
    assert (result.p, result.effect, result.note) == (1.0, 0.0, "all scores are identical")


def test_rounding_in_a_mean_over_repeats_is_no_difference():
    x = np.linspace(0.1, 0.9, 9)
    assert signed_rank(x, x + 1e-16 * np.arange(9)).p == 1.0


@pytest.mark.parametrize("test", [rank_sum, signed_rank])
def test_a_single_image_tests_nothing(test):
    result = test(array([0.5]), array([0.6]))
    assert np.isnan(result.p)
    assert "single image" in result.note


@pytest.mark.parametrize("test", [rank_sum, signed_rank])
def test_no_image_tests_nothing(test):
    result = test(array([NAN, NAN]), array([0.6, 0.7]))
    assert np.isnan(result.p)
    assert result.n == 0


def test_undefined_pairs_are_left_out_and_counted():
    x, y = array([0.1, NAN, 0.5, 0.9, 0.4]), array([0.2, 0.3, NAN, 0.7, 0.1])
    result = signed_rank(x, y)
    assert (result.n, result.left_out) == (3, 2)
    assert result.p == signed_rank(x[[0, 3, 4]], y[[0, 3, 4]]).p


def test_unpaired_left_out_counts_both_samples():
    result = rank_sum(array([0.1, NAN, 0.5, 0.9]), array([0.2, 0.3, NAN, 0.7]))
    assert (result.n, result.left_out) == (3, 2)


@pytest.mark.parametrize("n", [2, 5, 6, 10])
def test_smallest_signed_rank_p_is_reached_by_the_clearest_scores(n):
    x = np.arange(1, n + 1) / 20
    result = signed_rank(x, np.zeros(n))
    assert result.p == pytest.approx(result.smallest_p)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_smallest_rank_sum_p_is_reached_by_the_clearest_scores(n):
    x = np.arange(1, n + 1) / 20
    result = rank_sum(x + 0.5, x)
    assert result.p == pytest.approx(result.smallest_p)


def test_five_pairs_cannot_be_significant():
    assert signed_rank(np.arange(5) / 10 + 0.1, np.zeros(5)).smallest_p == 0.0625
