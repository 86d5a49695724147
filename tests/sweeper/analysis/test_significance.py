"""All pairs of losses: Holm, families, warnings, and images that one loss lacks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from study_maker import Study, make_trial, paper_like

from sweeper.analysis import score_frame, trial_frame
from sweeper.analysis.rank_tests import rank_sum, signed_rank
from sweeper.analysis.selection import image_scores
from sweeper.analysis.significance import holm, pairwise_tests


def pairs_of(study):
    return pairwise_tests(image_scores(trial_frame(study.trials), score_frame(study.columns)))


def two_losses(first, second):
    study = Study()
    study.add(make_trial("nuclei", "ce"), first)
    study.add(make_trial("nuclei", "dice"), second)
    return study


def test_holm_gives_r_s_p_adjust():
    # R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    assert holm(np.array([0.01, 0.02, 0.03, 0.04, 0.05])) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_holm_agrees_with_statsmodels(p):
    assert holm(np.array(p)) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_leaves_out_what_was_not_tested():
    corrected = holm(np.array([0.01, np.nan, 0.04]))
    assert corrected[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(corrected[1])


def test_every_pair_is_tested_once_per_metric_and_test():
    tests = pairs_of(paper_like(gammas=(0.5,)))
    assert len(tests) == 28 * 4 * 2
    assert not tests.duplicated(["dataset", "label", "metric", "test", "first", "second"]).any()
    assert (tests["family_size"] == 28).all()


def test_p_values_are_those_of_the_single_tests():
    rng = np.random.default_rng(3)
    x, y = rng.random(12), rng.random(12)
    tests = pairs_of(two_losses(x.tolist(), y.tolist())).set_index(["metric", "test"])
    assert tests.loc[("dsc", "rank_sum"), "p"] == pytest.approx(rank_sum(x, y).p)
    assert tests.loc[("dsc", "signed_rank"), "p"] == pytest.approx(signed_rank(x, y).p)


def test_a_missing_image_is_left_out_of_its_pairs_alone():
    study = two_losses([0.5, 0.6, 0.7, 0.8], [0.4, 0.5, 0.6])
    study.add(make_trial("nuclei", "focal"), [0.1, 0.3, 0.2, 0.45])
    tests = pairs_of(study)
    paired = tests[(tests["metric"] == "dsc") & (tests["test"] == "signed_rank")].set_index(["first", "second"])
    assert list(paired.loc[("ce", "dice"), ["n", "left_out"]]) == [3, 1]
    assert list(paired.loc[("ce", "focal"), ["n", "left_out"]]) == [4, 0]


def test_an_undefined_score_is_left_out():
    tests = pairs_of(two_losses([0.5, None, 0.7, 0.8], [0.4, 0.5, 0.6, 0.9]))
    assert (tests["left_out"] == 1).all()


def test_too_few_images_are_warned_of():
    few = pairs_of(two_losses([0.5, 0.6, 0.7, 0.8, 0.9], [0.4, 0.5, 0.6, 0.7, 0.8]))
    paired = few[few["test"] == "signed_rank"]
    assert (paired["smallest_p_holm"] == 0.0625).all()
    assert (paired["warning"] != "").all()
    assert (pairs_of(paper_like(images=20, gammas=(0.5,)))["warning"] == "").all()


def test_a_single_image_has_no_p_and_says_so():
    tests = pairs_of(two_losses([0.5], [0.6]))
    assert tests["p"].isna().all()
    assert tests["p_holm"].isna().all()
    assert tests["note"].str.contains("single image").all()


def test_one_loss_alone_has_no_tests():
    study = Study()
    study.add(make_trial("nuclei", "ce"), [0.5, 0.6])
    assert pairs_of(study).empty


def test_positive_effect_means_the_first_is_better():
    tests = pairs_of(two_losses([0.9, 0.8, 0.85, 0.7, 0.75, 0.95], [0.5, 0.3, 0.4, 0.1, 0.2, 0.35]))
    assert (tests["first"] == "ce").all()
    assert (tests["effect"] == 1).all()
    assert (tests["median_difference"] > 0).all()
    assert (tests["low"] > 0).all()


def distances(first, second, *, diagonal=None):
    """Tests of HD95 of two losses on the same images."""
    study = two_losses([0.5] * len(first), [0.5] * len(second))
    study.columns["hd95"] = [*first, *second]
    study.columns["diagonal"] = [diagonal] * (len(first) + len(second))
    tests = pairs_of(study)
    return tests[tests["metric"] == "hd95"].set_index("test")


@pytest.mark.parametrize("diagonal", [None, 100.0])
def test_a_missed_structure_is_the_worst_rank_in_both_tests(diagonal):
    tests = distances([3.0, 3.1, 3.2, math.inf, math.inf], [7.0, 7.1, 7.2, 7.3, 7.4], diagonal=diagonal)
    # As if each infinite distance were longer than any other, and all of them equally long.
    ranked = stats.mannwhitneyu([1, 2, 3, 9, 9], [4, 5, 6, 7, 8], use_continuity=True, method="asymptotic")
    assert tests.loc["rank_sum", "p"] == pytest.approx(ranked.pvalue)
    signed = stats.wilcoxon([-4, -4, -4, 1000, 1000], correction=True, method="approx")
    assert tests.loc["signed_rank", "p"] == pytest.approx(signed.pvalue)
    assert tests.loc["signed_rank", "effect"] == pytest.approx((2 * 4.5 - 3 * 2) / 15)
    assert (tests["left_out"] == 0).all()


def test_a_loss_that_misses_eight_of_twenty_lesions_does_not_win():
    rng = np.random.default_rng(0)
    near, far = 3 + rng.random(20), 7 + rng.random(20)
    near[:8] = math.inf
    tests = distances(near, far)
    assert (tests["p"] > 0.2).all()
    # It may be nearer by four, or infinitely far: the images do not tell.
    assert tests.loc["signed_rank", "low"] < -3
    assert tests.loc["signed_rank", "high"] == math.inf


def test_a_difference_that_misses_decide_is_infinite():
    tests = distances([math.inf] * 4 + [3.0], [5.0, 5.1, 5.2, 5.3, 5.4])
    assert tests.loc["signed_rank", "median_difference"] == math.inf
    both = distances([math.inf, math.inf, 3.0], [math.inf, math.inf, 4.0])
    assert both.loc["signed_rank", "median_difference"] == -1
    assert (both["left_out"] == 0).all()
