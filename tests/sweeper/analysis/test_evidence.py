"""What the answers rest on, counted."""

from __future__ import annotations

from study_maker import Study, make_trial

from sweeper.analysis.chosen import chosen_scores
from sweeper.analysis.evidence import evidence
from sweeper.analysis.frames import score_frame, trial_frame
from trials.states import FailureKind, TrialState


def test_runs_patients_and_all_that_is_left_out_are_counted() -> None:
    study = Study()
    for repeat in (0, 1):
        trial = make_trial("nuclei", "ce", repeat=repeat)
        study.trials.append(trial)
        study.add_scores(trial, "thing", [0.5, 0.6, 1.0, 0.7], groups=["p1", "p1", "p2", "p2"])
    once = study.add(make_trial("nuclei", "dice"), [0.5, 0.6, 1.0])  # lacks an image
    study.columns["recall"][2] = study.columns["recall"][6] = None
    study.columns["size"] = [10.0, 20.0, 0.0, 30.0] * 2 + [10.0, 20.0, 0.0]
    study.add(make_trial("nuclei", "focal", results_version=0), [])
    for state in (TrialState.FAILED, TrialState.PRUNED, TrialState.QUEUED, TrialState.RUNNING, TrialState.STOPPED):
        failure = FailureKind.DIVERGED if state is TrialState.FAILED else None
        study.trials.append(make_trial("nuclei", f"loss-{state}", state=state, failure=failure))
    whole = chosen_scores(trial_frame(study.trials), score_frame(study.columns))
    (row,) = evidence(whole.trials, whole.selected, whole.chosen, whole.absent).to_dict("records")
    assert once.hash in set(whole.chosen["trial"])
    assert row == {
        "dataset": "nuclei", "provenance": "real", "trials": 9, "counted": 3, "failed": 1, "pruned": 1, "waiting": 2,
        "stopped": 1, "outdated": 1, "losses": 2, "fewest_runs": 1, "most_runs": 2, "images": 4, "groups": 2,
        "empty": 1.0, "undefined": 1, "missing": 1, "absent": "",
    }  # fmt: skip


def test_a_sweep_without_results_has_its_trials_alone() -> None:
    study = Study(trials=[make_trial("nuclei", "ce", state=TrialState.QUEUED)])
    whole = chosen_scores(trial_frame(study.trials), score_frame(study.columns))
    (row,) = evidence(whole.trials, whole.selected, whole.chosen, whole.absent).to_dict("records")
    assert (row["trials"], row["waiting"], row["images"], row["most_runs"], row["missing"]) == (1, 1, 0, 0, 0)
