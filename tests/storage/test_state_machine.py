"""Random calls of two sweeps that share their trials, against a model of a page: leases, claims, ends, retries.

Among them faults: coordinators that die or sleep past their lease, and connections that break before a commit, or after
it and before its answer.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError
from storage_samples import epoch, let_lease_run_out, new_trials, outcome

from storage.database import Database, open_database
from storage.errors import AttemptEndedError, LeaseHeldError, LeaseLostError, StorageError
from storage.records import Lease
from storage.repository import Repository
from trials.states import AttemptState, FailureKind, TrialState

TRIALS = 4
SWEEPS = ("first", "second")
ENDS = {
    AttemptState.FINISHED: TrialState.FINISHED,
    AttemptState.FAILED: TrialState.FAILED,
    AttemptState.LOST: TrialState.FAILED,
    AttemptState.PRUNED: TrialState.PRUNED,
    AttemptState.STOPPED: TrialState.STOPPED,
}


@dataclass
class ModelAttempt:
    id: int
    trial: str
    sweep: str
    fencing: int
    state: AttemptState = AttemptState.RUNNING
    steps: int = 0


@dataclass
class ModelSweep:
    holder: str = ""
    fencing: int = 0
    expired: bool = True


@dataclass
class Model:
    sweeps: dict[str, ModelSweep]
    states: dict[str, TrialState]
    attempts: list[ModelAttempt] = field(default_factory=list)
    trained: dict[tuple[str, int], ModelAttempt] = field(default_factory=dict)

    def running(self, trial: str) -> ModelAttempt | None:
        return next((a for a in self.attempts if a.trial == trial and a.state == AttemptState.RUNNING), None)

    def lose(self, attempt: ModelAttempt) -> None:
        attempt.state = AttemptState.LOST
        self.states[attempt.trial] = TrialState.QUEUED

    def claimable(self, trial: str, sweep: str) -> bool:
        if self.states[trial] == TrialState.QUEUED:
            return True
        attempt = self.running(trial)
        return attempt is not None and attempt.sweep != sweep and self.sweeps[attempt.sweep].expired


def make_unreliable(database: Database, faults: list[str]) -> None:
    """Each write takes a fault from `faults`, if there is one: its connection breaks `before` or `after` the commit."""

    def write(work: Callable[[Connection], Any]) -> Any:
        def once() -> Any:
            fault = faults.pop() if faults else ""
            broken = OperationalError("", {}, sqlite3.OperationalError("database is locked"))
            with database.engine.execution_options(**options).begin() as connection:
                result = work(connection)
                if fault == "before":
                    raise broken
            if fault == "after":
                raise broken
            return result

        return database.retried(once)

    options = {"begin": "BEGIN IMMEDIATE"} if database.dialect == "sqlite" else {}
    database.write = write  # type: ignore[method-assign, assignment]


def machine(database: Database, counted: list[int]) -> type[RuleBasedStateMachine]:
    """The state machine on `database`; `counted[0]` counts its steps."""
    faults: list[str] = []
    make_unreliable(database, faults)
    repository = Repository(database)
    examples = itertools.count()
    trials = st.integers(0, TRIALS - 1)
    sweeps = st.sampled_from(SWEEPS)

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.prefix = f"example {next(examples)} "
            given = new_trials(TRIALS, prefix=self.prefix)
            self.hashes = [trial.hash for trial in given]
            for sweep in SWEEPS:
                repository.create_sweep(self.prefix + sweep, grid={}, trials=given)
            self.model = Model({s: ModelSweep() for s in SWEEPS}, dict.fromkeys(self.hashes, TrialState.QUEUED))
            self.leases: list[tuple[str, Lease]] = []

        @rule(fault=st.sampled_from(["before", "after"]))
        def break_the_next_write(self, fault: str) -> None:
            counted[0] += 1
            faults[:] = [fault]

        # --- leases ---
        @initialize()
        def begin(self) -> None:
            self.acquire("first", "a")
            self.acquire("second", "b")

        @rule(sweep=sweeps, holder=st.sampled_from("abc"))
        def acquire(self, sweep: str, holder: str) -> None:
            counted[0] += 1
            model = self.model.sweeps[sweep]
            if not model.expired:
                with pytest.raises(LeaseHeldError):
                    repository.acquire_lease(self.prefix + sweep, holder, 1000)
                return
            lease = repository.acquire_lease(self.prefix + sweep, holder, 1000)
            model.holder, model.fencing, model.expired = holder, model.fencing + 1, False
            assert lease.fencing == model.fencing
            for attempt in self.model.attempts:
                if attempt.sweep == sweep and attempt.state == AttemptState.RUNNING:
                    self.model.lose(attempt)
            self.leases.append((sweep, lease))

        @rule(sweep=sweeps)
        def time_passes(self, sweep: str) -> None:
            counted[0] += 1
            let_lease_run_out(database, self.lease_of(sweep)[1].sweep_id)
            self.model.sweeps[sweep].expired = True

        @rule(data=st.data())
        def renew(self, data: st.DataObject) -> None:
            counted[0] += 1
            sweep, lease = self.some_lease(data)
            model = self.model.sweeps[sweep]
            if (model.holder, model.fencing) != (lease.holder, lease.fencing):
                with pytest.raises(LeaseLostError):
                    repository.renew_lease(lease, 1000)
                return
            repository.renew_lease(lease, 1000)
            model.expired = False

        @rule(data=st.data())
        def release(self, data: st.DataObject) -> None:
            counted[0] += 1
            sweep, lease = self.some_lease(data)
            repository.release_lease(lease)
            model = self.model.sweeps[sweep]
            if (model.holder, model.fencing) == (lease.holder, lease.fencing):
                model.holder, model.expired = "", True

        # --- claims ---
        @rule(data=st.data(), index=trials)
        def claim(self, data: st.DataObject, index: int) -> None:
            counted[0] += 1
            sweep, lease = self.some_lease(data)
            trial = self.hashes[index]
            if self.refused(sweep, lease):
                with pytest.raises(LeaseLostError):
                    repository.claim(lease, trial)
                return
            attempt = repository.claim(lease, trial)
            assert (attempt is not None) == self.model.claimable(trial, sweep)
            if attempt is not None:
                self.claimed(attempt.id, trial, sweep)

        # --- reports ---
        @precondition(lambda self: self.model.attempts)
        @rule(data=st.data(), number=st.integers(1, 3))
        def report_epoch(self, data: st.DataObject, number: int) -> None:
            counted[0] += 1
            sweep, lease, attempt = self.some_attempt(data)
            expected = self.expected_error(sweep, lease, attempt, AttemptState.RUNNING)
            if expected is not None:
                with pytest.raises(expected):
                    repository.record_epoch(lease, attempt.id, epoch(number))
                return
            repository.record_epoch(lease, attempt.id, epoch(number))
            self.model.trained[attempt.trial, number] = attempt
            attempt.steps = 10 * sum(a is attempt for a in self.model.trained.values())

        @precondition(lambda self: self.model.attempts)
        @rule(data=st.data(), state=st.sampled_from(list(ENDS)), requeue=st.booleans())
        def end(self, data: st.DataObject, state: AttemptState, requeue: bool) -> None:
            counted[0] += 1
            sweep, lease, attempt = self.some_attempt(data)

            def call() -> None:
                if state == AttemptState.FINISHED:
                    repository.finish(lease, attempt.id, outcome(3))
                elif state == AttemptState.PRUNED:
                    repository.prune(lease, attempt.id, "slow")
                elif state == AttemptState.STOPPED:
                    repository.stop_attempt(lease, attempt.id, requeue)
                else:
                    repository.fail(lease, attempt.id, FailureKind.BUG, "error", requeue=requeue, state=state)

            expected = self.expected_error(sweep, lease, attempt, state)
            if expected is not None:
                with pytest.raises(expected):
                    call()
                return
            call()
            if attempt.state == state:
                return
            attempt.state = state
            again = requeue and state not in (AttemptState.FINISHED, AttemptState.PRUNED)
            self.model.states[attempt.trial] = TrialState.QUEUED if again else ENDS[state]
            if state == AttemptState.FINISHED:
                attempt.steps = 30

        @rule(data=st.data(), index=trials)
        def retry(self, data: st.DataObject, index: int) -> None:
            counted[0] += 1
            sweep, lease = self.some_lease(data)
            trial = self.hashes[index]
            if self.refused(sweep, lease):
                with pytest.raises(LeaseLostError):
                    repository.retry(lease, [trial])
                return
            moves = self.model.states[trial] in (TrialState.FAILED, TrialState.PRUNED, TrialState.STOPPED)
            assert repository.retry(lease, [trial]) == ([trial] if moves else [])
            if moves:
                self.model.states[trial] = TrialState.QUEUED

        # --- what must hold after every step ---
        @invariant()
        def the_database_agrees(self) -> None:
            for sweep in SWEEPS:
                stored = repository.trials(self.prefix + sweep)
                assert {t.hash: t.state for t in stored} == self.model.states
                model = self.model.sweeps[sweep]
                lease = repository.lease(self.prefix + sweep)
                assert (lease and (lease.holder, lease.fencing)) == (
                    (model.holder, model.fencing) if model.holder else None
                )
            attempts = repository.attempts_of_sweep(self.prefix + "first")
            assert [(a.id, a.trial, a.state, a.steps) for a in attempts] == [
                (a.id, a.trial, a.state, a.steps) for a in self.model.attempts
            ]
            for trial in self.hashes:
                numbers = [a.number for a in attempts if a.trial == trial]
                assert numbers == list(range(1, len(numbers) + 1))
                running = [a for a in attempts if a.trial == trial and a.state == AttemptState.RUNNING]
                assert len(running) == (self.model.states[trial] == TrialState.RUNNING)
            finished = sum(state == TrialState.FINISHED for state in self.model.states.values())
            assert len(repository.score_columns(self.prefix + "first")["trial"]) == 8 * finished

        # --- helpers ---
        def lease_of(self, sweep: str) -> tuple[str, Lease]:
            return next(pair for pair in reversed(self.leases) if pair[0] == sweep)

        def some_lease(self, data: st.DataObject) -> tuple[str, Lease]:
            """Mostly a current lease, sometimes one that was lost long ago."""
            current = st.sampled_from(SWEEPS).map(self.lease_of)
            return data.draw(current | current | current | st.sampled_from(self.leases))

        def some_attempt(self, data: st.DataObject) -> tuple[str, Lease, ModelAttempt]:
            """Mostly an attempt with its own sweep's lease, sometimes a strange pair."""
            attempt = data.draw(st.sampled_from(self.model.attempts))
            if data.draw(st.integers(0, 3)):
                return *self.lease_of(attempt.sweep), attempt
            return *self.some_lease(data), attempt

        def refused(self, sweep: str, lease: Lease) -> bool:
            model = self.model.sweeps[sweep]
            return model.expired or (model.holder, model.fencing) != (lease.holder, lease.fencing)

        def expected_error(
            self, sweep: str, lease: Lease, attempt: ModelAttempt, state: AttemptState
        ) -> type[StorageError] | None:
            if self.refused(sweep, lease):
                return LeaseLostError
            if attempt.sweep != sweep or attempt.state not in (AttemptState.RUNNING, state):
                return AttemptEndedError
            return None

        def claimed(self, attempt_id: int, trial: str, sweep: str) -> None:
            orphan = self.model.running(trial)
            if orphan is not None:
                self.model.lose(orphan)
            self.model.states[trial] = TrialState.RUNNING
            self.model.attempts.append(ModelAttempt(attempt_id, trial, sweep, self.model.sweeps[sweep].fencing))

    return Machine


def check(database: Database, examples: int, steps: int) -> int:
    counted = [0]
    run_state_machine_as_test(
        machine(database, counted),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        ),
    )
    return counted[0]


def test_the_database_does_what_the_model_does(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path / 'sweeper.db'}") as database:
        assert check(database, examples=4, steps=30) >= 60


@pytest.mark.slow
def test_the_database_does_what_the_model_does_for_thousands_of_steps(database: Database) -> None:
    assert check(database, examples=25, steps=50) >= 1000
