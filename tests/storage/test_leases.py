"""The lease: held, taken over, renewed, given back; on SQLite and on a real Postgres."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
import threading

import pytest
from storage_samples import epoch, let_lease_run_out, make_sweep, new_trials, outcome, trial_hash

from storage.errors import LeaseHeldError, LeaseLostError
from storage.processes import this_process
from storage.records import Lease
from storage.repository import Repository
from trials.states import AttemptState, FailureKind, SweepState, TrialState


def test_held_names_holder_and_end(repository: Repository) -> None:
    lease = make_sweep(repository)
    with pytest.raises(LeaseHeldError, match=r"held by 'holder of study' until \d{4}-.* UTC \(for another") as held:
        repository.acquire_lease("study", "second", 10)
    assert (held.value.holder, held.value.expires_at) == (lease.holder, lease.expires_at)
    assert repository.lease("study") == lease


def test_a_lease_from_before_the_clock_was_set_back_is_held_by_nobody(repository: Repository) -> None:
    lease = make_sweep(repository, seconds=100)
    let_lease_run_out(repository.database, lease.sweep_id, seconds=-3600)
    seen = repository.lease("study")
    assert seen is not None
    assert seen.expires_at <= repository.database.now()
    assert repository.acquire_lease("study", "second", 10).fencing == lease.fencing + 1
    with pytest.raises(LeaseLostError):
        repository.set_sweep_state(lease, SweepState.STOPPED)


def test_a_living_holder_keeps_it_when_the_clock_is_set_back(repository: Repository) -> None:
    lease = make_sweep(repository, seconds=100, process=this_process())
    let_lease_run_out(repository.database, lease.sweep_id, seconds=-3600)
    with pytest.raises(LeaseHeldError) as held:
        repository.acquire_lease("study", "second", 10)
    assert held.value.expires_at <= repository.database.now() + 100


def test_a_process_that_has_ended_on_this_machine_holds_nothing(repository: Repository) -> None:
    show = "from storage.processes import this_process; print(this_process())"
    ended = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout.strip()
    lease = make_sweep(repository, process=ended)
    repository.claim(lease, trial_hash(0))
    # Another sweep that shares the trial need not wait either.
    repository.create_sweep("other", grid={}, trials=new_trials(1))
    assert repository.claim(repository.acquire_lease("other", "h", 100), trial_hash(0)) is not None
    assert repository.acquire_lease("study", "second", 10).fencing == lease.fencing + 1


@pytest.mark.parametrize("elsewhere", ["another-machine/4026531836 1 1", "", "not a name"])
def test_of_a_process_elsewhere_only_the_end_of_its_lease_tells(repository: Repository, elsewhere: str) -> None:
    make_sweep(repository, process=elsewhere)
    with pytest.raises(LeaseHeldError):
        repository.acquire_lease("study", "second", 10)


def test_taking_it_makes_the_sweep_running_unless_it_is_only_to_write(repository: Repository) -> None:
    lease = make_sweep(repository)
    for running, state, reason in ((False, SweepState.BROKEN, "why"), (True, SweepState.RUNNING, "")):
        repository.set_sweep_state(lease, SweepState.BROKEN, "why")
        ended = repository.sweep("study").finished_at
        repository.release_lease(lease)
        lease = repository.acquire_lease("study", "second", 1000, running=running)
        sweep = repository.sweep("study")
        assert (sweep.state, sweep.reason, sweep.finished_at) == (state, reason, None if running else ended)


def test_even_its_own_holder_cannot_take_it_twice(repository: Repository) -> None:
    lease = make_sweep(repository)
    with pytest.raises(LeaseHeldError):
        repository.acquire_lease("study", lease.holder, 10)


def test_runs_out_by_the_clock_of_the_database(repository: Repository) -> None:
    before = repository.database.now()
    lease = make_sweep(repository, seconds=0.05)
    assert before + 0.05 <= lease.expires_at <= repository.database.now() + 0.05
    while repository.database.now() <= lease.expires_at:
        pass
    with pytest.raises(LeaseLostError, match=r"ran out \d"):
        repository.set_sweep_state(lease, SweepState.STOPPED)
    assert repository.sweep("study").state == SweepState.RUNNING
    taken = repository.acquire_lease("study", "second", 10)
    assert taken.fencing == lease.fencing + 1


@pytest.mark.parametrize("holder", ["second", "holder of study"])
def test_take_over_requeues_and_the_old_holder_writes_nothing(repository: Repository, holder: str) -> None:
    """Also where both have one name: a process number comes again, and one process may take a lease twice."""
    old = make_sweep(repository)
    attempt = repository.claim(old, trial_hash(0))
    assert attempt is not None
    repository.record_epoch(old, attempt.id, epoch(1))
    let_lease_run_out(repository.database, old.sweep_id)
    new = repository.acquire_lease("study", holder, 1000)
    lost = repository.attempts(trial_hash(0))[0]
    assert (lost.state, lost.kind) == (AttemptState.LOST, FailureKind.LOST)
    assert "holder of study" in (lost.error or "")
    assert repository.trials("study")[0].state == TrialState.QUEUED
    for write in (
        lambda: repository.renew_lease(old, 10),
        lambda: repository.claim(old, trial_hash(1)),
        lambda: repository.record_epoch(old, attempt.id, epoch(2)),
        lambda: repository.annotate_attempt(old, attempt.id, pid=1),
        lambda: repository.finish(old, attempt.id, outcome()),
        lambda: repository.fail(old, attempt.id, FailureKind.BUG, "x", requeue=False),
        lambda: repository.prune(old, attempt.id),
        lambda: repository.stop_attempt(old, attempt.id, False),
        lambda: repository.retry(old, [trial_hash(1)]),
        lambda: repository.set_sweep_state(old, SweepState.STOPPED),
        lambda: repository.set_mlflow_run(old, "x"),
        lambda: repository.set_mlflow_run(old, "x", trial=trial_hash(1)),
        lambda: repository.complete_request(old, 1, "x"),
    ):
        with pytest.raises(LeaseLostError, match=rf"now held by '{holder}' \(lease 2\)"):
            write()
    repository.release_lease(old)
    assert repository.lease("study") == new
    again = repository.claim(new, trial_hash(0))
    assert again is not None
    assert again.number == 2


def test_renewed_after_it_ran_out_while_nobody_took_over(repository: Repository) -> None:
    lease = make_sweep(repository)
    attempt = repository.claim(lease, trial_hash(0))
    assert attempt is not None
    let_lease_run_out(repository.database, lease.sweep_id)
    renewed = repository.renew_lease(lease, 1000)
    assert renewed.fencing == lease.fencing
    repository.finish(renewed, attempt.id, outcome())


def test_released_is_free_at_once(repository: Repository) -> None:
    lease = make_sweep(repository)
    repository.release_lease(lease)
    assert repository.lease("study") is None
    with pytest.raises(LeaseLostError, match="held by nobody"):
        repository.set_sweep_state(lease, SweepState.STOPPED)
    assert repository.acquire_lease("study", "second", 10).fencing == 2


@pytest.mark.parametrize(("holder", "seconds"), [("", 5.0), ("me", 0.0), ("me", -1.0), ("me", math.nan)])
def test_senseless_lease(repository: Repository, holder: str, seconds: float) -> None:
    make_sweep(repository, name="x")
    with pytest.raises(ValueError, match="needs a holder and more than 0 seconds"):
        repository.acquire_lease("x", holder, seconds)


def test_only_one_of_many_gets_it(repository: Repository) -> None:
    repository.create_sweep("study", grid={}, trials=new_trials(1))
    won: list[Lease] = []

    def take(number: int) -> None:
        with contextlib.suppress(LeaseHeldError):
            won.append(repository.acquire_lease("study", f"h{number}", 100))

    threads = [threading.Thread(target=take, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [lease.fencing for lease in won] == [1]
