"""Friedman against R's textbook example, and what ranks over few data sets may say."""

import numpy as np
import pandas as pd
import pytest
from study_maker import Study, make_trial, paper_like

from sweeper.analysis import analyse, score_frame, trial_frame
from sweeper.analysis.comparisons import compare_metrics
from sweeper.analysis.ranks import rank_across, rank_within

# R, ?friedman.test: rounding first base (Hollander & Wolfe 1973, p. 140); chi-squared = 11.143, df = 2, p = 0.003805.
ROUNDING = [
    (5.40, 5.50, 5.55), (5.85, 5.70, 5.75), (5.20, 5.60, 5.50), (5.55, 5.50, 5.40), (5.90, 5.85, 5.70),
    (5.45, 5.55, 5.60), (5.40, 5.40, 5.35), (5.45, 5.50, 5.35), (5.25, 5.15, 5.00), (5.85, 5.80, 5.70),
    (5.25, 5.20, 5.10), (5.65, 5.55, 5.45), (5.60, 5.35, 5.45), (5.05, 5.00, 4.95), (5.50, 5.50, 5.40),
    (5.45, 5.55, 5.50), (5.55, 5.55, 5.35), (5.45, 5.50, 5.55), (5.50, 5.45, 5.25), (5.65, 5.60, 5.40),
    (5.70, 5.65, 5.55), (6.30, 6.30, 6.25),
]  # fmt: skip


def images_of(rows, names=("a", "b", "c")):
    frame = pd.DataFrame(
        [
            {"dataset": "d", "label": "x", "variant": name, "case": str(i), "dsc": value / 10}
            for i, row in enumerate(rows)
            for name, value in zip(names, row, strict=True)
        ]
    )
    for metric in ("iou", "precision", "recall", "hd95", "asd"):
        frame[metric] = frame["dsc"] if metric in ("iou", "precision", "recall") else np.nan
    return frame


def summary_of(rows):
    images = images_of(rows)
    return rank_within("d", "x", images, compare_metrics(two_runs(images), ["dsc"]))


def two_runs(images):
    return pd.concat([images.assign(loss=images["variant"], trial=run) for run in range(2)])


def answers_of(study):
    return analyse(trial_frame(study.trials), score_frame(study.columns))


def test_friedman_gives_r_s_statistic_and_p():
    summary = summary_of(ROUNDING)
    assert summary.statistic == pytest.approx(11.143, abs=5e-4)
    assert summary.p == pytest.approx(0.003805, abs=5e-7)
    assert summary.blocks == 22


def test_mean_ranks_are_best_first():
    summary = summary_of([(9, 5, 1), (8, 6, 2), (7, 6, 5)])
    assert summary.mean_ranks == {"a": 1.0, "b": 2.0, "c": 3.0}


def test_an_incomplete_block_is_left_out():
    summary = summary_of([*ROUNDING, (5.0, float("nan"), 5.1)])
    assert (summary.blocks, summary.left_out) == (22, 1)
    assert summary.statistic == pytest.approx(11.143, abs=5e-4)


def test_identical_losses_do_not_differ():
    summary = summary_of([(5, 5, 5), (6, 6, 6)])
    assert summary.p == 1.0


def test_two_losses_or_one_image_cannot_be_tested():
    assert np.isnan(summary_of([(5, 6, 7)]).p)
    images = images_of([(5, 6), (6, 7)], names=("a", "b"))
    summary = rank_within("d", "x", images, compare_metrics(two_runs(images), ["dsc"]))
    assert "needs three losses" in summary.note


def test_corrected_matrix_is_that_of_the_tests():
    answers = answers_of(paper_like(gammas=(0.5,), repeats=2))
    (summary,) = answers.ranks
    pairs = answers.comparisons
    row = pairs[pairs["metric"] == "dsc"].iloc[3]
    assert summary.corrected.loc[row["loss_a"], row["loss_b"]] == row["p_holm"]
    assert summary.corrected.loc[row["loss_b"], row["loss_a"]] == row["p_holm"]


@pytest.mark.slow
@pytest.mark.parametrize(("datasets", "can"), [(5, False), (6, True)])
def test_below_six_data_sets_the_note_says_that_nothing_can_be_significant(datasets, can):
    study = Study()
    for i in range(datasets):
        for j, loss in enumerate(("ce", "dice", "focal")):
            study.add(make_trial(f"d{i}", loss), [0.9 - 0.1 * j - 0.01 * i * (j + 1), 0.8 - 0.1 * j])
    summary = answers_of(study).across
    assert summary is not None
    assert summary.blocks == datasets
    assert ("no pairwise difference" in summary.note) is not can
    smallest = np.nanmin(summary.corrected.where(~np.eye(3, dtype=bool)).to_numpy())
    assert smallest >= 0.03125 * 3 - 1e-12
    assert list(summary.mean_ranks) == ["ce", "dice", "focal"]


def test_ranks_over_data_sets_average_classes_first():
    study = Study()
    trial = study.add(make_trial("kits19", "ce"), [0.9], label="kidney")
    study.add_scores(trial, "tumour", [0.1])
    trial = study.add(make_trial("kits19", "dice"), [0.8], label="kidney")
    study.add_scores(trial, "tumour", [0.4])
    assert list(rank_across(answers_of(study).selected).mean_ranks) == ["dice", "ce"]
