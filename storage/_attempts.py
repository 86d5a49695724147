"""The state machine of trials: claiming, reporting and ending attempts. Every write checks the lease first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import Connection, Row, bindparam, case, func, insert, literal, select, update

from storage import _scores
from storage._leases import LeaseMethods, end_of, lease_columns, require_lease
from storage._statements import (
    attempt_columns,
    insert_absent,
    insert_for,
    insert_many,
    member_columns,
    table,
    to_attempt,
    to_trial,
)
from storage.columns import now
from storage.errors import AttemptEndedError, InvalidScoreError, UnknownTrialError
from storage.models import AttemptRow, EnvironmentRow, EpochRow, LeaseRow, MembershipRow, ScoreRow, TrialRow
from storage.records import Attempt, Lease, Trial
from trials.results import Epoch, Score, TrialResult
from trials.spec import content_hash
from trials.states import AttemptState, FailureKind, TrialState

if TYPE_CHECKING:
    from storage._statements import Insert

AttemptHead = Row[str, int, str, str | None]
"""trial, number, state, error"""


# The statements of a trial that goes well: on tables rather than on their classes, and built once (see `table`).
_TRIAL, _ATTEMPT, _EPOCH = table(TrialRow).c, table(AttemptRow).c, table(EpochRow).c

_IS_MEMBER = (MembershipRow.sweep_id == bindparam("held_sweep")) & (MembershipRow.trial == bindparam("member"))

_TAKE = (
    update(table(TrialRow))
    .where(
        _TRIAL.hash == bindparam("member"),
        _TRIAL.state == TrialState.QUEUED,
        select(literal(1)).where(_IS_MEMBER).exists(),
    )
    .values(
        state=TrialState.RUNNING,
        attempts=_TRIAL.attempts + 1,
        sweep_id=bindparam("held_sweep"),
        failure=None,
        error=None,
        started_at=func.coalesce(_TRIAL.started_at, now()),
    )
    .returning(_TRIAL.attempts)
)

_NEW_ATTEMPT = (
    insert(table(AttemptRow))
    .values(state=AttemptState.RUNNING, resumed_from=0, steps=0, started_at=now())
    .returning(*attempt_columns().selected_columns)
)

_CHANGE_ATTEMPT = update(table(AttemptRow)).where(_ATTEMPT.id == bindparam("changed"))
_CHANGE_TRIAL = update(table(TrialRow)).where(_TRIAL.hash == bindparam("changed"))

_ADD_UP_STEPS = _CHANGE_ATTEMPT.values(
    steps=select(func.sum(_EPOCH.steps)).where(_EPOCH.attempt_id == bindparam("changed")).scalar_subquery()
)
_REACH_EPOCH = _CHANGE_TRIAL.values(
    epochs=case((_TRIAL.epochs > bindparam("reached"), _TRIAL.epochs), else_=bindparam("reached"))
)
_FINISH_ATTEMPT = _CHANGE_ATTEMPT.values(state=AttemptState.FINISHED, ended_at=now())
_FINISH_TRIAL = _CHANGE_TRIAL.values(state=TrialState.FINISHED, finished_at=now())


@cache
def _put_epochs(dialect: str, *, attempt_too: bool) -> Insert:
    """Inserts epochs, or replaces those that are there; `attempt_too`: also which attempt trained them."""
    statement = insert_for(dialect, EpochRow)
    kept = {"trial", "epoch"} if attempt_too else {"trial", "epoch", "attempt_id"}
    changed = {c.name: statement.excluded[c.name] for c in _EPOCH if c.name not in kept}
    return statement.on_conflict_do_update(index_elements=["trial", "epoch"], set_=changed)


class AttemptMethods(LeaseMethods):
    """The part of `Repository` about attempts."""

    def claim(self, lease: Lease, trial_hash: str, *, host: str = "", device: str | None = None) -> Attempt | None:
        """Takes a queued trial and makes a new attempt of it; None if it is running or has ended.

        A trial that another sweep left running counts as queued once that sweep's lease has run out; its attempt
        becomes lost.

        Raises:
            LeaseLostError: see `hold`.
            UnknownTrialError: the sweep has no such trial.
        """
        token = uuid4().hex
        return self.database.write(lambda c: _claim(c, lease, trial_hash, host, device, token))

    def annotate_attempt(
        self,
        lease: Lease,
        attempt_id: int,
        *,
        host: str | None = None,
        pid: int | None = None,
        device: str | None = None,
        resumed_from: int | None = None,
    ) -> None:
        """Notes where a running attempt runs, and after which epoch it went on; None leaves as it is.

        Raises:
            LeaseLostError: see `hold`.
            AttemptEndedError: it is not running.
        """
        given = {"host": host, "pid": pid, "device": device, "resumed_from": resumed_from}
        values = {name: value for name, value in given.items() if value is not None}

        def work(connection: Connection) -> None:
            require_lease(connection, lease)
            attempt = _running(connection, lease, attempt_id)
            if values:
                connection.execute(_CHANGE_ATTEMPT, {"changed": attempt_id, **values})
            if resumed_from is not None:
                connection.execute(_CHANGE_TRIAL, {"changed": attempt.trial, "epochs": resumed_from})

        self.database.write(work)

    def record_epoch(self, lease: Lease, attempt_id: int, epoch: Epoch) -> None:
        """Stores one epoch; the same epoch of the trial again replaces it. `Epoch.steps` are the epoch's own steps, and
        the attempt's `steps` their sum over the epochs that it trained.

        Raises:
            LeaseLostError: see `hold`.
            AttemptEndedError: the attempt is not running.
        """
        epoch_values = dataclasses.asdict(epoch)

        def work(connection: Connection) -> None:
            require_lease(connection, lease)
            attempt = _running(connection, lease, attempt_id)
            row = {**epoch_values, "trial": attempt.trial, "attempt_id": attempt_id}
            connection.execute(_put_epochs(connection.dialect.name, attempt_too=True), row)
            connection.execute(_ADD_UP_STEPS, {"changed": attempt_id})
            connection.execute(_REACH_EPOCH, {"changed": attempt.trial, "reached": epoch.epoch})

        self.database.write(work)

    def finish(self, lease: Lease, attempt_id: int, result: TrialResult, mlflow_run: str | None = None) -> Trial:
        """Stores the whole result and ends attempt and trial, or writes nothing. Doing it again changes nothing.
        Returns the trial as it then is.

        An epoch that nobody had reported, since its coordinator was killed after the checkpoint, counts for the attempt
        before: over all attempts, `steps` are the steps that were made.

        Raises:
            InvalidScoreError: a score outside its range, or NaN.
            LeaseLostError: see `hold`.
            AttemptEndedError: the attempt has ended otherwise.
        """

        def work(connection: Connection) -> Trial:
            require_lease(connection, lease)
            attempt = _of_lease(connection, lease, attempt_id)
            rows = _scores.score_rows(attempt.trial, result)
            if attempt.state == AttemptState.FINISHED:
                return _member(connection, lease, attempt.trial)
            _refuse_ended(attempt)
            environment = _store_environment(connection, result.environment)
            insert_many(connection, ScoreRow, rows)
            _store_history(connection, attempt, attempt_id, result)
            connection.execute(
                _FINISH_ATTEMPT,
                {"changed": attempt_id, "steps": result.steps, "resumed_from": result.resumed_from},
            )
            connection.execute(
                _FINISH_TRIAL,
                {
                    "changed": attempt.trial,
                    "epochs": len(result.history),
                    "best_epoch": result.best_epoch,
                    "val_loss": result.val_loss,
                    "val_dsc": result.val_dsc,
                    "test_dsc": result.test_dsc,
                    "train_seconds": result.train_seconds,
                    "evaluate_seconds": result.evaluate_seconds,
                    "peak_memory_mib": result.peak_memory_mib,
                    "parameters": result.parameters,
                    "environment": environment,
                    "mlflow_run": mlflow_run,
                },
            )
            return _member(connection, lease, attempt.trial)

        return self.database.write(work)

    def add_metrics(self, lease: Lease, trial_hash: str, scores: Sequence[Score]) -> int:
        """Adds metrics that a finished trial's scores lack; a value that is stored stays, so doing it again changes
        nothing. Returns how many images and classes got any.

        Raises:
            InvalidScoreError: a value outside its metric's range, or an image and class that the trial has no score of.
            LeaseLostError: see `hold`.
            UnknownTrialError: the sweep has no such finished trial.
        """

        def work(connection: Connection) -> int:
            require_lease(connection, lease)
            finished = select(_TRIAL.hash).where(_TRIAL.hash == trial_hash, _TRIAL.state == TrialState.FINISHED)
            held = {"held_sweep": lease.sweep_id, "member": trial_hash}
            if connection.execute(finished.where(select(literal(1)).where(_IS_MEMBER).exists()), held).first() is None:
                raise UnknownTrialError(f"sweep {lease.sweep_id} has no finished trial {trial_hash!r}")
            return sum(_add_metrics(connection, trial_hash, score) for score in scores)

        return self.database.write(work)

    def fail(
        self,
        lease: Lease,
        attempt_id: int,
        kind: FailureKind,
        error: str,
        stderr_tail: str = "",
        *,
        requeue: bool,
        state: AttemptState = AttemptState.FAILED,
    ) -> None:
        """Ends a running attempt as failed or lost; its trial queues again, or has failed for good.

        Raises:
            LeaseLostError: see `hold`.
            AttemptEndedError: the attempt has ended otherwise. (Ended in the same state: nothing happens.)
        """
        if state not in (AttemptState.FAILED, AttemptState.LOST):
            raise ValueError(f"a failing attempt ends as failed or lost, not as {state.value}")
        self._end(
            lease,
            attempt_id,
            {"state": state, "kind": kind, "error": error, "stderr_tail": stderr_tail},
            {"state": TrialState.FAILED, "failure": kind, "error": error},
            requeue=requeue,
        )

    def prune(self, lease: Lease, attempt_id: int, reason: str = "") -> None:
        """Ends a running attempt and its trial as pruned: the search gave it up, its epochs stay.

        Raises:
            LeaseLostError: see `hold`.
            AttemptEndedError: the attempt has ended otherwise.
        """
        self._end(
            lease,
            attempt_id,
            {"state": AttemptState.PRUNED, "error": reason or None},
            {"state": TrialState.PRUNED, "error": reason or None},
            requeue=False,
        )

    def stop_attempt(self, lease: Lease, attempt_id: int, requeue: bool) -> None:
        """Ends a running attempt because somebody asked; its trial queues again, or is stopped.

        Raises:
            LeaseLostError: see `hold`.
            AttemptEndedError: the attempt has ended otherwise.
        """
        self._end(lease, attempt_id, {"state": AttemptState.STOPPED}, {"state": TrialState.STOPPED}, requeue=requeue)

    def _end(
        self,
        lease: Lease,
        attempt_id: int,
        attempt_values: Mapping[str, object],
        trial_values: Mapping[str, object],
        *,
        requeue: bool,
    ) -> None:
        def work(connection: Connection) -> None:
            require_lease(connection, lease)
            attempt = _of_lease(connection, lease, attempt_id)
            if attempt.state == attempt_values["state"]:
                return
            _refuse_ended(attempt)
            connection.execute(
                update(AttemptRow).where(AttemptRow.id == attempt_id).values({**attempt_values, "ended_at": now()})
            )
            values = {"state": TrialState.QUEUED} if requeue else {**trial_values, "finished_at": now()}
            connection.execute(update(TrialRow).where(TrialRow.hash == attempt.trial).values(values))

        self.database.write(work)


def _add_metrics(connection: Connection, trial_hash: str, score: Score) -> bool:
    row = (
        (ScoreRow.trial == trial_hash)
        & (ScoreRow.partition == score.partition)
        & (ScoreRow.case == score.case)
        & (ScoreRow.label == score.label)
    )
    # Another sweep that shares the trial may be adding, too.
    stored: Mapping[str, float | None] | None = connection.execute(
        select(ScoreRow.metrics).where(row).with_for_update()
    ).scalar_one_or_none()  # type: ignore[assignment]
    if stored is None:
        raise InvalidScoreError(
            f"trial {trial_hash} has no score of {score.partition} image {score.case!r}, class {score.label!r}; "
            "nothing was added"
        )
    values = _scores.added_values(trial_hash, score, stored)
    if len(values) == len(stored):
        return False
    connection.execute(update(ScoreRow).where(row).values(metrics=values))
    return True


def _claim(
    connection: Connection, lease: Lease, trial_hash: str, host: str, device: str | None, token: str
) -> Attempt | None:
    require_lease(connection, lease)
    wanted = {"held_sweep": lease.sweep_id, "member": trial_hash}
    number = connection.execute(_TAKE, wanted).scalar_one_or_none()
    if number is None:
        if (before := _made_before(connection, token)) is not None:
            return before
        if connection.execute(select(literal(1)).where(_IS_MEMBER), wanted).one_or_none() is None:
            raise UnknownTrialError(f"sweep {lease.sweep_id} has no trial {trial_hash!r}")
        if _free_orphan(connection, lease, trial_hash):
            number = connection.execute(_TAKE, wanted).scalar_one_or_none()
    if number is None:
        return None
    made = {
        "trial": trial_hash,
        "number": number,
        "sweep_id": lease.sweep_id,
        "fencing": lease.fencing,
        "token": token,
        "host": host,
        "device": device,
    }
    return to_attempt(connection.execute(_NEW_ATTEMPT, made).one())


def _made_before(connection: Connection, token: str) -> Attempt | None:
    """The attempt that this call made already: the commit's acknowledgement was lost, and this is its second run."""
    row = connection.execute(attempt_columns().where(AttemptRow.token == token)).one_or_none()
    return None if row is None else to_attempt(row)


def _free_orphan(connection: Connection, lease: Lease, trial_hash: str) -> bool:
    """Queues a trial again whose attempt belongs to another sweep with an expired lease."""
    attempt = connection.execute(
        select(AttemptRow.id, AttemptRow.sweep_id)
        .where(AttemptRow.trial == trial_hash, AttemptRow.state == AttemptState.RUNNING)
        .with_for_update()
    ).one_or_none()
    if attempt is None or attempt.sweep_id == lease.sweep_id:
        return False
    # The lock keeps the other sweep from renewing, and so from writing, until this is committed.
    other = connection.execute(
        lease_columns().where(LeaseRow.sweep_id == attempt.sweep_id).with_for_update(read=True)
    ).one()
    if end_of(other) > other.now:
        return False
    connection.execute(
        update(AttemptRow)
        .where(AttemptRow.id == attempt.id)
        .values(
            state=AttemptState.LOST,
            kind=FailureKind.LOST,
            error="the lease of its sweep ran out, and another sweep needed the trial",
            ended_at=now(),
        )
    )
    connection.execute(update(TrialRow).where(TrialRow.hash == trial_hash).values(state=TrialState.QUEUED))
    return True


_OF_LEASE = (
    select(AttemptRow.trial, AttemptRow.number, AttemptRow.state, AttemptRow.error)
    .where(AttemptRow.id == bindparam("attempt"), AttemptRow.sweep_id == bindparam("held_sweep"))
    .with_for_update()
)


def _of_lease(connection: Connection, lease: Lease, attempt_id: int) -> AttemptHead:
    row = connection.execute(_OF_LEASE, {"attempt": attempt_id, "held_sweep": lease.sweep_id}).one_or_none()
    if row is None:
        raise AttemptEndedError(f"sweep {lease.sweep_id} has no attempt {attempt_id}; nothing was written")
    return row


def _refuse_ended(attempt: AttemptHead) -> None:
    if attempt.state != AttemptState.RUNNING:
        why = f" ({attempt.error})" if attempt.error else ""
        raise AttemptEndedError(
            f"attempt {attempt.number} of trial {attempt.trial} is already {attempt.state}{why}; nothing was written"
        )


def _running(connection: Connection, lease: Lease, attempt_id: int) -> AttemptHead:
    attempt = _of_lease(connection, lease, attempt_id)
    _refuse_ended(attempt)
    return attempt


def _store_environment(connection: Connection, environment: Mapping[str, str]) -> str | None:
    if not environment:
        return None
    key = content_hash(dict(environment))
    insert_absent(connection, EnvironmentRow, [{"hash": key, "details": dict(environment)}])
    return key


def _store_history(connection: Connection, attempt: AttemptHead, attempt_id: int, result: TrialResult) -> None:
    if not result.history:
        return
    known: set[int] = set()
    before = None
    if result.resumed_from:
        known = set(connection.execute(select(EpochRow.epoch).where(EpochRow.trial == attempt.trial)).scalars())
        before = connection.execute(
            select(AttemptRow.id).where(AttemptRow.trial == attempt.trial, AttemptRow.number == attempt.number - 1)
        ).scalar_one_or_none()
    trained_by = {
        e.epoch: before if before is not None and e.epoch <= result.resumed_from else attempt_id for e in result.history
    }
    unreported = sum(e.steps for e in result.history if e.epoch not in known and trained_by[e.epoch] == before)
    if unreported:
        connection.execute(
            update(AttemptRow).where(AttemptRow.id == before).values(steps=AttemptRow.steps + unreported)
        )
    rows = [
        {**dataclasses.asdict(e), "trial": attempt.trial, "attempt_id": trained_by[e.epoch]} for e in result.history
    ]
    # An epoch that is there keeps the attempt that trained it.
    connection.execute(_put_epochs(connection.dialect.name, attempt_too=False), rows)


def _member(connection: Connection, lease: Lease, trial_hash: str) -> Trial:
    """The trial as the lease's sweep sees it."""
    return to_trial(connection.execute(member_columns(), {"held_sweep": lease.sweep_id, "member": trial_hash}).one())
