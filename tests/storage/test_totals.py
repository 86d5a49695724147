"""Sums for monitoring, on both databases."""

from __future__ import annotations

from storage_samples import make_sweep, new_trials, outcome

from storage.repository import Repository
from storage.totals import read_totals
from trials.states import AttemptState, FailureKind, SweepState, TrialState

BOUNDS = (1.0, 100.0)


def test_an_empty_database_has_a_zero_for_everything(repository: Repository) -> None:
    totals = read_totals(repository.database, BOUNDS, most_sweeps=10)
    assert totals.sweeps == dict.fromkeys(SweepState, 0)
    assert totals.attempts == dict.fromkeys(AttemptState, 0)
    assert totals.failures == dict.fromkeys(FailureKind, 0)
    assert (totals.open, totals.trial_seconds, totals.trials_timed, totals.trial_seconds_sum) == ((), (0, 0), 0, 0.0)


def test_sums_are_those_of_the_rows(repository: Repository) -> None:
    lease = make_sweep(repository, 4, "one")
    hashes = [t.hash for t in repository.trials("one")]
    result = outcome()

    def claimed(position: int) -> int:
        attempt = repository.claim(lease, hashes[position], host="h")
        assert attempt is not None
        return attempt.id

    repository.finish(lease, claimed(0), result)
    repository.fail(lease, claimed(1), FailureKind.OUT_OF_MEMORY, "no memory", requeue=True)
    claimed(2)
    repository.create_sweep("two", grid={}, trials=new_trials(2, prefix="two"))
    totals = read_totals(repository.database, BOUNDS, most_sweeps=10)
    assert (totals.sweeps[SweepState.RUNNING], totals.sweeps[SweepState.QUEUED]) == (1, 1)
    assert totals.attempts[AttemptState.RUNNING] == totals.attempts[AttemptState.FINISHED] == 1
    assert totals.failures == {kind: int(kind is FailureKind.OUT_OF_MEMORY) for kind in FailureKind}
    seconds = result.train_seconds + result.evaluate_seconds
    assert (totals.trials_timed, totals.trial_seconds_sum) == (1, seconds)
    assert totals.trial_seconds == tuple(int(seconds <= bound) for bound in BOUNDS)
    newest, oldest = totals.open
    assert (newest.name, newest.trials[TrialState.QUEUED], newest.lease_seconds) == ("two", 2, None)
    assert (oldest.name, oldest.trials) == ("one", repository.counts("one"))
    assert oldest.lease_seconds is not None
    assert 0 < oldest.lease_seconds <= 1000


def test_at_most_so_many_sweeps_are_told_and_ended_ones_are_not(repository: Repository) -> None:
    lease = make_sweep(repository, 1, "ended")
    repository.set_sweep_state(lease, SweepState.STOPPED)
    repository.release_lease(lease)
    for number in range(5):
        repository.create_sweep(f"s{number}", grid={}, trials=[])
    totals = read_totals(repository.database, BOUNDS, most_sweeps=3)
    assert [sweep.name for sweep in totals.open] == ["s4", "s3", "s2"]
    assert totals.sweeps[SweepState.QUEUED] == 5
