"""The contract of `Repository`, run on SQLite and on a real Postgres."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time

import pytest
from sqlalchemy import Engine, event
from storage_samples import epoch, let_lease_run_out, new_trials, outcome, scores, trial_hash

from storage.database import Database
from storage.errors import (
    AttemptEndedError,
    InvalidScoreError,
    LeaseHeldError,
    LeaseLostError,
    SweepConflictError,
    UnknownSweepError,
    UnknownTrialError,
)
from storage.records import (
    AttemptState,
    Epoch,
    FailureKind,
    Lease,
    Outcome,
    SignificanceTest,
    Split,
    SweepState,
    TrialState,
)
from storage.repository import Repository


def make(repository: Repository, count: int = 3, name: str = "study", seconds: float = 1000) -> Lease:
    repository.create_sweep(name, grid={"losses": ["focal"]}, trials=new_trials(count))
    return repository.acquire_lease(name, f"holder of {name}", seconds)


class TestSweeps:
    def test_create_gives_back_what_was_given(self, repository: Repository) -> None:
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

    def test_same_again_gives_the_same(self, repository: Repository) -> None:
        first = repository.create_sweep("study", grid={}, trials=new_trials(3))
        again = repository.create_sweep("study", grid={}, trials=list(reversed(new_trials(3))))
        assert again == first
        assert [t.hash for t in repository.trials("study")] == [t.hash for t in new_trials(3)]

    def test_other_trials_conflict_and_change_nothing(self, repository: Repository) -> None:
        repository.create_sweep("study", grid={}, trials=new_trials(3))
        with pytest.raises(
            SweepConflictError, match=r"'study' exists with other trials: 1 of this grid's 3 .* 1 of its 3"
        ):
            repository.create_sweep("study", grid={}, trials=new_trials(4)[1:])
        assert len(repository.trials("study")) == 3

    def test_extend_adds_behind_and_takes_none_away(self, repository: Repository) -> None:
        repository.create_sweep("study", grid={}, trials=new_trials(3))
        repository.create_sweep("study", grid={}, trials=new_trials(5)[2:], extend=True)
        assert [t.hash for t in repository.trials("study")] == [t.hash for t in new_trials(5)]

    def test_extend_replaces_the_details_by_those_given(self, repository: Repository) -> None:
        repository.create_sweep("study", grid={}, trials=new_trials(1), details={"plugins": [1]})
        kept = repository.create_sweep("study", grid={}, trials=new_trials(2), extend=True)
        assert kept.details == {"plugins": [1]}
        grown = repository.create_sweep(
            "study", grid={}, trials=new_trials(3), extend=True, details={"plugins": [1, 2]}
        )
        assert grown.details == {"plugins": [1, 2]} == repository.sweep("study").details

    def test_a_trial_twice_in_a_grid_is_refused(self, repository: Repository) -> None:
        with pytest.raises(SweepConflictError, match=f"has trial {trial_hash(1)} twice"):
            repository.create_sweep("study", grid={}, trials=[*new_trials(3), new_trials(2)[1]])
        assert repository.sweeps() == []

    def test_sweeps_share_a_result(self, repository: Repository) -> None:
        lease = make(repository, 2)
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

    def test_unknown_sweep_names_the_nearest(self, repository: Repository) -> None:
        make(repository, name="gamma-nuclei")
        with pytest.raises(UnknownSweepError, match="no sweep is named 'gama-nuclei'; did you mean 'gamma-nuclei'"):
            repository.sweep("gama-nuclei")
        with pytest.raises(UnknownSweepError, match="'zzz'"):
            repository.score_columns("zzz")

    def test_trial_by_prefix(self, repository: Repository) -> None:
        make(repository, 200)
        wanted = trial_hash(7)
        assert repository.trial(wanted[:10]).hash == wanted
        assert repository.trial(wanted, "study").hash == wanted
        with pytest.raises(UnknownTrialError, match=r"trials have hashes that start with .*give more digits"):
            repository.trial(wanted[:1])
        for bad in ("", "%", "_", "xyz"):
            with pytest.raises(UnknownTrialError, match="no trial's hash starts with"):
                repository.trial(bad)

    def test_state_reason_and_end(self, repository: Repository) -> None:
        lease = make(repository)
        assert repository.sweep("study").state == SweepState.RUNNING
        repository.set_sweep_state(lease, SweepState.BROKEN, "5 × out of memory")
        broken = repository.sweep("study")
        assert (broken.state, broken.reason) == (SweepState.BROKEN, "5 × out of memory")
        assert broken.finished_at is not None
        repository.set_sweep_state(lease, SweepState.RUNNING)
        assert repository.sweep("study").finished_at is None

    def test_mlflow_runs_and_costs(self, repository: Repository) -> None:
        lease = make(repository)
        repository.set_mlflow_run(lease, "parent")
        repository.set_mlflow_run(lease, "child", trial=trial_hash(1))
        repository.set_costs(lease, {trial_hash(0): 5.0, trial_hash(2): 7.5, "not ours": 1.0})
        assert repository.sweep("study").mlflow_run == "parent"
        assert [t.mlflow_run for t in repository.trials("study")] == [None, "child", None]
        assert [t.cost for t in repository.trials("study")] == [5.0, None, 7.5]

    def test_requests(self, repository: Repository) -> None:
        lease = make(repository)
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

    def test_splits(self, repository: Repository) -> None:
        split = Split("ab12", "nuclei", "prep", {"seed": 1}, ("a", "b"), ("c",), ("d", "é"))
        repository.save_split(split)
        repository.save_split(dataclasses.replace(split, train=()))
        assert repository.splits() == [split]

    def test_significance_is_replaced(self, repository: Repository) -> None:
        make(repository)
        test = SignificanceTest(
            "nuclei", "all", "dsc", "signed-rank", "ce", "dice", 122, 0.01, 0.04, -0.3, 0.0, None, math.inf, "h"
        )
        repository.replace_significance("study", [test, dataclasses.replace(test, second="focal")])
        repository.replace_significance("study", [dataclasses.replace(test, p=None), test])
        assert repository.significance("study") == [dataclasses.replace(test, p=None), test]
        repository.replace_significance("study", [])
        assert repository.significance("study") == []


class TestLease:
    def test_held_names_holder_and_end(self, repository: Repository) -> None:
        lease = make(repository)
        with pytest.raises(LeaseHeldError, match=r"held by 'holder of study' until \d{4}-.* UTC \(for another") as held:
            repository.acquire_lease("study", "second", 10)
        assert (held.value.holder, held.value.expires_at) == (lease.holder, lease.expires_at)
        assert repository.lease("study") == lease

    def test_taking_it_makes_the_sweep_running_unless_it_is_only_to_write(self, repository: Repository) -> None:
        lease = make(repository)
        for running, state, reason in ((False, SweepState.BROKEN, "why"), (True, SweepState.RUNNING, "")):
            repository.set_sweep_state(lease, SweepState.BROKEN, "why")
            ended = repository.sweep("study").finished_at
            repository.release_lease(lease)
            lease = repository.acquire_lease("study", "second", 1000, running=running)
            sweep = repository.sweep("study")
            assert (sweep.state, sweep.reason, sweep.finished_at) == (state, reason, None if running else ended)

    def test_even_its_own_holder_cannot_take_it_twice(self, repository: Repository) -> None:
        lease = make(repository)
        with pytest.raises(LeaseHeldError):
            repository.acquire_lease("study", lease.holder, 10)

    def test_runs_out_by_the_clock_of_the_database(self, repository: Repository) -> None:
        lease = make(repository, seconds=0.05)
        assert lease.expires_at == pytest.approx(repository.database.now() + 0.05, abs=0.5)
        time.sleep(0.1)
        with pytest.raises(LeaseLostError, match=r"ran out \d"):
            repository.set_sweep_state(lease, SweepState.STOPPED)
        assert repository.sweep("study").state == SweepState.RUNNING
        taken = repository.acquire_lease("study", "second", 10)
        assert taken.fencing == lease.fencing + 1

    def test_take_over_requeues_and_the_old_holder_writes_nothing(self, repository: Repository) -> None:
        old = make(repository)
        attempt = repository.claim(old, trial_hash(0))
        assert attempt is not None
        repository.record_epoch(old, attempt.id, epoch(1))
        let_lease_run_out(repository.database, old.sweep_id)
        new = repository.acquire_lease("study", "second", 1000)
        lost = repository.attempts(trial_hash(0))[0]
        assert (lost.state, lost.kind) == (AttemptState.LOST, FailureKind.LOST)
        assert "holder of study" in (lost.error or "")
        assert repository.trials("study")[0].state == TrialState.QUEUED
        for write in (
            lambda: repository.renew_lease(old, 10),
            lambda: repository.claim(old, trial_hash(1)),
            lambda: repository.claim_next(old),
            lambda: repository.record_epoch(old, attempt.id, epoch(2)),
            lambda: repository.annotate_attempt(old, attempt.id, pid=1),
            lambda: repository.finish(old, attempt.id, outcome()),
            lambda: repository.fail(old, attempt.id, FailureKind.BUG, "x", requeue=False),
            lambda: repository.prune(old, attempt.id),
            lambda: repository.stop_attempt(old, attempt.id, False),
            lambda: repository.stop_queued(old, [trial_hash(1)]),
            lambda: repository.retry(old, [trial_hash(1)]),
            lambda: repository.set_sweep_state(old, SweepState.STOPPED),
            lambda: repository.set_mlflow_run(old, "x"),
            lambda: repository.set_mlflow_run(old, "x", trial=trial_hash(1)),
            lambda: repository.set_costs(old, {trial_hash(1): 1.0}),
            lambda: repository.complete_request(old, 1, "x"),
        ):
            with pytest.raises(LeaseLostError, match=r"now held by 'second' \(lease 2\)"):
                write()
        repository.release_lease(old)
        assert repository.lease("study") == new
        again = repository.claim(new, trial_hash(0))
        assert again is not None
        assert again.number == 2

    def test_renewed_after_it_ran_out_while_nobody_took_over(self, repository: Repository) -> None:
        lease = make(repository)
        attempt = repository.claim(lease, trial_hash(0))
        assert attempt is not None
        let_lease_run_out(repository.database, lease.sweep_id)
        renewed = repository.renew_lease(lease, 1000)
        assert renewed.fencing == lease.fencing
        repository.finish(renewed, attempt.id, outcome())

    def test_released_is_free_at_once(self, repository: Repository) -> None:
        lease = make(repository)
        repository.release_lease(lease)
        assert repository.lease("study") is None
        with pytest.raises(LeaseLostError, match="held by nobody"):
            repository.set_sweep_state(lease, SweepState.STOPPED)
        assert repository.acquire_lease("study", "second", 10).fencing == 2

    @pytest.mark.parametrize(("holder", "seconds"), [("", 5.0), ("me", 0.0), ("me", -1.0), ("me", math.nan)])
    def test_senseless_lease(self, repository: Repository, holder: str, seconds: float) -> None:
        make(repository, name="x")
        with pytest.raises(ValueError, match="needs a holder and more than 0 seconds"):
            repository.acquire_lease("x", holder, seconds)

    def test_only_one_of_many_gets_it(self, repository: Repository) -> None:
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


class TestAttempts:
    def test_claim_is_exclusive_and_counts(self, repository: Repository) -> None:
        lease = make(repository)
        attempt = repository.claim(lease, trial_hash(1), host="gpu-1", device="cuda:0")
        assert attempt is not None
        assert (attempt.number, attempt.host, attempt.device) == (1, "gpu-1", "cuda:0")
        assert attempt.state == AttemptState.RUNNING
        assert repository.claim(lease, trial_hash(1)) is None
        trial = repository.trials("study")[1]
        assert (trial.state, trial.attempts, trial.sweep) == (TrialState.RUNNING, 1, "study")
        assert repository.attempts(trial.hash) == [attempt] == repository.attempts_of_sweep("study")

    def test_claim_of_a_stranger_is_refused(self, repository: Repository) -> None:
        lease = make(repository)
        repository.create_sweep("other", grid={}, trials=new_trials(1, prefix="other"))
        with pytest.raises(UnknownTrialError):
            repository.claim(lease, trial_hash("other0"))

    def test_claim_next_takes_the_costliest_then_the_order_of_the_grid(self, repository: Repository) -> None:
        lease = make(repository, 4)
        repository.set_costs(lease, {trial_hash(2): 9.0, trial_hash(3): 10.0})
        taken = [repository.claim_next(lease, host="h") for _ in range(5)]
        assert [pair and pair[0].hash for pair in taken] == [*(trial_hash(i) for i in (3, 2, 0, 1)), None]
        assert taken[0] is not None
        assert taken[0][0].state == TrialState.RUNNING
        assert taken[0][1].trial == trial_hash(3)

    def test_claim_next_in_a_given_order_takes_no_other(self, repository: Repository) -> None:
        lease = make(repository, 4)
        order = [trial_hash(2), "unknown", trial_hash(0)]
        taken = [repository.claim_next(lease, order) for _ in range(3)]
        assert [pair and pair[0].hash for pair in taken] == [trial_hash(2), trial_hash(0), None]

    def test_a_trial_that_another_live_sweep_runs_is_not_to_be_had(self, repository: Repository) -> None:
        first, second = make(repository, 1, "first"), make(repository, 1, "second")
        assert repository.claim(first, trial_hash(0)) is not None
        assert repository.claim(second, trial_hash(0)) is None
        assert repository.claim_next(second) is None

    @pytest.mark.parametrize("by", ["claim", "claim_next"])
    def test_a_trial_of_a_dead_sweep_is_taken_over_once(self, repository: Repository, by: str) -> None:
        first, second = make(repository, 1, "first"), make(repository, 1, "second")
        dead = repository.claim(first, trial_hash(0))
        assert dead is not None
        let_lease_run_out(repository.database, first.sweep_id)
        if by == "claim":
            alive = repository.claim(second, trial_hash(0))
        else:
            pair = repository.claim_next(second)
            alive = pair and pair[1]
        assert alive is not None
        assert [a.state for a in repository.attempts(trial_hash(0))] == [AttemptState.LOST, AttemptState.RUNNING]
        first = repository.renew_lease(first, 1000)
        with pytest.raises(AttemptEndedError, match=r"attempt 1 of trial .* already lost .*ran out"):
            repository.finish(first, dead.id, outcome())
        assert repository.claim(first, trial_hash(0)) is None
        repository.finish(second, alive.id, outcome())
        assert repository.trials("first")[0].sweep == "second"

    def test_epochs_are_kept_once_with_nan_and_infinity(self, repository: Repository) -> None:
        lease = make(repository)
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

    def test_steps_belong_to_the_attempt_that_made_them(self, repository: Repository) -> None:
        lease = make(repository)
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

    def test_finish_stores_all_and_again_changes_nothing(self, repository: Repository) -> None:
        lease = make(repository)
        attempt = repository.claim(lease, trial_hash(0))
        assert attempt is not None
        repository.record_epoch(lease, attempt.id, epoch(1))
        given = outcome(3)
        repository.finish(lease, attempt.id, given)
        stored = (repository.trials("study"), repository.score_columns("study"), repository.attempts(trial_hash(0)))
        repository.finish(lease, attempt.id, dataclasses.replace(given, val_dsc=0.1, scores=()))
        assert stored == (
            repository.trials("study"),
            repository.score_columns("study"),
            repository.attempts(trial_hash(0)),
        )
        trial = stored[0][0]
        assert trial.state == TrialState.FINISHED
        for name in (
            "best_epoch", "val_loss", "val_dsc", "test_dsc", "parameters", "train_seconds", "evaluate_seconds",
            "peak_memory_mib", "mlflow_run",
        ):  # fmt: skip
            assert getattr(trial, name) == getattr(given, name), name
        assert trial.epochs == 3
        assert repository.environments() == {trial.environment: given.environment}
        assert tuple(repository.epochs(trial.hash)) == given.history
        columns = repository.score_columns("study")
        assert list(zip(*columns.values(), strict=True)) == [
            (trial.hash, *dataclasses.astuple(score)) for score in scores()
        ]
        assert repository.claim(lease, trial.hash) is None
        with pytest.raises(AttemptEndedError, match="already finished"):
            repository.fail(lease, attempt.id, FailureKind.BUG, "late", requeue=True)
        assert repository.retry(lease, [trial.hash]) == []

    def test_epochs_beyond_the_end_are_not_of_the_history(self, repository: Repository) -> None:
        lease = make(repository)
        attempt = repository.claim(lease, trial_hash(0))
        assert attempt is not None
        for number in (1, 2, 3, 4, 5):
            repository.record_epoch(lease, attempt.id, epoch(number))
        repository.finish(lease, attempt.id, outcome(3))
        assert len(repository.epochs(trial_hash(0))) == len(repository.epoch_columns("study")["epoch"]) == 3

    def test_scores_take_one_statement(self, repository: Repository) -> None:
        lease = make(repository)
        attempt = repository.claim(lease, trial_hash(0))
        assert attempt is not None
        seen: list[int] = []

        def listen(conn, cursor, statement, parameters, context, executemany) -> None:  # type: ignore[no-untyped-def]
            if "INSERT INTO score" in statement:
                seen.append(len(parameters))

        event.listen(Engine, "before_cursor_execute", listen)
        try:
            repository.finish(lease, attempt.id, outcome(images=100))
        finally:
            event.remove(Engine, "before_cursor_execute", listen)
        assert len(seen) == 1
        assert seen[0] >= 100 * 2 * 2 * 10  # every value of every row is in that one statement
        assert len(repository.score_columns("study")["trial"]) == 400

    @pytest.mark.parametrize(
        "change",
        [
            {"dsc": 1.0000001}, {"iou": -0.1}, {"precision": math.nan}, {"recall": math.inf}, {"hd95": math.nan},
            {"asd": -1.0}, {"hd95": -math.inf}, {"dsc": True}, {"dsc": "0.5"},
        ],
    )  # fmt: skip
    def test_a_bad_score_stores_nothing(self, repository: Repository, change: dict[str, float]) -> None:
        lease = make(repository)
        attempt = repository.claim(lease, trial_hash(0))
        assert attempt is not None
        given = scores()
        bad = (*given[:-1], dataclasses.replace(given[-1], **change))
        name, value = next(iter(change.items()))
        with pytest.raises(
            InvalidScoreError, match=rf"validation image 'case-001', class 'tumour': {name} is {value!r}"
        ):
            repository.finish(lease, attempt.id, dataclasses.replace(outcome(), scores=bad))
        assert repository.score_columns("study")["trial"] == []
        assert repository.epochs(trial_hash(0)) == []
        assert repository.trials("study")[0].state == TrialState.RUNNING
        repository.finish(lease, attempt.id, outcome())

    def test_an_image_scored_twice_and_a_bad_mean_are_refused(self, repository: Repository) -> None:
        lease = make(repository)
        attempt = repository.claim(lease, trial_hash(0))
        assert attempt is not None
        twice = dataclasses.replace(outcome(), scores=(scores()[0], scores()[0]))
        with pytest.raises(InvalidScoreError, match="scored twice"):
            repository.finish(lease, attempt.id, twice)
        with pytest.raises(InvalidScoreError, match="test_dsc is nan"):
            repository.finish(lease, attempt.id, dataclasses.replace(outcome(), test_dsc=math.nan))

    def test_an_outcome_without_scores_or_history(self, repository: Repository) -> None:
        lease = make(repository)
        attempt = repository.claim(lease, trial_hash(0))
        assert attempt is not None
        bare = Outcome((), (), 0, math.nan, None, None, 0, 0, 0, 0.0, 0.0, 0.0)
        repository.finish(lease, attempt.id, bare)
        trial = repository.trials("study")[0]
        assert trial.val_loss is not None
        assert math.isnan(trial.val_loss)
        assert (trial.val_dsc, trial.environment, trial.mlflow_run) == (None, None, None)

    def test_fail_keeps_last_words_that_no_encoding_holds(self, repository: Repository) -> None:
        lease = make(repository)
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

    def test_a_failure_that_queues_again(self, repository: Repository) -> None:
        lease = make(repository)
        attempt = repository.claim(lease, trial_hash(0))
        assert attempt is not None
        repository.fail(lease, attempt.id, FailureKind.OUT_OF_MEMORY, "oom", requeue=True)
        trial = repository.trials("study")[0]
        assert (trial.state, trial.failure, trial.finished_at) == (TrialState.QUEUED, None, None)
        again = repository.claim(lease, trial_hash(0))
        assert again is not None
        assert again.number == 2

    def test_a_failing_attempt_cannot_end_as_finished(self, repository: Repository) -> None:
        lease = make(repository)
        attempt = repository.claim(lease, trial_hash(0))
        assert attempt is not None
        with pytest.raises(ValueError, match="not as finished"):
            repository.fail(lease, attempt.id, FailureKind.BUG, "x", requeue=False, state=AttemptState.FINISHED)

    def test_prune_stop_and_retry(self, repository: Repository) -> None:
        lease = make(repository, 4)
        attempts = [repository.claim(lease, trial_hash(i)) for i in range(3)]
        ids = [attempt.id for attempt in attempts if attempt is not None]
        repository.prune(lease, ids[0], "below the median")
        repository.stop_attempt(lease, ids[1], requeue=False)
        repository.stop_attempt(lease, ids[2], requeue=True)
        assert repository.stop_queued(lease, [trial_hash(i) for i in range(4)]) == [trial_hash(2), trial_hash(3)]
        states = [trial.state for trial in repository.trials("study")]
        assert states == [TrialState.PRUNED, *[TrialState.STOPPED] * 3]
        assert repository.counts("study") == {s: {"pruned": 1, "stopped": 3}.get(s.value, 0) for s in TrialState}
        assert repository.retry(lease, [trial_hash(3), trial_hash(1), trial_hash(0)]) == [trial_hash(3), trial_hash(1)]
        retried = repository.trials("study")[1]
        assert (retried.state, retried.attempts, retried.finished_at) == (TrialState.QUEUED, 1, None)
        assert len(repository.attempts(trial_hash(1))) == 1

    def test_an_attempt_of_another_sweep_is_out_of_reach(self, repository: Repository) -> None:
        first = make(repository, 1, "first")
        repository.create_sweep("second", grid={}, trials=new_trials(1))
        second = repository.acquire_lease("second", "s", 100)
        attempt = repository.claim(first, trial_hash(0))
        assert attempt is not None
        with pytest.raises(AttemptEndedError, match="has no attempt"):
            repository.finish(second, attempt.id, outcome())


class TestSharing:
    def test_two_sweeps_made_at_once_from_several_threads(self, database: Database) -> None:
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
