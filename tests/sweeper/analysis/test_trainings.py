"""The comparison of two losses about new images and new trainings: its errors, and what it equals at its limits."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from sweeper.analysis.significance import holm
from sweeper.analysis.trainings import Difference, LossScores, Variances, compare_losses, half_widths, p_values

IMAGE, RUN, IMAGE_RUN = 0.108, 0.013, 0.021
"""Standard deviations of real Dice scores: of images, of runs, and of image × run."""

Floats = npt.NDArray[np.float64]


def study(seed: int, runs: int, images: int, run: float = RUN, losses: int = 8) -> list[LossScores]:
    """Scores of losses that do not differ at all."""
    draw = np.random.default_rng(seed)
    image = draw.normal(0.8, IMAGE, images)
    shape = runs, images
    return [
        LossScores(image + draw.normal(0, run, (runs, 1)) + draw.normal(0, IMAGE_RUN, shape)) for _ in range(losses)
    ]


def p_values_of(losses: list[LossScores]) -> Floats:
    variances = Variances.of(losses)
    return np.array([compare_losses(a, b, variances).p for a, b in combinations(losses, 2)])


@pytest.mark.parametrize(("runs", "images"), [(3, 12), (3, 122), (5, 33)])
def test_losses_that_do_not_differ_are_seldom_told_apart(runs: int, images: int) -> None:
    wrong = sum(bool((holm(p_values_of(study(seed, runs, images))) < 0.05).any()) for seed in range(30))
    assert wrong <= 6  # at 7% the chance of more is below 1%; images alone as units give 22 of 30


def test_a_difference_of_one_image_deviation_is_found() -> None:
    found = 0
    for seed in range(15):
        first, *rest = study(seed, 5, 33)
        losses = [LossScores(first.values + 0.05), *rest]
        found += bool(holm(p_values_of(losses))[:7].max() < 0.05)
    assert found >= 13


def test_images_alone_find_differences_between_a_loss_and_itself_that_trainings_do_not() -> None:
    by_images, by_trainings = 0, 0
    for seed in range(40):
        first, second = study(seed, 3, 122, losses=2)
        by_images += stats.wilcoxon(first.unit_means, second.unit_means).pvalue < 0.05
        by_trainings += p_values_of([first, second])[0] < 0.05
    assert by_images > 12
    assert by_trainings <= 5


def test_runs_that_are_identical_leave_the_paired_t_test_of_images() -> None:
    first, second = (np.random.default_rng(seed).normal(0.8, 0.1, 20) for seed in (1, 2))
    losses = [LossScores(np.tile(values, (3, 1))) for values in (first, second)]
    found = compare_losses(losses[0], losses[1], Variances.of(losses))
    expected = stats.ttest_rel(first, second)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.interval(0.05) == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-9)


def test_images_that_are_identical_leave_a_t_test_of_runs() -> None:
    runs = np.array([[0.80, 0.83, 0.81], [0.78, 0.76, 0.79]])
    losses = [LossScores(np.tile(means[:, None], (1, 40))) for means in runs]
    found = compare_losses(losses[0], losses[1], Variances.of(losses))
    # With two losses of three runs the pooled variance has 4 degrees of freedom; it counts 7 against a loss's own 2.
    pooled = runs.var(axis=1, ddof=1).mean()
    own = (7 * pooled + 2 * runs.var(axis=1, ddof=1)) / 9
    error = np.sqrt(own.sum() / 3)
    freedom = (own.sum() / 3) ** 2 / ((own / 3) ** 2 / 4).sum()
    assert (found.error, found.freedom) == pytest.approx((error, freedom))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(runs[0].mean() - runs[1].mean()) / error, freedom))


def test_an_unstable_loss_has_a_wider_interval_than_a_stable_one() -> None:
    draw = np.random.default_rng(3)
    image = draw.normal(0.8, IMAGE, 33)
    stable, steady, unstable = (
        LossScores(image + draw.normal(0, deviation, (5, 1)) + draw.normal(0, IMAGE_RUN, (5, 33)))
        for deviation in (0.01, 0.01, 0.06)
    )
    variances = Variances.of([stable, steady, unstable])
    assert compare_losses(unstable, stable, variances).error > 1.2 * compare_losses(steady, stable, variances).error


def test_a_pair_of_few_units_borrows_from_all_pairs_what_they_vary() -> None:
    draw = np.random.default_rng(1)
    image = draw.normal(0.8, IMAGE, 6)
    rough, one, other = (LossScores(image + draw.normal(0, d, 6) + np.zeros((3, 1))) for d in (0.05, 0.001, 0.001))
    alone = compare_losses(one, other, Variances.of([one, other]))
    among = compare_losses(one, other, Variances.of([rough, one, other]))
    assert among.error > 3 * alone.error
    assert (alone.freedom, among.freedom) == pytest.approx((5, 9))


@given(
    st.lists(
        st.tuples(
            st.floats(-1, 1),
            st.one_of(st.just(0.0), st.just(math.nan), st.floats(1e-6, 1)),
            st.one_of(st.just(math.inf), st.floats(0.5, 1000)),
        ),
        max_size=6,
    )
)
def test_many_comparisons_at_once_are_those_of_each_alone(found: list[tuple[float, float, float]]) -> None:
    estimates, errors, freedoms = np.array(found, float).reshape(-1, 3).T
    each = [Difference(*one) for one in found]
    all_p, widths = p_values(estimates, errors, freedoms), half_widths(errors, freedoms, 0.1)
    assert np.array_equal(all_p, [one.p for one in each], equal_nan=True)
    assert np.array_equal(estimates - widths, [one.interval(0.1)[0] for one in each], equal_nan=True)
    for (estimate, error, freedom), p, width in zip(found, all_p, widths, strict=True):
        if error > 0:
            assert p == 2 * stats.t.sf(abs(estimate) / error, freedom)
            assert width == stats.t.ppf(0.95, freedom) * error
        else:
            assert math.isnan(p) if math.isnan(error) else p == (estimate == 0)


def test_one_run_says_nothing_about_new_trainings() -> None:
    one, three = LossScores(np.array([[0.7, 0.8, 0.9]])), LossScores(np.array([[0.6, 0.8, 0.9]] * 3))
    found = compare_losses(one, three, Variances.of([one, three]))
    assert found.estimate == pytest.approx(1 / 30)
    assert np.isnan([found.p, *found.interval(0.05)]).all()


def cross_validated(values: Floats, folds: int) -> LossScores:
    """The scores of a cross-validation: a run of `values` becomes one run for each fold, which scored its part."""
    runs, images = values.shape
    spread = np.full((runs, folds, images), np.nan)
    for fold in range(folds):
        spread[:, fold, fold::folds] = values[:, fold::folds]
    return LossScores(spread.reshape(-1, images))


def test_a_cross_validation_has_blocks_of_images_with_runs_of_their_own() -> None:
    values = np.random.default_rng(5).normal(0.8, 0.1, (3, 30))
    loss = cross_validated(values, 5)
    assert [block.shape for block in loss.blocks] == [(3, 6)] * 5
    assert (loss.runs, loss.freedom) == (3, 10)
    assert loss.unit_means == pytest.approx(values.mean(axis=0))
    own = [values[:, fold::5].mean(axis=1).var(ddof=1) for fold in range(5)]
    assert loss.run_variance == pytest.approx(np.mean(own))
    assert loss.of_mean(loss.run_variance) == pytest.approx(np.mean(own) / 15)


def test_folds_of_losses_that_do_not_differ_are_seldom_told_apart() -> None:
    wrong = 0
    for seed in range(30):
        draw = np.random.default_rng(seed)
        image = draw.normal(0.8, IMAGE, 60)
        losses = []
        for _ in range(4):
            fold = (
                np.repeat(draw.normal(0, RUN, (3, 5)), 12, axis=1).reshape(3, 5, 12).transpose(0, 2, 1).reshape(3, 60)
            )
            losses.append(cross_validated(image + fold + draw.normal(0, IMAGE_RUN, (3, 60)), 5))
        wrong += bool((holm(p_values_of(losses)) < 0.05).any())
    assert wrong <= 6


SCORES: Any = arrays.arrays(np.float64, (3, 7), elements=st.integers(0, 1000).map(lambda n: n / 1000))


@settings(max_examples=20)
@given(SCORES, SCORES, SCORES)
def test_the_order_of_losses_runs_and_images_does_not_matter(a: Floats, b: Floats, c: Floats) -> None:
    variances = Variances.of([LossScores(v) for v in (a, b, c)])
    forth, back = (compare_losses(LossScores(x), LossScores(y), variances) for x, y in ((a, b), (b, a)))
    moved = compare_losses(LossScores(a[::-1, ::-1]), LossScores(b[:, ::-1]), variances)
    assert (back.estimate, back.error, back.freedom) == pytest.approx((-forth.estimate, forth.error, forth.freedom))
    assert (moved.estimate, moved.error, moved.freedom) == pytest.approx((forth.estimate, forth.error, forth.freedom))
    assert 0 <= forth.p <= 1
    low, high = forth.interval(0.05)
    assert (low <= 0 <= high) == (forth.p >= 0.05) or forth.p == pytest.approx(0.05)
