"""The coordinator on a real SQLite database: the order of trials, retries, the circuit breaker, requests, the lease."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from storage.database import Database, open_database
from storage.errors import DatabaseFullError, LeaseLostError
from storage.records import NewTrial, Trial
from storage.repository import Repository
from storage.studies import Studies
from sweeper.grids.names import Naming
from sweeper.run.coordinator import Coordinator, Running, Work
from sweeper.run.lease import LeaseKeeper
from sweeper.server.recovery import abandoned
from tests.results import scored
from tests.storage.storage_samples import let_lease_run_out
from trials.messages import EpochEnded, Failed, Finished, Interrupted, Order, Report, Started, Worker
from trials.results import Epoch, TrialResult
from trials.spec import DataSpec, LossSpec, TrialSpec
from trials.states import FailureKind, SweepState, TrialState

COSTS = {"a" * 16: 5.0, "b" * 16: 9.0, "c" * 16: 7.0}
A, B, C = COSTS
NAME_OF_B = "nuclei · unified_focal_asym · γ=0.2"


@dataclass
class Notes:
    """An observer that keeps what it is told."""

    lines: list[str] = field(default_factory=list)
    states: list[dict[str, str]] = field(default_factory=list)

    def changed(self, trials: Sequence[Trial], running: Mapping[str, Running]) -> None:
        self.states.append({t.hash: t.state.value for t in trials})

    def say(self, line: str) -> None:
        self.lines.append(line)


def new_trial(trial_hash: str, cost: float, gamma: float = 0.5) -> NewTrial:
    loss = LossSpec("unified_focal_asym", {"gamma": gamma})
    spec = TrialSpec(DataSpec("nuclei", ("background", "nucleus"), 2), loss)
    return NewTrial(
        hash=trial_hash,
        spec=spec,
        label=Naming().label(spec),
        dataset="nuclei",
        loss="unified_focal_asym",
        gamma=gamma,
        repeat=0,
        seed=0,
        results_version=1,
        study="s/nuclei/unified_focal_asym",
        cost=cost,
    )


def finished(trial_hash: str, dsc: float = 0.9) -> Report:
    scores = tuple(
        scored(partition, f"{partition}-{i}", "nucleus", dsc, dsc, dsc, dsc)
        for partition in ("validation", "test")
        for i in range(3)
    )
    epoch = Epoch(1, 0.5, 0.4, dsc, 0.1, 10, 1.0)
    result = TrialResult(trial_hash, scores, (epoch,), 1, False, 0, 10, 100, 1.0, 0.1, 500.0, {"device": "CPU"})
    return Report(Finished(result), mlflow_run="run-1")


def epoch_ended(epoch: int, val_dsc: float = 0.5) -> Report:
    return Report(EpochEnded(Epoch(epoch, 0.5, 0.4, val_dsc, 0.1, 5, 0.1)))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path / 'test.db'}") as database:
        yield database


class Bench:
    """A sweep of three trials and a coordinator on it."""

    def __init__(self, database: Database, tmp_path: Path, **options: Any) -> None:
        self.repository = Repository(database)
        self.studies = Studies(database)
        trials = [new_trial(h, cost, 0.1 + i / 10) for i, (h, cost) in enumerate(COSTS.items())]
        self.sweep = self.repository.create_sweep("s", grid={}, trials=trials)
        self.notes = Notes()
        self.keeper = LeaseKeeper(self.repository, "s", 30.0).__enter__()
        self.coordinator = Coordinator(
            self.repository,
            self.sweep,
            self.keeper,
            studies=self.studies,
            work=Work(tmp_path, tmp_path),
            observer=self.notes,
            **options,
        )

    def fall_asleep(self) -> None:
        """As if the process were paused: nobody renews the lease until it has run out."""
        self.keeper.stop_renewing()
        let_lease_run_out(self.repository.database, self.sweep.id)

    def state(self, trial_hash: str) -> TrialState:
        return self.repository.trial(trial_hash, "s").state

    def fill_the_disk(self) -> None:
        """As if the disk of the database had no byte left."""
        engine = self.repository.database.engine

        def full(connection: Any, cursor: Any, statement: str, *rest: object) -> None:
            if statement.startswith(("INSERT", "UPDATE")):
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorname = "SQLITE_FULL"
                raise OperationalError(statement, None, error)

        event.listen(engine, "before_cursor_execute", full)
        self.make_room = lambda: event.remove(engine, "before_cursor_execute", full)


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(database, tmp_path)
    yield made
    made.keeper.__exit__(None, None, None)


def claim(coordinator: Coordinator) -> str:
    running = coordinator.next()
    assert running is not None
    return running.trial.hash


def test_the_sweep_is_running_from_the_start(bench: Bench) -> None:
    assert bench.repository.sweep("s").state is SweepState.RUNNING


def test_a_stopped_sweep_that_is_resumed_is_running(bench: Bench, database: Database, tmp_path: Path) -> None:
    assert bench.coordinator.close() is SweepState.STOPPED
    bench.keeper.__exit__(None, None, None)
    again = Bench(database, tmp_path)
    assert again.repository.sweep("s").state is SweepState.RUNNING
    again.keeper.__exit__(None, None, None)


def test_longest_first(bench: Bench) -> None:
    assert [claim(bench.coordinator) for _ in range(3)] == [B, C, A]
    assert bench.coordinator.next() is None
    assert not bench.coordinator.done()


def test_a_sweep_ends_in_time(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.run.coordinator.POLL_SECONDS", 0.0)
    clock = [1000.0]
    bench = Bench(database, tmp_path, until=1500.0, clock=lambda: clock[0])
    trial = claim(bench.coordinator)
    epoch = Epoch(1, 0.5, 0.5, 0.5, 0.01, 10, 100.0)
    bench.coordinator.handle(trial, Report(EpochEnded(epoch)))
    clock[0] = 1399.0
    bench.coordinator.poll()
    assert not bench.coordinator.stopping
    clock[0] = 1400.0  # the next epoch would end as the time does
    bench.coordinator.poll()
    assert bench.coordinator.stopping
    assert bench.coordinator.next() is None
    assert bench.coordinator.close() is SweepState.STOPPED
    assert bench.repository.sweep("s").reason == "its time is over"
    assert bench.state(trial) is TrialState.QUEUED, "it resumes from its checkpoint"
    bench.keeper.__exit__(None, None, None)


def test_a_finished_trial_is_written_whole(bench: Bench) -> None:
    trial = claim(bench.coordinator)
    bench.coordinator.handle(trial, Report(Started(), worker=Worker(7, "here", "CPU")))
    bench.coordinator.handle(trial, finished(trial))
    stored = bench.repository.trial(trial, "s")
    assert (stored.state, stored.val_dsc, stored.test_dsc) == (TrialState.FINISHED, 0.9, 0.9)
    assert stored.mlflow_run == "run-1"
    assert len(bench.repository.score_columns("s")["dsc"]) == 6
    bench.coordinator.close()  # the study is written in the background, and whole at the end
    assert bench.studies.values("s/nuclei/unified_focal_asym") == {trial: (stored.gamma, 0.9)}


def test_the_sweep_ends_finished(bench: Bench) -> None:
    while (running := bench.coordinator.next()) is not None:
        bench.coordinator.handle(running.trial.hash, finished(running.trial.hash))
    assert bench.coordinator.done()
    assert bench.coordinator.close() is SweepState.FINISHED
    assert bench.repository.sweep("s").state is SweepState.FINISHED


@pytest.mark.parametrize(
    ("kind", "retries"),
    [(FailureKind.LOST, 3), (FailureKind.OUT_OF_MEMORY, 2), (FailureKind.BUG, 1), (FailureKind.BAD_DATA, 0)],
)
def test_retries_by_kind(bench: Bench, kind: FailureKind, retries: int) -> None:
    trial, *_ = (claim(bench.coordinator) for _ in COSTS)  # nothing else is left to be claimed
    for attempt in range(retries + 1):
        bench.coordinator.handle(trial, Report(Failed(kind, "why", "last words")))
        expected = TrialState.QUEUED if attempt < retries else TrialState.FAILED
        assert bench.state(trial) is expected
        if expected is TrialState.QUEUED:
            assert claim(bench.coordinator) == trial
    attempts = bench.repository.attempts(trial)
    assert len(attempts) == retries + 1
    assert {a.stderr_tail for a in attempts} == {"last words"}


def test_a_resumed_sweep_has_its_retries_anew(database: Database, tmp_path: Path) -> None:
    for _ in range(3):  # coordinators that were killed cost a trial nothing
        bench = Bench(database, tmp_path)
        trial = claim(bench.coordinator)
        for _ in range(3):
            bench.coordinator.lost(trial, "the actor died")
            bench.coordinator._queue.sort(key=lambda h: h != trial)
            assert claim(bench.coordinator) == trial
        bench.keeper.__exit__(None, None, None)
    assert len(bench.repository.attempts(trial)) == 12


def test_the_mlflow_run_of_a_running_and_of_a_failed_trial_is_known(bench: Bench) -> None:
    trial = claim(bench.coordinator)
    bench.coordinator.handle(trial, epoch_ended(1))
    assert bench.repository.trial(trial).mlflow_run is None
    bench.coordinator.handle(trial, replace(epoch_ended(2), mlflow_run="abc"))
    assert bench.repository.trial(trial).mlflow_run == "abc"
    bench.coordinator.handle(trial, Report(Failed(FailureKind.BAD_DATA, "torn"), mlflow_run="abc"))
    assert bench.repository.trial(trial).mlflow_run == "abc"


def test_a_trial_says_from_which_epoch_it_goes_on(bench: Bench) -> None:
    def started(resumed_from: int, *remarks: str) -> str:
        trial = claim(bench.coordinator)
        bench.coordinator.handle(trial, Report(Started(resumed_from, remarks), worker=Worker(7, "here", "CPU")))
        said = " | ".join(bench.notes.lines)
        bench.coordinator.handle(trial, Report(Interrupted(Order.STOP, resumed_from)))
        bench.coordinator._queue.insert(0, trial)
        assert bench.notes.lines[-1] == (
            f"{NAME_OF_B}: ended after epoch {resumed_from}, since another process has its folder"
        )
        bench.notes.lines.clear()
        return said

    assert started(0) == ""
    assert started(0) == f"{NAME_OF_B}: starts from its first epoch, since no earlier attempt left a checkpoint"
    assert started(3) == f"{NAME_OF_B}: resumes after epoch 3"
    assert started(0, "it is damaged") == f"{NAME_OF_B}: starts from its first epoch | {NAME_OF_B}: it is damaged"


def test_a_full_disk_stops_the_sweep_and_costs_no_trial(bench: Bench) -> None:
    trials = [claim(bench.coordinator), claim(bench.coordinator)]
    full = Failed(FailureKind.DISK_FULL, "OSError: [Errno 28] No space left on device")
    bench.coordinator.handle(trials[0], Report(full))
    bench.coordinator.handle(trials[1], finished(trials[1]))
    assert bench.coordinator.next() is None
    assert bench.coordinator.close() is SweepState.BROKEN
    assert bench.repository.sweep("s").reason == "disk full: OSError: [Errno 28] No space left on device"
    assert [bench.state(t) for t in trials] == [TrialState.QUEUED, TrialState.FINISHED]
    assert "then: sweeper resume s" in bench.notes.lines[1]


def test_a_diverged_loss_is_a_result(bench: Bench) -> None:
    trial = claim(bench.coordinator)
    bench.coordinator.handle(trial, Report(Failed(FailureKind.DIVERGED, "nan in epoch 3")))
    stored = bench.repository.trial(trial, "s")
    assert (stored.state, stored.failure) == (TrialState.FAILED, FailureKind.DIVERGED)
    assert "see: sweeper show" in bench.notes.lines[-1]


def test_a_dead_actor_is_a_lost_attempt(bench: Bench) -> None:
    trial = claim(bench.coordinator)
    bench.coordinator.lost(trial, "the actor died")
    assert bench.state(trial) is TrialState.QUEUED
    assert bench.repository.attempts(trial)[0].kind is FailureKind.LOST


def test_the_circuit_breaker(database: Database, tmp_path: Path) -> None:
    repository = Repository(database)
    repository.create_sweep("s", grid={}, trials=[new_trial(f"{i:016x}", 1.0) for i in range(9)])
    coordinator = Coordinator(
        repository,
        repository.sweep("s"),
        LeaseKeeper(repository, "s", 30.0).__enter__(),
        studies=Studies(database),
        work=Work(tmp_path, tmp_path),
        observer=Notes(),
    )
    started = 0
    while (running := coordinator.next()) is not None:
        started += 1
        coordinator.handle(running.trial.hash, Report(Failed(FailureKind.BAD_DATA, "torn file")))
    assert started == 5
    assert coordinator.close() is SweepState.BROKEN
    assert "torn file" in repository.sweep("s").reason
    assert repository.counts("s")[TrialState.QUEUED] == 4


def test_a_limit_leaves_the_rest_queued(database: Database, tmp_path: Path) -> None:
    bench = Bench(database, tmp_path, limit=1)
    trial = claim(bench.coordinator)
    assert bench.coordinator.next() is None
    bench.coordinator.handle(trial, finished(trial))
    assert bench.coordinator.done()
    assert bench.coordinator.close() is SweepState.STOPPED


def test_stop_by_request_drains(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.run.coordinator.POLL_SECONDS", 0.0)
    trial = claim(bench.coordinator)
    request = bench.repository.add_request("s", "stop", {"now": False})
    assert bench.coordinator.next() is None
    assert bench.coordinator.draining
    assert not bench.coordinator.stopping
    bench.coordinator.handle(trial, finished(trial))
    assert bench.coordinator.close() is SweepState.STOPPED
    assert [r.id for r in bench.repository.requests("s") if r.done_at is not None] == [request.id]


@pytest.mark.parametrize(("verb", "arguments"), [("stop", {"now": True}), ("scale", {"concurrency": 1})])
def test_what_an_earlier_coordinator_was_asked_is_not_obeyed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, arguments: dict[str, Any]
) -> None:
    """It was killed before it could; whoever resumes the sweep wants it to run."""
    monkeypatch.setattr("sweeper.run.coordinator.POLL_SECONDS", 0.0)
    first = Bench(database, tmp_path)
    first.repository.add_request("s", verb, arguments)
    first.keeper.__exit__(None, None, None)
    again = Bench(database, tmp_path)
    claim(again.coordinator)
    assert (again.coordinator.draining, again.coordinator.concurrency) == (False, None)
    (request,) = again.repository.requests("s")
    assert request.outcome == "meant for an earlier coordinator, ignored"
    again.keeper.__exit__(None, None, None)


def test_retry_by_request_queues_a_failed_trial(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.run.coordinator.POLL_SECONDS", 0.0)
    trial = claim(bench.coordinator)
    bench.coordinator.handle(trial, Report(Failed(FailureKind.BAD_DATA, "why")))
    bench.repository.add_request("s", "retry", {"trials": [trial]})
    bench.coordinator.poll()
    assert bench.state(trial) is TrialState.QUEUED


def test_scale_by_request(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.run.coordinator.POLL_SECONDS", 0.0)
    bench.repository.add_request("s", "scale", {"concurrency": 3})
    bench.coordinator.poll()
    assert bench.coordinator.concurrency == 3


def test_an_interrupted_trial_is_queued_again(bench: Bench) -> None:
    trial = claim(bench.coordinator)
    bench.coordinator.handle(trial, Report(Interrupted(Order.STOP, 2)))
    assert bench.state(trial) is TrialState.QUEUED


def test_closing_gives_back_what_runs(bench: Bench) -> None:
    trial = claim(bench.coordinator)
    assert bench.coordinator.close() is SweepState.STOPPED
    assert bench.state(trial) is TrialState.QUEUED


def test_a_sweep_that_an_error_broke_off_is_abandoned_not_stopped(bench: Bench) -> None:
    trial = claim(bench.coordinator)
    assert bench.coordinator.close(failed=True) is SweepState.RUNNING
    assert (bench.repository.sweep("s").state, bench.state(trial)) == (SweepState.RUNNING, TrialState.QUEUED)
    bench.keeper.__exit__(None, None, None)
    assert abandoned(bench.repository) == ["s"]


def test_a_sweep_that_was_to_stop_when_an_error_broke_it_off_is_stopped(bench: Bench) -> None:
    claim(bench.coordinator)
    bench.coordinator.stop_now("stopped by request")
    assert bench.coordinator.close(failed=True) is SweepState.STOPPED


def test_a_sweep_that_is_handed_over_is_abandoned_not_stopped(bench: Bench) -> None:
    trial = claim(bench.coordinator)
    bench.coordinator.hand_over("this machine ends")
    assert bench.coordinator.next() is None
    assert bench.coordinator.close() is SweepState.RUNNING
    assert bench.state(trial) is TrialState.QUEUED
    bench.keeper.__exit__(None, None, None)
    assert abandoned(bench.repository) == ["s"]


def test_a_coordinator_that_lost_its_lease_writes_nothing(database: Database, tmp_path: Path) -> None:
    bench = Bench(database, tmp_path)
    trial = claim(bench.coordinator)
    bench.fall_asleep()
    bench.repository.acquire_lease("s", "another", 30)
    with pytest.raises(LeaseLostError):
        bench.coordinator.handle(trial, finished(trial))
    assert bench.state(trial) is TrialState.QUEUED
    assert bench.repository.score_columns("s")["dsc"] == []


def test_a_lease_that_ran_out_unnoticed_is_renewed(database: Database, tmp_path: Path) -> None:
    bench = Bench(database, tmp_path)
    trial = claim(bench.coordinator)
    bench.fall_asleep()
    bench.coordinator.handle(trial, finished(trial))
    assert bench.state(trial) is TrialState.FINISHED


def test_missing_study_entries_are_caught_up(bench: Bench) -> None:
    trial = claim(bench.coordinator)
    running = bench.coordinator.running[trial]
    event = finished(trial).event
    assert isinstance(event, Finished)
    bench.repository.finish(bench.keeper.lease, running.attempt.id, event.result)  # killed before the study was written
    bench.coordinator.running.clear()
    bench.coordinator.refresh()
    for _ in range(2):
        bench.studies.record_finished(bench.coordinator.trials)
    assert list(bench.studies.values("s/nuclei/unified_focal_asym")) == [trial]


def test_a_full_database_breaks_the_sweep_off_and_costs_no_trial(bench: Bench) -> None:
    running = bench.coordinator.next()
    assert running is not None
    bench.fill_the_disk()
    with pytest.raises(DatabaseFullError) as full:
        bench.coordinator.handle(running.trial.hash, finished(running.trial.hash))
    bench.make_room()
    # What Tune makes of the error is not written down: it would be a failure that never was.
    with pytest.raises(DatabaseFullError):
        bench.coordinator.lost(running.trial.hash, "Tune met an error")
    with pytest.raises(DatabaseFullError):
        bench.coordinator.poll()
    bench.coordinator.halt(full.value)
    assert bench.coordinator.close() is SweepState.BROKEN
    assert bench.repository.sweep("s").reason.startswith("disk full: ")
    assert {bench.state(trial) for trial in COSTS} == {TrialState.QUEUED}
    assert "make room on its disk (sweeper gc); then: sweeper resume s" in bench.notes.lines[-1]
