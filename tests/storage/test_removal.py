"""Renaming and deleting whole sweeps: what goes, what other sweeps keep, and who may; on SQLite and a real Postgres."""

from __future__ import annotations

import dataclasses
import signal
from multiprocessing.process import BaseProcess

import pytest
from children import die_while_deleting, start
from sqlalchemy import func, select
from storage_samples import new_trials, outcome, trial_hash

from storage.database import open_database
from storage.errors import LeaseHeldError, SweepConflictError, UnknownSweepError, UnknownTrialError
from storage.models import Base, LeaseRow
from storage.records import NewTrial
from storage.repository import Repository
from storage.studies import Studies
from trials.states import AttemptState, TrialState


def studied(sweep: str, count: int) -> list[NewTrial]:
    return [dataclasses.replace(trial, study=f"{sweep}/nuclei/focal") for trial in new_trials(count)]


def finish(repository: Repository, sweep: str, trials: int) -> None:
    lease = repository.acquire_lease(sweep, "me", 1000)
    for index in range(trials):
        attempt = repository.claim(lease, trial_hash(index))
        assert attempt is not None
        repository.finish(lease, attempt.id, outcome())
    repository.release_lease(lease)
    with Studies(repository.database) as studies:
        studies.record_finished(repository.trials(sweep))


def study_names(repository: Repository) -> list[str]:
    with Studies(repository.database) as studies:
        optuna_storage = studies.study("x/y/z")._storage  # which makes Optuna's tables where there are none
        return sorted({s.study_name for s in optuna_storage.get_all_studies()} - {"x/y/z"})


def test_a_sweep_of_another_name_is_the_same_sweep(repository: Repository) -> None:
    searches = {"a_b/nuclei/focal": {"points": 3}, "other": {}}
    made = repository.create_sweep(
        "a_b", grid={"name": "a_b", "repeats": 1}, trials=studied("a_b", 2), details={"search": searches}
    )
    repository.create_sweep("axb", grid={}, trials=studied("axb", 1))
    finish(repository, "a_b", 2)
    with Studies(repository.database) as studies:
        studies.values("axb/nuclei/focal")
    renamed = repository.rename_sweep("a_b", "new")
    assert renamed == dataclasses.replace(
        made,
        name="new",
        state=renamed.state,
        grid={"name": "new", "repeats": 1},
        details={"search": {"new/nuclei/focal": {"points": 3}, "other": {}}},
    )
    trials = repository.trials("new")
    assert [(t.state, t.study, t.sweep) for t in trials] == [(TrialState.FINISHED, "new/nuclei/focal", "new")] * 2
    assert study_names(repository) == ["axb/nuclei/focal", "new/nuclei/focal"]
    with Studies(repository.database) as studies:
        assert studies.record_finished(trials) == 0  # they are all there, under the new name
    with pytest.raises(UnknownSweepError):
        repository.sweep("a_b")


def test_a_name_that_another_sweep_has_is_refused(repository: Repository) -> None:
    for name in ("a", "b"):
        repository.create_sweep(name, grid={}, trials=new_trials(1))
    with pytest.raises(SweepConflictError, match="another sweep named 'b'"):
        repository.rename_sweep("a", "b")
    assert [sweep.name for sweep in repository.sweeps()] == ["a", "b"]


def test_who_runs_a_sweep_keeps_it(repository: Repository) -> None:
    repository.create_sweep("a", grid={}, trials=new_trials(1))
    lease = repository.acquire_lease("a", "somebody", 1000)
    for call in (lambda: repository.rename_sweep("a", "b"), lambda: repository.delete_sweep("a")):
        with pytest.raises(LeaseHeldError, match="'a' is run by somebody; stop it first: sweeper stop a"):
            call()
    repository.release_lease(lease)
    assert repository.delete_sweep("a").trials == (trial_hash(0),)


def test_a_deleted_sweep_leaves_nothing(repository: Repository) -> None:
    repository.create_sweep("gone", grid={}, trials=studied("gone", 3))
    finish(repository, "gone", 2)
    repository.add_request("gone", "stop", {})
    foreseen = repository.removal("gone")
    assert (len(foreseen.trials), foreseen.kept, foreseen.attempts, foreseen.epochs) == (3, 0, 2, 6)
    assert (foreseen.scores, foreseen.studies) == (2 * len(outcome().scores), ("gone/nuclei/focal",))
    assert repository.delete_sweep("gone") == foreseen
    counts = repository.database.read(
        lambda c: {
            t: c.execute(select(func.count()).select_from(t)).scalar_one() for t in Base.metadata.tables.values()
        }
    )
    assert not any(counts.values())
    assert study_names(repository) == []
    assert repository.create_sweep("gone", grid={}, trials=new_trials(1)).name == "gone"


def test_what_another_sweep_has_stays_with_its_result(repository: Repository) -> None:
    repository.create_sweep("gone", grid={}, trials=studied("gone", 3))
    finish(repository, "gone", 2)
    repository.create_sweep("stays", grid={}, trials=studied("stays", 1))
    with Studies(repository.database) as studies:
        studies.record_finished(repository.trials("stays"))
    (before,), scores = repository.trials("stays"), repository.score_columns("stays")
    done = repository.delete_sweep("gone")
    assert (done.trials, done.kept) == (tuple(sorted((trial_hash(1), trial_hash(2)))), 1)
    assert repository.trials("stays") == [dataclasses.replace(before, sweep="stays")]
    assert repository.score_columns("stays") == scores
    assert len(repository.attempts(trial_hash(0))) == 1
    assert study_names(repository) == ["stays/nuclei/focal"]
    with pytest.raises(UnknownTrialError):
        repository.trial(trial_hash(1))


def test_what_a_dead_coordinator_left_running_is_queued_for_the_other_sweep(repository: Repository) -> None:
    repository.create_sweep("gone", grid={}, trials=new_trials(1))
    repository.create_sweep("stays", grid={}, trials=new_trials(1))
    repository.claim(repository.acquire_lease("gone", "dead", 1000), trial_hash(0))
    repository.database.write(lambda c: c.execute(LeaseRow.__table__.update().values(expires_at=0.0)))
    repository.delete_sweep("gone")
    assert [t.state for t in repository.trials("stays")] == [TrialState.QUEUED]
    assert [a.state for a in repository.attempts(trial_hash(0))] == [AttemptState.LOST]


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_deletes_has_deleted_all_or_nothing(url: str) -> None:
    with open_database(url) as database:
        repository = Repository(database)
        repository.create_sweep("gone", grid={}, trials=studied("gone", 3))
        finish(repository, "gone", 2)
        repository.create_sweep("stays", grid={}, trials=studied("stays", 1))
        (kept,) = repository.trials("stays")
        before = contents(repository)
        for statement in (1, 2, 5, 9, 1000):  # the last: all are made, and the commit is not
            killed(start(die_while_deleting, url, "gone", statement))
            assert contents(repository) == before
        killed(start(die_while_deleting, url, "gone", 0))
        assert [sweep.name for sweep in repository.sweeps()] == ["stays"]
        assert repository.trials("stays") == [dataclasses.replace(kept, sweep="stays")]
        assert study_names(repository) == []


def killed(child: BaseProcess) -> None:
    child.join(60)
    assert child.exitcode == -signal.SIGKILL


def contents(repository: Repository) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    return repository.database.read(
        lambda c: {
            table.name: sorted((tuple(row) for row in c.execute(select(table))), key=repr)
            for table in Base.metadata.tables.values()
        }
    )
