"""Statements that several parts of the repository share: look-ups, row to record, insert-unless-there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from sqlalchemy import Connection, Executable, Row, Select, Table, Text, bindparam, literal, select, type_coerce
from sqlalchemy.orm import aliased

from storage.errors import UnknownSweepError
from storage.models import AttemptRow, Base, MembershipRow, RequestRow, SweepRow, TrialRow
from storage.records import Attempt, Request, Sweep, Trial
from trials.spec import TrialSpec
from trials.states import AttemptState, FailureKind, SweepState, TrialState

AnyRow: TypeAlias = Row[Any]
"""A row of whatever columns; `to_trial` and its like make records of it."""

AnySelect: TypeAlias = Select[Any]

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

    Insert = sqlite.Insert | postgresql.Insert


def insert(connection: Connection, table: type[Base]) -> Insert:
    """The database's own INSERT, which knows ON CONFLICT."""
    return insert_for(connection.dialect.name, table)


def insert_absent(connection: Connection, table: type[Base], rows: Sequence[Mapping[str, object]]) -> None:
    """Inserts those of `rows` whose key is not there; leaves the others as they are."""
    if rows:
        connection.execute(_insert_absent(connection.dialect.name, table), [dict(row) for row in rows])


def insert_many(connection: Connection, table: type[Base], rows: Sequence[Mapping[str, object]]) -> None:
    """Inserts `rows`; on a server by one INSERT statement for each 3,000 of them."""
    if rows:
        connection.execute(
            _insert_many(connection.dialect.name, table),
            [dict(row) for row in rows],
            execution_options={"insertmanyvalues_page_size": 3000},
        )


def table(rows: type[Base]) -> Table:
    """The table of a class of rows. Where it matters, statements are on tables and built once: to build one takes
    longer than to run it, and one of a class three times as long."""
    return cast(Table, rows.__table__)


@cache
def insert_for(dialect: str, rows: type[Base]) -> Insert:
    """The INSERT of a database of the dialect, see `insert`."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table(rows))
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table(rows))


@cache
def _insert_absent(dialect: str, rows: type[Base]) -> Insert:
    return insert_for(dialect, rows).on_conflict_do_nothing()


@cache
def _insert_many(dialect: str, rows: type[Base]) -> Executable:
    statement = insert_for(dialect, rows)
    # RETURNING is what makes SQLAlchemy put all rows into one statement in place of sending one for each.
    return statement.returning(literal(1)) if dialect == "postgresql" else statement


def sweep_row(connection: Connection, name: str) -> AnyRow:
    """The row of the sweep `name`.

    Raises:
        UnknownSweepError: there is none; the message names the nearest.
    """
    row = connection.execute(select(*SweepRow.__table__.c).where(SweepRow.name == name)).one_or_none()
    if row is not None:
        return row
    names = list(connection.execute(select(SweepRow.name).order_by(SweepRow.name)).scalars())
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are {len(names)}: sweeper status"
    raise UnknownSweepError(f"no sweep is named {name!r}; {hint}")


def to_sweep(row: AnyRow) -> Sweep:
    """The record of a full row of `sweep`."""
    return Sweep(**{**row._mapping, "state": SweepState(row.state)})


@cache
def attempt_columns() -> AnySelect:
    """SELECT of what `to_attempt` needs."""
    columns = AttemptRow.__table__.c
    return select(*(c for c in columns if c.name not in ("token", "fencing")))


def to_attempt(row: AnyRow) -> Attempt:
    """The record of a row of `attempt_columns`."""
    kind = None if row.kind is None else FailureKind(row.kind)
    return Attempt(**{**row._mapping, "state": AttemptState(row.state), "kind": kind})


@cache
def trial_columns() -> AnySelect:
    """SELECT of what `to_trial` needs: a trial as a member of a sweep, one row for each membership."""
    runner = aliased(SweepRow)
    columns = {**TrialRow.__table__.c, **MembershipRow.__table__.c, "sweep": runner.name.label("sweep")}
    columns["spec"] = type_coerce(TrialRow.spec, Text).label("spec")
    return (
        select(*(columns[name] for name in _TRIAL_FIELDS))
        .select_from(MembershipRow)
        .join(TrialRow, TrialRow.hash == MembershipRow.trial)
        .outerjoin(runner, runner.id == TrialRow.sweep_id)
    )


@cache
def member_columns() -> AnySelect:
    """The row for `to_trial` of the trial `member` of the sweep `held_sweep`."""
    return trial_columns().where(
        MembershipRow.sweep_id == bindparam("held_sweep"), MembershipRow.trial == bindparam("member")
    )


def to_trial(row: AnyRow) -> Trial:
    """The record of a row of `trial_columns`."""
    values = list(row)
    values[_SPEC] = TrialSpec.from_json(values[_SPEC])
    values[_STATE] = TrialState(values[_STATE])
    if values[_FAILURE] is not None:
        values[_FAILURE] = FailureKind(values[_FAILURE])
    return Trial(*values)


_TRIAL_FIELDS = tuple(field.name for field in fields(Trial))
_SPEC, _STATE, _FAILURE = map(_TRIAL_FIELDS.index, ("spec", "state", "failure"))
"""A sweep's thousands of trials are made by the places of their fields: by names takes three times as long."""


def to_request(row: AnyRow) -> Request:
    """The record of a row of `request`."""
    return Request(**{key: value for key, value in row._mapping.items() if key != "token"})


def request_columns() -> AnySelect:
    """SELECT of what `to_request` needs."""
    return select(*RequestRow.__table__.c)
