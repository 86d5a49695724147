"""Renaming a sweep and deleting one, each in one transaction with the Optuna studies that live in the same database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, literal, select, text, update

from storage import _optuna_rows
from storage._leases import LeaseMethods, end_of, give_up_older, lease_columns
from storage._statements import AnyRow, sweep_row, to_sweep
from storage.errors import LeaseHeldError, SweepConflictError, UnknownSweepError
from storage.models import (
    AttemptRow,
    Base,
    EnvironmentRow,
    EpochRow,
    LeaseRow,
    MembershipRow,
    RequestRow,
    ScoreRow,
    SignificanceRow,
    SplitRow,
    SweepRow,
    TrialRow,
)
from storage.records import Removal, Sweep

AT_ONCE = 500
"""So many trials are deleted by one statement."""


class RemovalMethods(LeaseMethods):
    """The part of `Repository` that renames and deletes whole sweeps."""

    def rename_sweep(self, name: str, new: str) -> Sweep:
        """Gives a sweep and its Optuna studies another name; its trials stay as they are.

        Raises:
            UnknownSweepError: there is no such sweep.
            SweepConflictError: another sweep has the new name.
            LeaseHeldError: somebody holds it.
        """
        mine: list[int] = []

        def work(connection: Connection) -> Sweep:
            try:
                sweep = _held_by_nobody(connection, name)
            except UnknownSweepError:
                if mine and (done := sweep_row(connection, new)).id == mine[0]:
                    return to_sweep(done)  # the commit's acknowledgement was lost, and this is its second run
                raise
            if connection.execute(select(SweepRow.id).where(SweepRow.name == new)).first() is not None:
                raise SweepConflictError(f"there is another sweep named {new!r}; give another name, or delete that one")
            values = {
                "name": new,
                "grid": {**sweep.grid, "name": new} if "name" in sweep.grid else sweep.grid,
                "details": _renamed_details(sweep.details, name, new),
            }
            connection.execute(update(SweepRow).where(SweepRow.id == sweep.id).values(**values))
            old, length = f"{name}/", len(name) + 1
            connection.execute(
                update(MembershipRow)
                .where(MembershipRow.sweep_id == sweep.id, func.substr(MembershipRow.study, 1, length) == old)
                .values(study=literal(f"{new}/") + func.substr(MembershipRow.study, length + 1))
            )
            _optuna_rows.rename_studies(connection, old, f"{new}/")
            mine[:] = [sweep.id]
            return to_sweep(sweep_row(connection, new))

        return self.database.write(work)

    def removal(self, name: str) -> Removal:
        """What `delete_sweep` would delete; changes nothing.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        return self.database.read(lambda connection: _removal(connection, sweep_row(connection, name)))

    def delete_sweep(self, name: str) -> Removal:
        """Deletes a sweep with its requests, its tests, its Optuna studies, and those of its trials that no other
        sweep has, with their attempts, epochs and scores. A trial that another sweep has stays with its result.

        Returns:
            What was deleted.

        Raises:
            UnknownSweepError: there is no such sweep.
            LeaseHeldError: somebody holds it.
        """
        last: list[Removal] = []

        def work(connection: Connection) -> Removal:
            if connection.dialect.name == "postgresql":
                # Nobody may make a sweep that shares one of the trials while these are deleted.
                connection.execute(text("LOCK TABLE trial, sweep_trial IN SHARE ROW EXCLUSIVE MODE"))
            try:
                sweep = _held_by_nobody(connection, name)
            except UnknownSweepError:
                if last:
                    return last[0]  # the commit's acknowledgement was lost, and this is its second run
                raise
            found = _removal(connection, sweep)
            _delete(connection, sweep.id, found.trials)
            _optuna_rows.delete_studies(connection, f"{name}/")
            last[:] = [found]
            return found

        return self.database.write(work)


def _held_by_nobody(connection: Connection, name: str) -> AnyRow:
    """The sweep's row, its lease locked until the transaction ends; what a dead holder left running is lost."""
    sweep = sweep_row(connection, name)
    row = connection.execute(lease_columns().where(LeaseRow.sweep_id == sweep.id).with_for_update()).one()
    if row.holder and (ends := end_of(row)) > row.now:
        raise LeaseHeldError(
            f"sweep {name!r} is run by {row.holder}; stop it first: sweeper stop {name}. If that process was killed, "
            f"the sweep is free in {ends - row.now:.0f} s",
            holder=row.holder,
            expires_at=ends,
        )
    give_up_older(connection, sweep.id, row.fencing + 1, row.holder)
    return sweep


def _removal(connection: Connection, sweep: AnyRow) -> Removal:
    members = select(MembershipRow.trial).where(MembershipRow.sweep_id == sweep.id)
    others = select(MembershipRow.trial).where(MembershipRow.sweep_id != sweep.id)
    rows = connection.execute(
        select(TrialRow.hash, TrialRow.mlflow_run, TrialRow.hash.in_(others).label("shared"))
        .where(TrialRow.hash.in_(members))
        .order_by(TrialRow.hash)
    ).all()
    doomed = [row for row in rows if not row.shared]
    hashes = [row.hash for row in doomed]
    return Removal(
        sweep=sweep.name,
        created_at=sweep.created_at,
        trials=tuple(hashes),
        kept=len(rows) - len(doomed),
        attempts=_count(connection, AttemptRow, hashes),
        epochs=_count(connection, EpochRow, hashes),
        scores=_count(connection, ScoreRow, hashes),
        studies=tuple(_optuna_rows.study_names(connection, f"{sweep.name}/")),
        mlflow_runs=tuple(row.mlflow_run for row in doomed if row.mlflow_run),
    )


def _delete(connection: Connection, sweep_id: int, hashes: Sequence[str]) -> None:
    for rows in (SignificanceRow, RequestRow):
        connection.execute(delete(rows).where(rows.sweep_id == sweep_id))
    splits = _splits(connection, hashes)
    for part in _parts(hashes):
        for own in (ScoreRow, EpochRow, AttemptRow, MembershipRow):
            connection.execute(delete(own).where(own.trial.in_(part)))
        connection.execute(delete(TrialRow).where(TrialRow.hash.in_(part)))
    # What other sweeps share is from now on another one's.
    for shared, key in ((AttemptRow, AttemptRow.trial), (TrialRow, TrialRow.hash)):
        heir = (
            select(func.min(MembershipRow.sweep_id))
            .where(MembershipRow.trial == key, MembershipRow.sweep_id != sweep_id)
            .scalar_subquery()
        )
        connection.execute(update(shared).where(shared.sweep_id == sweep_id).values(sweep_id=heir))
    connection.execute(delete(MembershipRow).where(MembershipRow.sweep_id == sweep_id))
    used = select(TrialRow.environment).where(TrialRow.environment.is_not(None))
    connection.execute(delete(EnvironmentRow).where(EnvironmentRow.hash.not_in(used)))
    for part in _parts(sorted(splits - _splits(connection))):
        connection.execute(delete(SplitRow).where(SplitRow.hash.in_(part)))
    connection.execute(delete(LeaseRow).where(LeaseRow.sweep_id == sweep_id))
    connection.execute(delete(SweepRow).where(SweepRow.id == sweep_id))


def _splits(connection: Connection, hashes: Sequence[str] | None = None) -> set[str]:
    """The hashes of the splits of these trials, or of all that are stored."""
    parts: Iterator[Sequence[str]] = _parts(hashes) if hashes is not None else iter(((),))
    found: set[str] = set()
    for part in parts:
        specs = select(TrialRow.spec) if hashes is None else select(TrialRow.spec).where(TrialRow.hash.in_(part))
        for spec in connection.execute(specs.execution_options(yield_per=1000)).scalars():
            data = spec.get("data") if isinstance(spec, Mapping) else None
            if isinstance(data, Mapping) and data.get("split"):
                found.add(str(data["split"]))
    return found


def _count(connection: Connection, rows: type[Base], hashes: Sequence[str]) -> int:
    trial = rows.__table__.c.trial
    return sum(
        connection.execute(select(func.count()).select_from(rows).where(trial.in_(part))).scalar_one()
        for part in _parts(hashes)
    )


def _parts(hashes: Sequence[str]) -> Iterator[Sequence[str]]:
    return (hashes[first : first + AT_ONCE] for first in range(0, len(hashes), AT_ONCE))


def _renamed_details(details: Any, name: str, new: str) -> Any:
    """A sweep's details, whose searches are kept under the names of their studies."""
    searches = details.get("search") if isinstance(details, Mapping) else None
    if not isinstance(searches, Mapping):
        return details
    renamed = {f"{new}/{key[len(name) + 1 :]}" if key.startswith(f"{name}/") else key: v for key, v in searches.items()}
    return {**details, "search": renamed}
