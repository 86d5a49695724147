"""The lease: taking, renewing and giving back the right to write a sweep, and the check of it within each write."""

from __future__ import annotations

import datetime
import math
from functools import cache
from uuid import uuid4

from sqlalchemy import Connection, bindparam, select, update

from storage._statements import AnyRow, AnySelect, sweep_row
from storage.columns import now
from storage.database import Database
from storage.errors import LeaseHeldError, LeaseLostError
from storage.models import AttemptRow, LeaseRow, SweepRow, TrialRow
from storage.processes import is_alive
from storage.records import Lease
from trials.states import AttemptState, FailureKind, SweepState, TrialState

_HELD = (
    select(LeaseRow.holder, LeaseRow.fencing, LeaseRow.expires_at, now().label("now"))
    .where(LeaseRow.sweep_id == bindparam("held_sweep"))
    .with_for_update(read=True)
)
"""Built once: every write begins with it, and to build it takes longer than to run it."""


_CLOCK_SECONDS = 5.0
"""By so much clocks are corrected every day; a lease that ends this late is not out of the ordinary."""


def end_of(row: AnyRow) -> float:
    """When the lease in a row of `lease_columns` runs out, or ran out; not later than now if it is void.

    It is void when its holder's process has ended on this machine. One that ends later than now plus its length was
    written before the clock was set back: only a process that is known to live holds it still.
    """
    alive = is_alive(row.process)
    longest = math.inf if row.seconds is None else row.now + row.seconds
    if alive is False or (alive is None and row.expires_at > longest + _CLOCK_SECONDS):
        return float(min(row.expires_at, row.now))
    return float(min(row.expires_at, longest)) if alive else float(row.expires_at)


def require_lease(connection: Connection, lease: Lease) -> None:
    """Makes sure that `lease` is good until this transaction ends: a take-over waits for it.

    Raises:
        LeaseLostError: it was taken over, given back, or has run out.
    """
    row = connection.execute(_HELD, {"held_sweep": lease.sweep_id}).one_or_none()
    if row is None or (row.holder, row.fencing) != (lease.holder, lease.fencing):
        owner = "nobody" if row is None or not row.holder else f"{row.holder!r} (lease {row.fencing})"
        raise LeaseLostError(
            f"lease {lease.fencing} of {lease.holder!r} on sweep {lease.sweep_id} is lost: the sweep is now held by "
            f"{owner}; nothing was written. Continue with: sweeper resume"
        )
    if row.expires_at <= row.now:
        raise LeaseLostError(
            f"lease {lease.fencing} of {lease.holder!r} on sweep {lease.sweep_id} ran out "
            f"{row.now - row.expires_at:.1f} s ago; nothing was written. Renew it, or run: sweeper resume"
        )


@cache
def lease_columns() -> AnySelect:
    """SELECT of what `end_of` needs, and of the rest of a lease."""
    return select(*LeaseRow.__table__.c, now().label("now"))


class LeaseMethods:
    """The part of `Repository` about leases."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def acquire_lease(
        self, sweep_name: str, holder: str, seconds: float, *, running: bool = True, process: str = ""
    ) -> Lease:
        """Takes the sweep for `seconds`; attempts that an earlier holder left running become lost and queue again.

        Args:
            sweep_name: the sweep.
            holder: a name of this process that no other has, such as `host:pid:start`; not empty.
            seconds: until it runs out, above 0.
            running: whether the holder runs the sweep, whose state then becomes running; one that takes it only to
                write leaves the state alone.
            process: the holder's name by `storage.processes`, so that others on its machine see when it has ended.

        Raises:
            UnknownSweepError: there is no such sweep.
            LeaseHeldError: it is held, and has not run out.
        """
        if not holder or not seconds > 0:
            raise ValueError(f"a lease needs a holder and more than 0 seconds, not {holder!r} and {seconds}")
        token = uuid4().hex

        def work(connection: Connection) -> Lease:
            sweep = sweep_row(connection, sweep_name)
            mine = LeaseRow.sweep_id == sweep.id
            row = connection.execute(lease_columns().where(mine).with_for_update()).one()
            if row.token == token:  # the commit's acknowledgement was lost, and this is the second run of this call
                return Lease(sweep.id, row.holder, row.fencing, row.expires_at)
            ends = end_of(row)
            if row.holder and ends > row.now:
                until = datetime.datetime.fromtimestamp(ends, datetime.UTC)
                raise LeaseHeldError(
                    f"sweep {sweep_name!r} is held by {row.holder!r} until {until:%Y-%m-%d %H:%M:%S} UTC (for another "
                    f"{ends - row.now:.0f} s); stop that one, or wait until its lease runs out",
                    holder=row.holder,
                    expires_at=ends,
                )
            fencing = row.fencing + 1
            expires_at = connection.execute(
                update(LeaseRow)
                .where(mine)
                .values(
                    holder=holder,
                    fencing=fencing,
                    expires_at=now() + seconds,
                    token=token,
                    seconds=seconds,
                    process=process,
                )
                .returning(LeaseRow.expires_at)
            ).scalar_one()
            give_up_older(connection, sweep.id, fencing, row.holder)
            if running:
                state = {"state": SweepState.RUNNING, "reason": "", "finished_at": None}
                connection.execute(update(SweepRow).where(SweepRow.id == sweep.id).values(state))
            return Lease(sweep.id, holder, fencing, expires_at)

        return self.database.write(work)

    def renew_lease(self, lease: Lease, seconds: float) -> Lease:
        """Moves the end of `lease` to `seconds` from now. One that ran out while nobody took over can be renewed:
        its holder may have been suspended, or the database unreachable.

        Raises:
            LeaseLostError: it was taken over or given back.
        """

        def work(connection: Connection) -> Lease:
            expires_at = connection.execute(
                update(LeaseRow)
                .where(
                    LeaseRow.sweep_id == lease.sweep_id,
                    LeaseRow.holder == lease.holder,
                    LeaseRow.fencing == lease.fencing,
                )
                .values(expires_at=now() + seconds, seconds=seconds)
                .returning(LeaseRow.expires_at)
            ).scalar_one_or_none()
            if expires_at is None:
                require_lease(connection, lease)
            return Lease(lease.sweep_id, lease.holder, lease.fencing, expires_at or 0.0)

        return self.database.write(work)

    def release_lease(self, lease: Lease) -> None:
        """Gives `lease` back, so that another need not wait. Does nothing if it is lost already."""
        self.database.write(
            lambda connection: connection.execute(
                update(LeaseRow)
                .where(
                    LeaseRow.sweep_id == lease.sweep_id,
                    LeaseRow.holder == lease.holder,
                    LeaseRow.fencing == lease.fencing,
                )
                .values(holder="", process="", expires_at=now())
            )
        )

    def lease(self, sweep_name: str) -> Lease | None:
        """Who holds the sweep, None after it was released. Compare `expires_at` with `database.now()`: a lease of
        a dead coordinator stays here, run out, until it is taken over (see `end_of`)."""

        def work(connection: Connection) -> Lease | None:
            sweep = sweep_row(connection, sweep_name)
            row = connection.execute(lease_columns().where(LeaseRow.sweep_id == sweep.id)).one()
            return Lease(sweep.id, row.holder, row.fencing, end_of(row)) if row.holder else None

        return self.database.read(work)


def give_up_older(connection: Connection, sweep_id: int, fencing: int, holder: str) -> None:
    """Attempts that were made under an older lease and are running become lost, and their trials are queued again."""
    older = (
        AttemptRow.sweep_id == sweep_id,
        AttemptRow.state == AttemptState.RUNNING,
        AttemptRow.fencing < fencing,
    )
    connection.execute(
        update(TrialRow)
        .where(TrialRow.hash.in_(select(AttemptRow.trial).where(*older)), TrialRow.state == TrialState.RUNNING)
        .values(state=TrialState.QUEUED)
    )
    connection.execute(
        update(AttemptRow)
        .where(*older)
        .values(
            state=AttemptState.LOST,
            kind=FailureKind.LOST,
            error=f"its coordinator {holder!r} ended without releasing its lease",
            ended_at=now(),
        )
    )
