"""Sweeps: made, extended, shared, their state, requests, splits and tests; on SQLite and on a real Postgres."""

from __future__ import annotations

import dataclasses
import math
import threading

import pytest
from storage_samples import make_sweep, new_trials, outcome, stored_splits, trial_hash

from storage.database import Database
from storage.errors import SweepConflictError, UnknownSweepError, UnknownTrialError
from storage.records import SignificanceTest
from storage.repository import Repository
from trials.splits import Split
from trials.states import SweepState, TrialState


def test_create_gives_back_what_was_given(repository: Repository) -> None:
    trials = [dataclasses.replace(t, study=f"s{i}", cost=float(i)) for i, t in enumerate(new_trials(3))]
    before = repository.database.now()
    sweep = repository.create_sweep(
        "γ sweep", grid={"gamma": [0.1, 0.2]}, trials=trials, rehearsal=True, description="d", details={"k": [1]}
    )
    assert sweep == repository.sweep("γ sweep") == repository.sweeps()[0]
    assert (sweep.name, sweep.state, sweep.rehearsal) == ("γ sweep", SweepState.QUEUED, True)
    assert (sweep.grid, sweep.details, sweep.description) == ({"gamma": [0.1, 0.2]}, {"k": [1]}, "d")
    assert before - 0.01 <= sweep.created_at <= repository.database.now() + 0.01
    stored = repository.trials("γ sweep")
    for position, (trial, given) in enumerate(zip(stored, trials, strict=True)):
        for field in dataclasses.fields(given):
            assert getattr(trial, field.name) == getattr(given, field.name)
        assert (trial.position, trial.state, trial.attempts) == (position, TrialState.QUEUED, 0)
        assert trial.sweep is None


def test_same_again_gives_the_same(repository: Repository) -> None:
    first = repository.create_sweep("study", grid={}, trials=new_trials(3))
    again = repository.create_sweep("study", grid={}, trials=list(reversed(new_trials(3))))
    assert again == first
    assert [t.hash for t in repository.trials("study")] == [t.hash for t in new_trials(3)]


def test_other_trials_conflict_and_change_nothing(repository: Repository) -> None:
    repository.create_sweep("study", grid={}, trials=new_trials(3))
    with pytest.raises(SweepConflictError, match=r"'study' exists with other trials: 1 of this grid's 3 .* 1 of its 3"):
        repository.create_sweep("study", grid={}, trials=new_trials(4)[1:])
    assert len(repository.trials("study")) == 3


def test_extend_adds_behind_and_takes_none_away(repository: Repository) -> None:
    repository.create_sweep("study", grid={}, trials=new_trials(3))
    repository.create_sweep("study", grid={}, trials=new_trials(5)[2:], extend=True)
    assert [t.hash for t in repository.trials("study")] == [t.hash for t in new_trials(5)]


def test_extend_replaces_the_details_by_those_given(repository: Repository) -> None:
    repository.create_sweep("study", grid={}, trials=new_trials(1), details={"plugins": [1]})
    kept = repository.create_sweep("study", grid={}, trials=new_trials(2), extend=True)
    assert kept.details == {"plugins": [1]}
    grown = repository.create_sweep("study", grid={}, trials=new_trials(3), extend=True, details={"plugins": [1, 2]})
    assert grown.details == {"plugins": [1, 2]} == repository.sweep("study").details


def test_a_trial_twice_in_a_grid_is_refused(repository: Repository) -> None:
    with pytest.raises(SweepConflictError, match=f"has trial {trial_hash(1)} twice"):
        repository.create_sweep("study", grid={}, trials=[*new_trials(3), new_trials(2)[1]])
    assert repository.sweeps() == []


def test_sweeps_share_a_result(repository: Repository) -> None:
    lease = make_sweep(repository, 2)
    attempt = repository.claim(lease, trial_hash(0))
    assert attempt is not None
    repository.finish(lease, attempt.id, outcome())
    repository.create_sweep("other", grid={}, trials=new_trials(3))
    shared = repository.trials("other")[0]
    assert (shared.state, shared.sweep, shared.val_dsc) == (TrialState.FINISHED, "study", 0.75)
    other = repository.acquire_lease("other", "o", 1000)
    assert repository.claim(other, trial_hash(0)) is None
    assert repository.score_columns("other") == repository.score_columns("study")
    assert repository.attempts_of_sweep("other") == repository.attempts_of_sweep("study")


def test_unknown_sweep_names_the_nearest(repository: Repository) -> None:
    make_sweep(repository, name="gamma-nuclei")
    with pytest.raises(UnknownSweepError, match="no sweep is named 'gama-nuclei'; did you mean 'gamma-nuclei'"):
        repository.sweep("gama-nuclei")
    with pytest.raises(UnknownSweepError, match="'zzz'"):
        repository.score_columns("zzz")


def test_trial_by_prefix(repository: Repository) -> None:
    make_sweep(repository, 200)
    wanted = trial_hash(7)
    assert repository.trial(wanted[:10]).hash == wanted
    assert repository.trial(wanted, "study").hash == wanted
    with pytest.raises(UnknownTrialError, match=r"trials have hashes that start with .*give more digits"):
        repository.trial(wanted[:1])
    for bad in ("", "%", "_", "xyz"):
        with pytest.raises(UnknownTrialError, match="no trial's hash starts with"):
            repository.trial(bad)


def test_state_reason_and_end(repository: Repository) -> None:
    lease = make_sweep(repository)
    assert repository.sweep("study").state == SweepState.RUNNING
    repository.set_sweep_state(lease, SweepState.BROKEN, "5 × out of memory")
    broken = repository.sweep("study")
    assert (broken.state, broken.reason) == (SweepState.BROKEN, "5 × out of memory")
    assert broken.finished_at is not None
    repository.set_sweep_state(lease, SweepState.RUNNING)
    assert repository.sweep("study").finished_at is None


def test_mlflow_runs(repository: Repository) -> None:
    lease = make_sweep(repository)
    repository.set_mlflow_run(lease, "parent")
    repository.set_mlflow_run(lease, "child", trial=trial_hash(1))
    assert repository.sweep("study").mlflow_run == "parent"
    assert [t.mlflow_run for t in repository.trials("study")] == [None, "child", None]


def test_requests(repository: Repository) -> None:
    lease = make_sweep(repository)
    first = repository.add_request("study", "stop", {"trial": "ab"})
    second = repository.add_request("study", "scale", {"workers": 2})
    assert repository.pending_requests(lease) == [first, second] == repository.requests("study")
    repository.complete_request(lease, first.id, "stopped")
    repository.complete_request(lease, first.id, "again")
    assert repository.pending_requests(lease) == [second]
    done = repository.requests("study")[0]
    assert (done.verb, done.arguments, done.outcome) == ("stop", {"trial": "ab"}, "stopped")
    assert done.done_at is not None
    with pytest.raises(UnknownSweepError):
        repository.add_request("nope", "stop")


def test_splits(repository: Repository) -> None:
    split = Split(("a", "b"), ("c",), ("d", "é"), {"seed": 1})
    repository.save_split("nuclei", "prepared", split)
    repository.save_split("nuclei", "prepared", dataclasses.replace(split, settings={}))
    assert stored_splits(repository) == [("nuclei", "prepared", split)]


def test_significance_is_replaced(repository: Repository) -> None:
    make_sweep(repository)
    test = SignificanceTest(
        "nuclei", "all", "dsc", "signed-rank", "ce", "dice", 122, 0.01, 0.04, -0.3, 0.0, None, math.inf, "h"
    )
    repository.replace_significance("study", [test, dataclasses.replace(test, second="focal")])
    repository.replace_significance("study", [dataclasses.replace(test, p=None), test])
    assert repository.significance("study") == [dataclasses.replace(test, p=None), test]
    repository.replace_significance("study", [])
    assert repository.significance("study") == []


def test_two_sweeps_made_at_once_from_several_threads(database: Database) -> None:
    repository = Repository(database)
    errors: list[BaseException] = []

    def create(number: int) -> None:
        trials = new_trials(30)
        try:
            repository.create_sweep(f"s{number % 2}", grid={}, trials=trials if number % 3 else trials[::-1])
        except BaseException as error:  # noqa: BLE001 (shown by the assertion)
            errors.append(error)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {sweep.name: len(repository.trials(sweep.name)) for sweep in repository.sweeps()} == {"s0": 30, "s1": 30}
