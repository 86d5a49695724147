"""Attempts: claimed once, their epochs, their ends; on SQLite and on a real Postgres."""

from __future__ import annotations

import dataclasses
import math

import pytest
from storage_samples import epoch, let_lease_run_out, make_sweep, new_trials, outcome, trial_hash

from storage.errors import AttemptEndedError, UnknownSweepError, UnknownTrialError
from storage.repository import Repository
from trials.results import Epoch
from trials.states import AttemptState, FailureKind, TrialState


def test_claim_is_exclusive_and_counts(repository: Repository) -> None:
    lease = make_sweep(repository)
    attempt = repository.claim(lease, trial_hash(1), host="gpu-1", device="cuda:0")
    assert attempt is not None
    assert (attempt.number, attempt.host, attempt.device) == (1, "gpu-1", "cuda:0")
    assert attempt.state == AttemptState.RUNNING
    assert repository.claim(lease, trial_hash(1)) is None
    trial = repository.trials("study")[1]
    assert (trial.state, trial.attempts, trial.sweep) == (TrialState.RUNNING, 1, "study")
    assert repository.attempts(trial.hash) == [attempt] == repository.attempts_of_sweep("study")


def test_claim_of_a_stranger_is_refused(repository: Repository) -> None:
    lease = make_sweep(repository)
    repository.create_sweep("other", grid={}, trials=new_trials(1, prefix="other"))
    with pytest.raises(UnknownTrialError):
        repository.claim(lease, trial_hash("other0"))


def test_a_trial_that_another_live_sweep_runs_is_not_to_be_had(repository: Repository) -> None:
    first, second = make_sweep(repository, 1, "first"), make_sweep(repository, 1, "second")
    assert repository.claim(first, trial_hash(0)) is not None
    assert repository.claim(second, trial_hash(0)) is None


def test_a_trial_of_a_dead_sweep_is_taken_over_once(repository: Repository) -> None:
    first, second = make_sweep(repository, 1, "first"), make_sweep(repository, 1, "second")
    dead = repository.claim(first, trial_hash(0))
    assert dead is not None
    let_lease_run_out(repository.database, first.sweep_id)
    alive = repository.claim(second, trial_hash(0))
    assert alive is not None
    assert [a.state for a in repository.attempts(trial_hash(0))] == [AttemptState.LOST, AttemptState.RUNNING]
    first = repository.renew_lease(first, 1000)
    with pytest.raises(AttemptEndedError, match=r"attempt 1 of trial .* already lost .*ran out"):
        repository.finish(first, dead.id, outcome())
    assert repository.claim(first, trial_hash(0)) is None
    repository.finish(second, alive.id, outcome())
    assert repository.trials("first")[0].sweep == "second"


def test_epochs_are_kept_once_with_nan_and_infinity(repository: Repository) -> None:
    lease = make_sweep(repository)
    attempt = repository.claim(lease, trial_hash(0))
    assert attempt is not None
    odd = Epoch(2, math.nan, math.inf, -math.inf, 5e-324, 7, 0.1)
    for given in (epoch(1, steps=99), epoch(1), odd, odd):
        repository.record_epoch(lease, attempt.id, given)
    first, second = repository.epochs(trial_hash(0))
    assert first == epoch(1)
    assert math.isnan(second.loss)
    assert dataclasses.replace(second, loss=0.0) == dataclasses.replace(odd, loss=0.0)
    assert repository.attempts(trial_hash(0))[0].steps == 17
    assert repository.trials("study")[0].epochs == 2
    columns = repository.epoch_columns("study")
    assert columns["trial"] == [trial_hash(0)] * 2
    assert columns["val_loss"] == [0.25, math.inf]
    assert columns["waited"] == [0.25, None]
    assert [one.waited for one in (first, second)] == [0.25, None]


def test_steps_belong_to_the_attempt_that_made_them(repository: Repository) -> None:
    lease = make_sweep(repository)
    for number in (1, 2):
        attempt = repository.claim(lease, trial_hash(0))
        assert attempt is not None
        repository.annotate_attempt(lease, attempt.id, resumed_from=number - 1, pid=77, device="cpu", host="h")
        for made in range(number, 4):
            repository.record_epoch(lease, attempt.id, epoch(made))
        if number == 1:
            repository.fail(lease, attempt.id, FailureKind.LOST, "gone", requeue=True, state=AttemptState.LOST)
    repository.finish(lease, attempt.id, outcome(3, resumed_from=1))
    first, second = repository.attempts(trial_hash(0))
    assert (first.steps, first.resumed_from, first.state) == (30, 0, AttemptState.LOST)
    assert (second.steps, second.resumed_from, second.pid, second.host) == (20, 1, 77, "h")


def test_epochs_that_nobody_reported_count_for_the_attempt_before(repository: Repository) -> None:
    """Its coordinator was killed after the checkpoint of epoch 3 and before it had written down epochs 2 and 3."""
    lease = make_sweep(repository)
    for resumed_from, reported in ((0, (1,)), (3, (4,))):
        attempt = repository.claim(lease, trial_hash(0))
        assert attempt is not None
        repository.annotate_attempt(lease, attempt.id, resumed_from=resumed_from)
        for made in reported:
            repository.record_epoch(lease, attempt.id, epoch(made))
        if not resumed_from:
            repository.fail(lease, attempt.id, FailureKind.LOST, "gone", requeue=True, state=AttemptState.LOST)
    for _ in range(2):
        repository.finish(lease, attempt.id, outcome(5, resumed_from=3))
    assert [a.steps for a in repository.attempts(trial_hash(0))] == [30, 20]


def test_a_result_that_was_on_disk_counts_for_the_attempt_that_made_it(repository: Repository) -> None:
    lease = make_sweep(repository)
    for number in (1, 2):
        attempt = repository.claim(lease, trial_hash(0))
        assert attempt is not None
        if number == 1:
            repository.record_epoch(lease, attempt.id, epoch(1))
            repository.fail(lease, attempt.id, FailureKind.LOST, "gone", requeue=True, state=AttemptState.LOST)
    repository.finish(lease, attempt.id, outcome(3, resumed_from=3))
    assert [a.steps for a in repository.attempts(trial_hash(0))] == [30, 0]


def test_fail_keeps_last_words_that_no_encoding_holds(repository: Repository) -> None:
    lease = make_sweep(repository)
    attempt = repository.claim(lease, trial_hash(0))
    assert attempt is not None
    for _ in range(2):
        repository.fail(lease, attempt.id, FailureKind.BUG, "bad \x00 γ", "tail \udcff 'x'", requeue=False)
    ended = repository.attempts(trial_hash(0))[0]
    assert (ended.state, ended.kind) == (AttemptState.FAILED, FailureKind.BUG)
    assert (ended.error, ended.stderr_tail) == ("bad \\x00 γ", "tail \\udcff 'x'")
    assert ended.ended_at is not None
    trial = repository.trials("study")[0]
    assert (trial.state, trial.failure, trial.error) == (TrialState.FAILED, FailureKind.BUG, "bad \\x00 γ")
    assert trial.finished_at is not None


def test_a_failure_that_queues_again(repository: Repository) -> None:
    lease = make_sweep(repository)
    attempt = repository.claim(lease, trial_hash(0))
    assert attempt is not None
    repository.fail(lease, attempt.id, FailureKind.OUT_OF_MEMORY, "oom", requeue=True)
    trial = repository.trials("study")[0]
    assert (trial.state, trial.failure, trial.finished_at) == (TrialState.QUEUED, None, None)
    again = repository.claim(lease, trial_hash(0))
    assert again is not None
    assert again.number == 2


def test_a_failing_attempt_cannot_end_as_finished(repository: Repository) -> None:
    lease = make_sweep(repository)
    attempt = repository.claim(lease, trial_hash(0))
    assert attempt is not None
    with pytest.raises(ValueError, match="not as finished"):
        repository.fail(lease, attempt.id, FailureKind.BUG, "x", requeue=False, state=AttemptState.FINISHED)


def test_prune_stop_and_retry(repository: Repository) -> None:
    lease = make_sweep(repository, 4)
    attempts = [repository.claim(lease, trial_hash(i)) for i in range(3)]
    ids = [attempt.id for attempt in attempts if attempt is not None]
    repository.prune(lease, ids[0], "below the median")
    repository.stop_attempt(lease, ids[1], requeue=False)
    repository.stop_attempt(lease, ids[2], requeue=True)
    states = [trial.state for trial in repository.trials("study")]
    assert states == [TrialState.PRUNED, TrialState.STOPPED, TrialState.QUEUED, TrialState.QUEUED]
    assert repository.counts("study") == {
        s: {"pruned": 1, "stopped": 1, "queued": 2}.get(s.value, 0) for s in TrialState
    }
    wanted = [trial_hash(1), trial_hash(0)]
    assert repository.retry(lease, wanted) == wanted
    for place in (0, 1):
        retried = repository.trials("study")[place]
        assert (retried.state, retried.attempts, retried.finished_at) == (TrialState.QUEUED, 1, None)
        assert (retried.error, len(repository.attempts(trial_hash(place)))) == (None, 1)


def test_an_attempt_of_another_sweep_is_out_of_reach(repository: Repository) -> None:
    first = make_sweep(repository, 1, "first")
    repository.create_sweep("second", grid={}, trials=new_trials(1))
    second = repository.acquire_lease("second", "s", 100)
    attempt = repository.claim(first, trial_hash(0))
    assert attempt is not None
    with pytest.raises(AttemptEndedError, match="has no attempt"):
        repository.finish(second, attempt.id, outcome())


def test_of_a_sweep_one_sees_first_what_is_neither_finished_nor_queued(repository: Repository) -> None:
    lease = make_sweep(repository, 6)
    for number in (1, 3, 5):
        attempt = repository.claim(lease, trial_hash(number))
        assert attempt is not None
        if number == 1:
            repository.finish(lease, attempt.id, outcome())
        elif number == 3:
            repository.fail(lease, attempt.id, FailureKind.DIVERGED, "nan", requeue=False)
    whole = repository.trials("study")
    places = {n: [t.position for t in repository.trials("study", n)] for n in (1, 2, 3, 4, 6, 9)}
    assert places == {1: [3], 2: [3, 5], 3: [1, 3, 5], 4: [0, 1, 3, 5], 6: [*range(6)], 9: [*range(6)]}
    assert repository.trials("study", 3) == [whole[1], whole[3], whole[5]]


def test_setbacks_and_ends_count_by_kind(repository: Repository) -> None:
    lease = make_sweep(repository, 4)
    lost, memory, bug = FailureKind.LOST, FailureKind.OUT_OF_MEMORY, FailureKind.BUG
    for number, kinds in ((0, [lost, memory, lost]), (1, [memory]), (2, [bug])):
        for kind in kinds:
            attempt = repository.claim(lease, trial_hash(number))
            assert attempt is not None
            repository.fail(lease, attempt.id, kind, "gone", requeue=kind is not bug)
    whole = {trial_hash(0): {lost: 2, memory: 1}, trial_hash(1): {memory: 1}, trial_hash(2): {bug: 1}}
    assert repository.setbacks("study") == whole
    assert repository.setbacks("study", but_of=TrialState.FAILED) == {k: whole[k] for k in list(whole)[:2]}
    # What a queued trial met last is kept with it.
    ends = repository.ends("study")
    assert sum(ends.values()) == 4
    assert ends[TrialState.FAILED, bug] == 1
    assert repository.counts("study") == {s: {"queued": 3, "failed": 1}.get(s.value, 0) for s in TrialState}
    with pytest.raises(UnknownSweepError):
        repository.ends("another")
