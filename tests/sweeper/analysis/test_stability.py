"""Stability over γ, on curves whose range, slope and shares are known."""

from functools import cache

import numpy as np
import pytest
from study_maker import Study, make_trial, paper_like

from sweeper.analysis import analyse, score_frame, trial_frame

LOSS = "unified_focal_asym"
JITTER = np.linspace(-0.05, 0.05, 12)


def answers_of(study):
    return analyse(trial_frame(study.trials), score_frame(study.columns))


@cache
def straight(baseline=0.62, gammas=(0.1, 0.3, 0.5, 0.7, 0.9), slope=-0.2, runs=3):
    """Mean DSC 0.7 + slope · γ, the same shape in each image, and a baseline."""
    study = Study(further=False)
    rng = np.random.default_rng(0)
    for repeat in range(runs):
        if baseline is not None:
            study.add(make_trial("a", "dice", repeat=repeat, val_dsc=baseline), (baseline + JITTER).tolist())
        for gamma in gammas:
            noise = rng.normal(0, 0.002, JITTER.size)
            dsc = 0.7 + slope * gamma + JITTER + noise - noise.mean()
            study.add(make_trial("a", LOSS, gamma=gamma, repeat=repeat, val_dsc=0.7 + slope * gamma), dsc.tolist())
    return answers_of(study)


def test_range_slope_and_spread_of_a_straight_line():
    row = straight().stability.iloc[0]
    assert row["range"] == pytest.approx(0.16)
    assert row["slope"] == pytest.approx(-0.2)
    assert row["sd"] == pytest.approx(np.std([0.68, 0.64, 0.60, 0.56, 0.52], ddof=1))
    assert (row["best_gamma"], row["worst_gamma"]) == (0.1, 0.9)


def test_shares_above_the_baseline():
    row = straight().stability.iloc[0]  # above it: γ 0.1 and 0.3, by 0.06 and 0.02
    assert row["baseline"] == "dice"
    assert row["share_above_baseline"] == pytest.approx(0.4)
    assert row["share_significantly_above"] == pytest.approx(0.4)


def test_a_mean_above_that_no_test_confirms_counts_in_one_share_only():
    study = Study(further=False)
    for repeat in range(3):
        study.add(make_trial("a", "dice", repeat=repeat, val_dsc=0.5), [0.5, 0.5, 0.5, 0.5])
        for gamma in (0.1, 0.5):
            study.add(make_trial("a", LOSS, gamma=gamma, repeat=repeat), [0.45, 0.9, 0.52, 0.46])
    row = answers_of(study).stability.iloc[0]
    assert row["share_above_baseline"] == 1
    assert row["share_significantly_above"] == 0


def test_gamma_is_easy_to_set_where_every_gamma_is_as_good_as_one_half():
    same = straight(slope=0.0).stability.iloc[0]
    assert same["verdict"] == "holds"
    assert -0.01 < same["low"] <= same["difference"] <= same["high"] < 0.01
    # A bad γ on either side refutes it, however good the best one is.
    row = straight().stability.iloc[0]
    assert row["verdict"] == "does not hold"
    assert (row["farthest_gamma"], row["difference"]) in ((0.1, pytest.approx(0.08)), (0.9, pytest.approx(-0.08)))
    assert straight(slope=-0.022).stability.iloc[0]["verdict"] == "holds"
    assert straight(slope=-0.025).stability.iloc[0]["verdict"] == "not shown"


def test_a_bad_gamma_that_is_not_the_best_one_refutes_too():
    study = Study(further=False)
    for repeat in range(3):
        for gamma, dsc in ((0.1, 0.8), (0.5, 0.8), (0.9, 0.76)):
            study.add(make_trial("a", LOSS, gamma=gamma, repeat=repeat), (dsc + JITTER).tolist())
    row = answers_of(study).stability.iloc[0]
    assert (row["verdict"], row["farthest_gamma"]) == ("does not hold", 0.9)


def test_the_margin_decides():
    study = straight(slope=-0.02)
    assert study.stability.iloc[0]["verdict"] == "holds"
    assert (study.margin, study.stability.iloc[0]["margin"]) == (0.01, 0.01)


def test_one_run_shows_nothing_about_new_trainings():
    row = straight(runs=1).stability.iloc[0]
    assert row["share_above_baseline"] == pytest.approx(0.4)
    assert np.isnan([row["share_significantly_above"], row["low"], row["high"]]).all()
    assert row["verdict"] == "not tested"
    assert row["note"] == "one run for a γ: nothing is known of new trainings"


def test_the_baseline_is_chosen_on_validation():
    study = Study(further=False)
    study.add(make_trial("a", "ce", val_dsc=0.9), (0.5 + JITTER).tolist())
    study.add(make_trial("a", "dice", val_dsc=0.4), (0.8 + JITTER).tolist())
    for gamma in (0.1, 0.5):
        study.add(make_trial("a", LOSS, gamma=gamma), (0.7 + JITTER).tolist())
    row = answers_of(study).stability.iloc[0]
    assert row["baseline"] == "ce"
    assert row["share_above_baseline"] == 1


def test_without_baseline_or_one_half_the_note_says_so():
    row = straight(baseline=None, gammas=(0.1, 0.3)).stability.iloc[0]
    assert np.isnan(row["share_above_baseline"])
    assert np.isnan(row["farthest_gamma"])
    assert row["note"] == "no baseline loss has finished; γ = 0.5 did not run"


def test_one_gamma_has_no_stability_but_a_line():
    answers = straight(gammas=(0.5,))
    assert answers.stability.empty
    assert set(answers.curves["variant"]) == {"dice", LOSS}


def test_curves_have_intervals_over_images_and_over_repeats():
    curves = answers_of(paper_like(repeats=2, baselines=("ce", "dice"), gammas=(0.3, 0.5))).curves
    assert len(curves) == 2 + 4
    assert (curves["repeats"] == 2).all()
    assert (curves["half_width"] > 0).all()
    assert (curves["repeats_half_width"] > 0).all()


def test_multi_class_curves_average_the_classes():
    answers = answers_of(paper_like(labels=("kidney", "tumour"), baselines=("ce",), gammas=(0.3, 0.5)))
    per_class = answers.images[answers.images["variant"] == "ce"]["dsc"].mean()
    line = answers.curves[answers.curves["variant"] == "ce"]
    assert line["dsc"].tolist() == pytest.approx([per_class])
