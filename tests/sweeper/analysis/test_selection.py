"""γ is chosen on validation; repeats are averaged before anything else."""

import numpy as np
import pytest
from study_maker import Study, make_trial

from sweeper.analysis import score_frame, scores_hash, trial_frame
from sweeper.analysis.intervals import t_half_width
from sweeper.analysis.scored import scored_metrics
from sweeper.analysis.selection import (
    at_selected_gamma,
    foreground_dsc,
    image_scores,
    means_by_gamma,
    select_gamma,
    trial_scores,
)
from sweeper.analysis.stability import curve_runs, gamma_curves
from sweeper.analysis.tables import result_table
from trials.states import TrialState

LOSS = "unified_focal_asym"


def sweep_of(validation, test):
    return [
        make_trial("a", LOSS, gamma=g, val_dsc=v, test_dsc=t)
        for g, v, t in zip((0.1, 0.5, 0.9), validation, test, strict=True)
    ]


def test_validation_decides_and_the_choice_on_test_stands_beside():
    row = select_gamma(trial_frame(sweep_of((0.7, 0.6, 0.5), (0.6, 0.7, 0.8)))).iloc[0]
    assert row["gamma"] == 0.1
    assert row["gamma_on_test"] == 0.9
    assert row["optimism"] == pytest.approx(0.2)
    assert row["gammas"] == 3


def test_test_scores_never_move_the_choice():
    one = select_gamma(trial_frame(sweep_of((0.7, 0.6, 0.5), (0.6, 0.7, 0.8))))
    other = select_gamma(trial_frame(sweep_of((0.7, 0.6, 0.5), (0.1, 0.0, 0.9))))
    assert one["gamma"].tolist() == other["gamma"].tolist()


def test_ties_go_to_the_gamma_nearest_one_half():
    assert select_gamma(trial_frame(sweep_of((0.7, 0.7, 0.7), (0.6, 0.7, 0.8)))).iloc[0]["gamma"] == 0.5


def test_the_mean_over_repeats_counts():
    trials = [make_trial("a", LOSS, gamma=0.1, repeat=r, val_dsc=v) for r, v in enumerate((0.9, 0.1))]
    trials += [make_trial("a", LOSS, gamma=0.5, repeat=r, val_dsc=0.6) for r in range(2)]
    row = select_gamma(trial_frame(trials)).iloc[0]
    assert (row["gamma"], row["repeats"]) == (0.5, 2)


def test_means_by_gamma_have_intervals_over_runs():
    values = (0.9, 0.7, 0.5)
    trials = [make_trial("a", LOSS, gamma=0.1, repeat=r, val_dsc=v, test_dsc=v / 2) for r, v in enumerate(values)]
    several, single = means_by_gamma(trial_frame([*trials, make_trial("a", LOSS, gamma=0.5)])).to_dict("records")
    assert several["val_half_width"] == pytest.approx(t_half_width(np.array(values)))
    assert several["test_half_width"] == pytest.approx(several["val_half_width"] / 2)
    assert np.isnan(single["val_half_width"])


def test_unfinished_and_outdated_trials_are_not_chosen():
    trials = sweep_of((0.5, 0.6, 0.7), (0.5, 0.6, 0.7))
    trials.append(make_trial("a", LOSS, gamma=0.3, val_dsc=0.99, results_version=0))
    trials.append(make_trial("a", LOSS, gamma=0.4, val_dsc=0.99, state=TrialState.PRUNED))
    assert select_gamma(trial_frame(trials)).iloc[0]["gamma"] == 0.9


def test_several_gammas_without_validation_scores_cannot_be_chosen_from():
    assert select_gamma(trial_frame(sweep_of((None, None, None), (0.5, 0.6, 0.7)))).empty


def test_a_loss_without_gamma_needs_no_choice():
    selection = select_gamma(trial_frame([make_trial("a", "ce", val_dsc=None)]))
    assert len(selection) == 1
    assert np.isnan(selection.iloc[0]["gamma"])


def repeated():
    study = Study()
    for repeat, dsc in enumerate(([0.5, 0.7, None], [0.7, 0.7, None])):
        study.add(make_trial("a", "ce", repeat=repeat), dsc)
    return trial_frame(study.trials), score_frame(study.columns)


def test_an_image_s_score_is_the_mean_over_repeats():
    images = image_scores(*repeated())
    assert images["dsc"].tolist()[:2] == pytest.approx([0.6, 0.7])
    assert np.isnan(images["dsc"].iloc[2])
    assert images["repeats"].tolist() == [2, 2, 2]


def test_the_table_s_interval_is_over_images_and_beside_it_over_repeats():
    trials, scores = repeated()
    table = result_table(image_scores(trials, scores), trial_scores(trials, scores)).set_index("metric")
    row = table.loc["dsc"]
    assert row["mean"] == pytest.approx(0.65)
    assert row["half_width"] == pytest.approx(12.7062 * 0.1 / 2, rel=1e-4)  # t(0.975, 1) · range / 2 for two values
    assert row["repeats_half_width"] == pytest.approx(12.7062 * 0.1 / 2, rel=1e-4)
    assert (row["n"], row["left_out"], row["repeats"]) == (2, 1, 2)


def test_validation_scores_do_not_enter_the_test_table():
    study = Study()
    trial = study.add(make_trial("a", "ce"), [0.5])
    study.add_scores(trial, "thing", [0.9], partition="validation")
    images = image_scores(trial_frame(study.trials), score_frame(study.columns))
    assert images["dsc"].tolist() == [0.5]


def test_foreground_dsc_is_the_mean_over_classes():
    study = Study()
    trial = study.add(make_trial("kits19", "ce"), [0.9, 0.8], label="kidney")
    study.add_scores(trial, "tumour", [0.5, None])
    images = image_scores(trial_frame(study.trials), score_frame(study.columns))
    assert foreground_dsc(images)["dsc"].tolist() == pytest.approx([0.7, 0.8])


def test_at_selected_gamma_keeps_losses_without_gamma():
    study = Study()
    study.add(make_trial("a", "ce", val_dsc=0.5), [0.5])
    for gamma, dsc in ((0.1, 0.6), (0.5, 0.7)):
        study.add(make_trial("a", LOSS, gamma=gamma, val_dsc=dsc), [dsc])
    trials = trial_frame(study.trials)
    chosen = at_selected_gamma(image_scores(trials, score_frame(study.columns)), select_gamma(trials))
    assert sorted(chosen["dsc"]) == [0.5, 0.7]


def missed(*distances, diagonal=(10.0, 20.0, 30.0)):
    """One loss on three images, a list of distances for each repeat."""
    study = Study()
    for repeat in range(len(distances)):
        study.add(make_trial("a", "ce", repeat=repeat), [0.5] * 3)
    study.columns["hd95"] = [d for repeat in distances for d in repeat]
    study.columns["diagonal"] = [d for _ in distances for d in diagonal]
    trials, scores = trial_frame(study.trials), score_frame(study.columns)
    images = image_scores(trials, scores)
    table = result_table(images, trial_scores(trials, scores)).set_index("metric")
    return images["hd95"].tolist(), table.loc["hd95"]


def test_a_missed_structure_counts_as_the_image_s_diagonal_in_means():
    images, row = missed([1.0, np.inf, np.inf])
    assert images == [1, np.inf, np.inf]
    assert row["mean"] == pytest.approx((1 + 20 + 30) / 3)
    assert (row["n"], row["left_out"], row["missed"]) == (3, 0, 2)


def test_an_image_that_some_repeats_missed_has_the_mean_with_its_diagonal():
    images, row = missed([1.0, np.inf, np.inf], [3.0, 4.0, np.inf])
    assert images == [2, 12, np.inf]
    assert row["mean"] == pytest.approx((2 + 12 + 30) / 3)
    assert row["missed"] == 1
    assert row["repeats_half_width"] == pytest.approx(12.7062 * (51 - 37) / 3 / 2, rel=1e-4)


def test_without_a_stored_diagonal_means_leave_a_missed_structure_out_and_count_it():
    images, row = missed([1.0, np.inf, 3.0], [3.0, 4.0, 3.0], diagonal=(None, None, None))
    assert images == [2, np.inf, 3]
    assert row["mean"] == pytest.approx(2.5)
    assert (row["n"], row["left_out"], row["missed"]) == (2, 1, 1)


def test_descriptions_of_an_image_are_no_results_and_change_no_hash():
    study = Study()
    study.add(make_trial("a", "ce"), [0.5, 0.6])
    before = score_frame(study.columns)
    study.columns["size"] = [10.0, 20.0]
    scores = score_frame(study.columns)
    assert scores_hash(scores) == scores_hash(before)
    images = image_scores(trial_frame(study.trials), scores)
    assert images["size"].tolist() == [10, 20]
    assert "size" not in scored_metrics(images)


def cross_validated():
    """Two repeats of two folds: fold 0 holds two images out, fold 1 one."""
    study = Study()
    for repeat, fold, values in ((0, 0, [0.5, 0.7]), (0, 1, [0.9]), (1, 0, [0.7, 0.7]), (1, 1, [0.8])):
        mean = float(np.mean(values))
        study.trials.append(trial := make_trial("a", "ce", repeat=repeat, fold=fold, val_dsc=mean, test_dsc=mean))
        study.add_scores(trial, "thing", values, first=2 * fold)
    return trial_frame(study.trials), score_frame(study.columns)


def test_each_image_of_a_cross_validation_has_the_score_of_the_fold_that_held_it_out():
    trials, scores = cross_validated()
    assert trials["fold"].tolist() == [0, 1, 0, 1]
    images = image_scores(trials, scores)
    assert images["dsc"].tolist() == pytest.approx([0.6, 0.7, 0.85])
    assert images["repeats"].tolist() == [2, 2, 2]
    row = result_table(images, trial_scores(trials, scores)).set_index("metric").loc["dsc"]
    assert (row["n"], row["repeats"]) == (3, 2)
    # The repeats' means are 0.7 and 0.7333: over all images of a repeat, not over its folds.
    assert row["repeats_half_width"] == pytest.approx(12.7062 * (2.2 / 3 - 0.7) / 2, rel=1e-4)
    curve = gamma_curves(images, curve_runs(trial_scores(trials, scores))).iloc[0]
    assert (curve["n"], curve["repeats"]) == (3, 2)
    assert curve["repeats_half_width"] == pytest.approx(row["repeats_half_width"])


def test_gamma_is_chosen_by_the_mean_over_the_folds_of_each_repeat():
    trials = [
        make_trial("a", LOSS, gamma=g, repeat=r, fold=f, val_dsc=v)
        for g, r, f, v in (
            (0.1, 0, 0, 0.9), (0.1, 0, 1, 0.9), (0.1, 1, 0, 0.4),  # the second fold of repeat 1 has not finished
            (0.5, 0, 0, 0.7), (0.5, 0, 1, 0.7), (0.5, 1, 0, 0.7), (0.5, 1, 1, 0.7),
        )
    ]  # fmt: skip
    row = select_gamma(trial_frame(trials)).iloc[0]
    assert (row["gamma"], row["val_dsc"], row["repeats"]) == (0.5, pytest.approx(0.7), 2)
