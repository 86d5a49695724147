"""From storage's records to frames: what is current, what is a variant, and which scores are refused."""

import pytest
from study_maker import Study, make_trial, paper_like

from sweeper.analysis import AnalysisError, score_frame, scores_hash, trial_frame
from sweeper.analysis.frames import SCORE_TEXTS, TRIAL_COLUMNS
from sweeper.analysis.selection import trial_scores
from trials.metrics import listed
from trials.spec import RESULTS_VERSION
from trials.states import FailureKind, TrialState


def test_frames_of_nothing_have_their_columns():
    assert list(trial_frame([]).columns) == list(TRIAL_COLUMNS)
    assert list(score_frame(Study().columns).columns) == [*SCORE_TEXTS, *listed()]


def test_only_finished_trials_of_this_results_version_are_current():
    trials = [
        make_trial("a", "ce"),
        make_trial("a", "dice", state=TrialState.PRUNED),
        make_trial("a", "focal", state=TrialState.FAILED, failure=FailureKind.DIVERGED),
        make_trial("a", "combo", results_version=RESULTS_VERSION - 1),
        make_trial("a", "tversky", state=TrialState.RUNNING),
    ]
    frame = trial_frame(trials)
    assert frame["current"].tolist() == [True, False, False, False, False]
    assert frame["failure"].tolist() == ["", "", "diverged", "", ""]


def test_gamma_and_repeat_make_no_variant():
    trials = [make_trial("a", "unified_focal_sym", gamma=g, repeat=r) for g in (0.1, 0.5) for r in (0, 1)]
    assert set(trial_frame(trials)["variant"]) == {"unified_focal_sym"}


def test_another_setting_makes_another_variant():
    trials = [
        make_trial("a", "unified_focal_sym", gamma=0.5, parameters={"delta": 0.6}),
        make_trial("a", "unified_focal_sym", gamma=0.5, parameters={"delta": 0.7}),
        make_trial("b", "unified_focal_sym", gamma=0.5, parameters={"delta": 0.7}),
    ]
    assert trial_frame(trials)["variant"].tolist() == [
        "unified_focal_sym",
        "unified_focal_sym (delta=0.7)",
        "unified_focal_sym (delta=0.7)",
    ]


def test_gamma_per_class_is_a_setting():
    trials = [make_trial("a", "unified_focal_sym", parameters={"gamma": g}) for g in ((0.1, 0.5), (0.2, 0.5))]
    assert trial_frame(trials)["variant"].nunique() == 2


@pytest.mark.parametrize(("metric", "value"), [("dsc", 1.5), ("recall", -0.1), ("hd95", -1.0)])
def test_an_impossible_score_is_refused_by_name(metric, value):
    study = Study()
    trial = study.add(make_trial("a", "ce"), [0.5, 0.6])
    study.columns[metric][1] = value
    with pytest.raises(AnalysisError, match=f"{metric} = {value:g} of image 'case001'.*{trial.hash}"):
        score_frame(study.columns)


def test_an_image_that_occurs_twice_is_refused():
    study = Study()
    trial = study.add(make_trial("a", "ce"), [0.5])
    study.add_scores(trial, "thing", [0.6])
    with pytest.raises(AnalysisError, match=r"'case000'.*twice"):
        score_frame(study.columns)


def test_a_missing_column_is_refused_by_name():
    columns = Study().columns
    del columns["recall"]
    with pytest.raises(AnalysisError, match="recall"):
        score_frame(columns)


def test_nan_and_none_are_undefined_and_infinite_distances_are_kept():
    study = Study()
    study.add(make_trial("a", "ce"), [None, float("nan"), 0.5])
    study.columns["hd95"][2] = float("inf")
    frame = score_frame(study.columns)
    assert frame["dsc"].isna().tolist() == [True, True, False]
    assert frame["hd95"].iloc[2] == float("inf")


def test_scores_hash_follows_the_scores_and_not_their_order():
    frame = score_frame(paper_like(gammas=(0.5,), images=4).columns)
    shuffled = frame.sample(frac=1, random_state=1)
    assert scores_hash(frame) == scores_hash(shuffled)
    changed = frame.copy()
    changed.loc[0, "dsc"] += 1e-9
    assert scores_hash(frame) != scores_hash(changed)


def test_an_unknown_group_is_empty_also_where_scores_have_none():
    study = Study()
    trial = study.add(make_trial("a", "ce"), [0.5])
    study.add_scores(trial, "other", [0.6, 0.7], groups=["p1", "p2"])
    assert score_frame(study.columns)["group"].tolist() == ["", "p1", "p2"]
    del study.columns["group"]
    assert score_frame(study.columns)["group"].tolist() == ["", "", ""]
    study.columns["group"] = [None, float("nan"), "p2"]
    assert score_frame(study.columns)["group"].tolist() == ["", "", "p2"]


def test_groups_enter_the_hash_of_the_scores_only_where_they_are_known():
    frame = score_frame(paper_like(gammas=(0.5,), images=4).columns)
    assert scores_hash(frame) == scores_hash(frame.drop(columns="group"))
    assert scores_hash(frame) != scores_hash(frame.assign(group="p1"))


def test_a_trial_from_before_groups_were_stored_has_those_of_the_same_images():
    study = Study()
    study.add(make_trial("a", "ce"), [0.5, 0.6])
    study.trials.append(new := make_trial("a", "dice"))
    study.add_scores(new, "thing", [0.7, 0.8], groups=["p1", "p2"])
    study.add(make_trial("b", "ce"), [0.5])
    scores = trial_scores(trial_frame(study.trials), score_frame(study.columns))
    assert scores.loc[scores["dataset"] == "a", "group"].tolist() == ["p1", "p2", "p1", "p2"]
    assert scores.loc[scores["dataset"] == "b", "group"].tolist() == [""]
