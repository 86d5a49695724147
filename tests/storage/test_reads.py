"""What a live page asks again and again: the newest epochs and the pulse; and connections that cannot write."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from storage_samples import epoch, let_lease_run_out, new_trials, outcome, trial_hash

from storage.database import open_database
from storage.errors import DatabaseURLError, NotWritableError, UnknownSweepError
from storage.repository import Repository
from trials.states import FailureKind, TrialState


def test_newest_epochs_are_those_of_the_running_attempts(repository: Repository) -> None:
    repository.create_sweep("study", grid={}, trials=new_trials(4))
    lease = repository.acquire_lease("study", "holder", 1000)
    ids = [repository.claim(lease, trial_hash(n)) for n in range(3)]
    attempts = [one.id for one in ids if one is not None]
    for number in (1, 2, 3):
        repository.record_epoch(lease, attempts[0], epoch(number, loss=1 / number))
    repository.record_epoch(lease, attempts[1], epoch(1))
    repository.finish(lease, attempts[1], outcome())
    assert repository.newest_epochs("study") == {trial_hash(0): epoch(3, loss=1 / 3)}
    # The next attempt goes on after epoch 2: the lost one's third epoch is not where the trial is.
    repository.fail(lease, attempts[0], FailureKind.LOST, "lost", requeue=True)
    again = repository.claim(lease, trial_hash(0))
    assert again is not None
    assert repository.newest_epochs("study") == {}
    repository.record_epoch(lease, again.id, epoch(3, loss=0.25))
    assert repository.newest_epochs("study") == {trial_hash(0): epoch(3, loss=0.25)}
    with pytest.raises(UnknownSweepError):
        repository.newest_epochs("other")


def test_progress_tells_every_sweep_with_its_trials_in_each_state(repository: Repository) -> None:
    repository.create_sweep("first", grid={}, trials=new_trials(3))
    lease = repository.acquire_lease("first", "holder", 1000)
    attempt = repository.claim(lease, trial_hash(0))
    assert attempt is not None
    repository.finish(lease, attempt.id, outcome())
    repository.create_sweep("second", grid={}, trials=new_trials(4))  # which has the trials of the first, too
    repository.create_sweep("empty", grid={}, trials=[])
    first, second, empty = repository.progress()
    assert (first.sweep.name, first.held, second.held) == ("first", True, False)
    assert first.counts == {TrialState.FINISHED: 1, TrialState.QUEUED: 2}
    assert second.counts == {TrialState.FINISHED: 1, TrialState.QUEUED: 3}
    assert first.last_end == second.last_end == repository.trials("first")[0].finished_at
    assert (empty.counts, empty.last_end) == ({}, 0.0)
    repository.release_lease(lease)
    assert not repository.progress()[0].held


def test_training_times_tell_of_what_was_trained_and_for_how_long(repository: Repository) -> None:
    """The parts of a spec are taken out by the database, and are those of the spec."""
    made = new_trials(2)
    repository.create_sweep("study", grid={}, trials=made)
    lease = repository.acquire_lease("study", "holder", 1000)
    attempt = repository.claim(lease, trial_hash(1))
    assert attempt is not None
    result = outcome()
    repository.finish(lease, attempt.id, result)
    (one,) = repository.training_times()
    spec = made[1].spec
    assert (one.data, one.model, one.training) == (spec.data, spec.model, spec.training)
    assert (one.sweep, one.epochs, one.seconds) == ("study", 3, result.train_seconds)


def test_the_trials_on_some_data_sets_are_those_of_all(repository: Repository) -> None:
    made = [dataclasses.replace(one, dataset=f"set{n % 2}") for n, one in enumerate(new_trials(4))]
    repository.create_sweep("study", grid={}, trials=made)
    every = repository.trials("study")
    assert repository.trials("study", datasets=["set1"]) == [every[1], every[3]]
    assert repository.trials("study", datasets=["set0", "set1"]) == every
    assert repository.trials("study", datasets=[]) == []


def test_histories_of_several_trials_are_those_of_each(repository: Repository) -> None:
    repository.create_sweep("study", grid={}, trials=new_trials(3))
    lease = repository.acquire_lease("study", "holder", 1000)
    for place, epochs in ((0, 3), (1, 1)):
        attempt = repository.claim(lease, trial_hash(place))
        assert attempt is not None
        for number in range(1, epochs + 1):
            repository.record_epoch(lease, attempt.id, epoch(number))
    found = repository.epochs_of([trial_hash(n) for n in range(3)])
    assert found == {trial_hash(n): repository.epochs(trial_hash(n)) for n in (0, 1)}
    assert len(found[trial_hash(0)]) == 3


def test_the_pulse_differs_after_each_change_and_only_then(repository: Repository) -> None:
    repository.create_sweep("study", grid={}, trials=new_trials(3))
    seen = [repository.pulse("study")]

    def changed(act: Callable[[], object]) -> None:
        act()
        seen.append(repository.pulse("study"))
        assert seen[-1] == repository.pulse("study")
        assert seen[-1] not in seen[:-1]

    changed(lambda: repository.acquire_lease("study", "holder", 1000))
    lease = repository.lease("study")
    assert lease is not None
    repository.renew_lease(lease, 1000)
    assert repository.pulse("study") == seen[-1]
    first = repository.claim(lease, trial_hash(0))
    assert first is not None
    changed(lambda: None)
    changed(lambda: repository.annotate_attempt(lease, first.id, pid=1, device="GPU 0"))
    changed(lambda: repository.record_epoch(lease, first.id, epoch(1)))
    changed(lambda: repository.record_epoch(lease, first.id, epoch(2)))
    changed(lambda: repository.finish(lease, first.id, outcome()))
    second = repository.claim(lease, trial_hash(1))
    assert second is not None
    changed(lambda: repository.fail(lease, second.id, FailureKind.BUG, "no", requeue=False))
    changed(lambda: repository.retry(lease, [trial_hash(1)]))
    changed(lambda: repository.add_request("study", "stop", {}))
    changed(lambda: let_lease_run_out(repository.database, lease.sweep_id))
    with pytest.raises(UnknownSweepError, match="did you mean 'study'"):
        repository.pulse("studi")


def test_the_pulse_of_scores_differs_when_some_were_added(repository: Repository) -> None:
    repository.create_sweep("study", grid={}, trials=new_trials(2))
    lease = repository.acquire_lease("study", "holder", 1000)
    seen = [repository.scores_pulse("study")]
    attempt = repository.claim(lease, trial_hash(0))
    assert attempt is not None
    assert repository.scores_pulse("study") == seen[0]
    repository.finish(lease, attempt.id, outcome())
    assert repository.scores_pulse("study") not in seen
    with pytest.raises(UnknownSweepError):
        repository.scores_pulse("other")


def test_another_sweeps_changes_are_no_pulse(repository: Repository) -> None:
    repository.create_sweep("study", grid={}, trials=new_trials(1))
    before = repository.pulse("study")
    repository.create_sweep("other", grid={}, trials=new_trials(2, prefix="other"))
    repository.claim(repository.acquire_lease("other", "holder", 1000), trial_hash("other0"))
    assert repository.pulse("study") == before


def test_a_connection_that_only_reads_is_refused_every_write(url: str) -> None:
    with open_database(url) as database:
        Repository(database).create_sweep("study", grid={}, trials=new_trials(2))
    with open_database(url, read_only=True, retry_for=1) as database:
        reader = Repository(database)
        assert len(reader.trials("study")) == 2
        assert reader.pulse("study")
        with pytest.raises(NotWritableError):
            reader.create_sweep("more", grid={}, trials=[])
        with pytest.raises(NotWritableError):
            reader.acquire_lease("study", "reader", 10)
    with open_database(url) as database:
        assert [s.name for s in Repository(database).sweeps()] == ["study"]


def test_what_only_reads_sees_what_is_written_meanwhile(url: str) -> None:
    with open_database(url) as database, open_database(url, read_only=True) as other:
        writer, reader = Repository(database), Repository(other)
        writer.create_sweep("study", grid={}, trials=new_trials(1))
        lease = writer.acquire_lease("study", "holder", 1000)
        assert reader.lease("study") == dataclasses.replace(lease)
        writer.claim(lease, trial_hash(0))
        assert [t.attempts for t in reader.trials("study")] == [1]


def test_what_only_reads_makes_no_tables(empty_url: str) -> None:
    with pytest.raises(DatabaseURLError):
        open_database(empty_url, read_only=True)
    with pytest.raises(DatabaseURLError):  # still empty
        open_database(empty_url, create=False)
