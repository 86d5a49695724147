"""Sums over everything that is remembered, for monitoring: one read, whose size does not grow with the trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, case, func, select

from storage._leases import end_of, lease_columns
from storage.database import Database
from storage.models import AttemptRow, LeaseRow, MembershipRow, SweepRow, TrialRow
from trials.states import AttemptState, FailureKind, SweepState, TrialState


@dataclass(frozen=True, slots=True)
class OpenSweep:
    """A sweep that is queued or running, or whose lease is held.

    Attributes:
        name: of the sweep.
        trials: how many are in each state; every state is there.
        lease_seconds: until the lease of its coordinator runs out; below 0 since it has; None when nobody holds it.
    """

    name: str
    trials: dict[TrialState, int]
    lease_seconds: float | None


@dataclass(frozen=True, slots=True)
class Totals:
    """Everything at one moment.

    Attributes:
        sweeps: how many are in each state; every state is there.
        open: the newest open sweeps, at most as many as were asked for.
        attempts: how many ended in each state, and how many run, of all time; every state is there.
        failures: how many attempts ended in each kind of failure, of all time; every kind is there.
        trial_seconds: how many finished trials took at most each of the given bounds (training and evaluation).
        trials_timed: how many finished trials there are with a time.
        trial_seconds_sum: what they took together.
    """

    sweeps: dict[SweepState, int]
    open: tuple[OpenSweep, ...]
    attempts: dict[AttemptState, int]
    failures: dict[FailureKind, int]
    trial_seconds: tuple[int, ...]
    trials_timed: int
    trial_seconds_sum: float


def read_totals(database: Database, bounds: Sequence[float], *, most_sweeps: int) -> Totals:
    """Reads the sums.

    Args:
        database: where everything is.
        bounds: upper bounds of seconds, rising.
        most_sweeps: so many open sweeps are told one by one.

    Raises:
        DatabaseUnavailableError: it is unreachable.
    """
    seconds = TrialRow.train_seconds + func.coalesce(TrialRow.evaluate_seconds, 0.0)

    def work(connection: Connection) -> Totals:
        by_state = select(SweepRow.state, func.count()).group_by(SweepRow.state)
        sweeps = {row[0]: row[1] for row in connection.execute(by_state)}
        by_end = select(AttemptRow.state, func.count()).group_by(AttemptRow.state)
        attempts = {row[0]: row[1] for row in connection.execute(by_end)}
        failed = select(AttemptRow.kind, func.count()).where(AttemptRow.kind.is_not(None)).group_by(AttemptRow.kind)
        failures = {row[0]: row[1] for row in connection.execute(failed)}
        timed = connection.execute(
            select(
                func.count(),
                func.coalesce(func.sum(seconds), 0.0),
                *(func.coalesce(func.sum(case((seconds <= bound, 1), else_=0)), 0) for bound in bounds),
            ).where(and_(TrialRow.state == TrialState.FINISHED, TrialRow.train_seconds.is_not(None)))
        ).one()
        return Totals(
            sweeps={state: sweeps.get(state.value, 0) for state in SweepState},
            open=_open_sweeps(connection, most_sweeps),
            attempts={state: attempts.get(state.value, 0) for state in AttemptState},
            failures={kind: failures.get(kind.value, 0) for kind in FailureKind},
            trial_seconds=tuple(int(count) for count in timed[2:]),
            trials_timed=int(timed[0]),
            trial_seconds_sum=float(timed[1]),
        )

    return database.read(work)


def _open_sweeps(connection: Connection, most: int) -> tuple[OpenSweep, ...]:
    rows = connection.execute(
        lease_columns()
        .add_columns(SweepRow.id, SweepRow.name)
        .join(SweepRow, LeaseRow.sweep_id == SweepRow.id)
        .where(SweepRow.state.in_((SweepState.QUEUED, SweepState.RUNNING)) | (LeaseRow.holder != ""))
        .order_by(SweepRow.id.desc())
        .limit(most)
    ).all()
    counts: dict[int, dict[TrialState, int]] = {row.id: dict.fromkeys(TrialState, 0) for row in rows}
    statement = (
        select(MembershipRow.sweep_id, TrialRow.state, func.count())
        .join(TrialRow, TrialRow.hash == MembershipRow.trial)
        .where(MembershipRow.sweep_id.in_(list(counts)))
        .group_by(MembershipRow.sweep_id, TrialRow.state)
    )
    for sweep, state, count in connection.execute(statement):
        counts[sweep][TrialState(state)] = count
    return tuple(OpenSweep(row.name, counts[row.id], end_of(row) - row.now if row.holder else None) for row in rows)
