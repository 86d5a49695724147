"""Intervals of means against scipy, and their edges."""

import numpy as np
import pytest
from scipy import stats

from sweeper.analysis.intervals import bootstrap_mean, t_half_width, t_half_widths


@pytest.fixture
def scores():
    return np.random.default_rng(5).beta(8, 2, size=40)


def test_t_interval_is_scipy_s(scores):
    low, high = stats.t.interval(0.95, scores.size - 1, scores.mean(), stats.sem(scores))
    assert t_half_width(scores) == pytest.approx((high - low) / 2)


def test_many_intervals_at_once_are_those_one_by_one(scores):
    parts = [scores[:1], scores[1:4], scores[4:30]]
    found = t_half_widths(np.array([len(p) for p in parts]), np.array([np.nan, *(p.std(ddof=1) for p in parts[1:])]))
    assert found == pytest.approx([t_half_width(part) for part in parts], nan_ok=True)


@pytest.mark.parametrize("n", [7, 8, 40])
def test_bootstrap_agrees_with_scipy_s(n, scores):
    values = scores[:n]
    reference = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20000, rng=np.random.default_rng(0)
    ).confidence_interval
    assert bootstrap_mean(values) == pytest.approx((reference.low, reference.high), abs=0.012)


def test_the_same_scores_give_the_same_interval(scores):
    assert bootstrap_mean(scores) == bootstrap_mean(scores.copy())


def test_identical_scores_have_an_interval_of_no_width():
    same = np.full(5, 0.4)
    assert t_half_width(same) == pytest.approx(0)
    assert bootstrap_mean(same) == pytest.approx((0.4, 0.4))


@pytest.mark.parametrize("values", [np.array([]), np.array([0.5])])
def test_fewer_than_two_scores_have_no_interval(values):
    assert np.isnan(t_half_width(values))
    assert np.isnan(bootstrap_mean(values)).all()
