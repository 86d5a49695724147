"""What a search suggests becomes a trial of its sweep before it is claimed; on SQLite and on a real Postgres."""

from __future__ import annotations

import dataclasses

import pytest
from storage_samples import let_lease_run_out, make_sweep, new_trials, outcome, trial_hash

from storage.errors import LeaseLostError
from storage.repository import Repository
from trials.states import TrialState


@pytest.mark.slow
def test_added_trials_stand_behind_the_others_and_once(repository: Repository) -> None:
    lease = make_sweep(repository, 2)
    new = [dataclasses.replace(t, study="study/nuclei", cost=3.0) for t in new_trials(4)]
    assert repository.add_trials(lease, new[1:]) == [trial_hash(2), trial_hash(3)]
    assert repository.add_trials(lease, [*new, new[3]]) == []
    trials = repository.trials("study")
    assert [t.hash for t in trials] == [trial_hash(i) for i in range(4)]
    assert [t.position for t in trials] == [0, 1, 2, 3]
    assert [t.study for t in trials] == [None, None, "study/nuclei", "study/nuclei"]
    assert repository.claim(lease, trial_hash(3)) is not None


@pytest.mark.slow
def test_an_added_trial_that_has_finished_is_shared_with_its_result(repository: Repository) -> None:
    first = make_sweep(repository, 3, "first")
    attempt = repository.claim(first, trial_hash(2))
    assert attempt is not None
    repository.finish(first, attempt.id, outcome())
    lease = make_sweep(repository, 1, "second")
    assert repository.add_trials(lease, new_trials(3)[2:]) == [trial_hash(2)]
    shared = repository.trials("second")[1]
    assert (shared.state, shared.val_dsc, shared.sweep) == (TrialState.FINISHED, 0.75, "first")
    assert repository.claim(lease, trial_hash(2)) is None


@pytest.mark.slow
def test_only_the_holder_adds_trials(repository: Repository) -> None:
    late = make_sweep(repository, 1)
    let_lease_run_out(repository.database, late.sweep_id)
    repository.acquire_lease("study", "another", 1000)
    with pytest.raises(LeaseLostError):
        repository.add_trials(late, new_trials(2))
    assert len(repository.trials("study")) == 1


def test_trials_of_a_loss_in_every_sweep_once_each(repository: Repository) -> None:
    make_sweep(repository, 2, "first")
    lease = make_sweep(repository, 3, "second")
    other = dataclasses.replace(new_trials(1, prefix="x")[0], dataset="drive")
    repository.add_trials(lease, [other])
    assert [t.hash for t in repository.trials_of_loss("nuclei", "focal")] == [trial_hash(i) for i in range(3)]
    assert repository.trials_of_loss("nuclei", "dice") == []


def test_a_grid_that_grew_without_new_trials_is_kept(repository: Repository) -> None:
    make_sweep(repository, 2)
    again = repository.create_sweep("study", grid={"search": {"trials": 9}}, trials=new_trials(2), details={"k": 1})
    assert again.grid == {"losses": ["focal"]}
    grown = repository.create_sweep(
        "study", grid={"search": {"trials": 9}}, trials=new_trials(2), details={"k": 1}, extend=True
    )
    assert (grown.grid, grown.details) == ({"search": {"trials": 9}}, {"k": 1})
