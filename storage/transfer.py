"""A sweep as a folder of files: Parquet to carry it into another database without loss, CSV for reading only.

The folder has one file for each table and a manifest, `sweep.json`, with the sweep itself and each file's rows and
SHA-256. The lease and the Optuna studies stay behind: the first is of its database, the second follow from the trials
(`Studies.record_finished` makes them again).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from sqlalchemy import Connection, select, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import aliased

from storage._statements import insert, insert_absent, insert_many, sweep_row
from storage.columns import Json, now
from storage.errors import SweepConflictError, TransferError
from storage.faults import first_line, is_transient
from storage.incoming import (
    FORMAT,
    LEFT_OUT,
    MANIFEST,
    VERSION,
    Incoming,
    Rows,
    arrow_columns,
    digest,
    read_folder,
    read_manifest,
    stored_columns,
)
from storage.incoming_rows import Values
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
from storage.records import IMPORTED
from storage.repository import Repository
from trials import metrics
from trials.memory import limited_memory
from trials.spreadsheets import harmless
from trials.states import AttemptState, FailureKind, SweepState, TrialState

__all__ = ["Imported", "export_sweep", "import_sweep", "read_manifest"]

MEMORY_MIB = 1536
"""So much more memory than the process has may an import take."""

_TOO_LARGE = "{} takes more memory than an import may have; it was refused"

Tables = dict[type[Base], Rows]


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import: the sweep's name, trials taken from the folder, and trials that were already there."""

    sweep: str
    taken: int
    kept: int


def export_sweep(
    repository: Repository, name: str, directory: Path, format: Literal["parquet", "csv"] = "parquet"
) -> Path:
    """Writes all of a sweep, as it is at one moment, into the new folder `directory`; returns the folder.

    The folder appears whole or not at all.

    Raises:
        UnknownSweepError: there is no such sweep.
        TransferError: the folder exists and is not empty, cannot be written, or the format is unknown.
    """
    if format not in ("parquet", "csv"):
        raise TransferError(f"unknown format {format!r}; expected 'parquet' or 'csv'")
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise TransferError(f"{directory} exists and is not an empty folder; name another")
    sweep, tables = repository.database.read(lambda connection: _read_tables(connection, name))
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        # Not by tempfile, whose folders are the user's alone: who may read it is decided by the umask.
        partial = directory.parent / f".{directory.name}-{secrets.token_hex(4)}"
        partial.mkdir()
        try:
            _write_folder(partial, sweep, tables, format)
            os.replace(partial, directory)  # noqa: PTH105 (an empty folder is replaced, which Path.rename refuses)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise TransferError(f"{directory}: {error.strerror}: {error.filename}; name another place") from error
    return directory


Admit = Callable[[Values, Sequence[Values]], None]
"""Looks at a sweep and its trials before they are stored, and raises what it refuses them with."""


def import_sweep(repository: Repository, directory: Path, admit: Admit | None = None) -> Imported:
    """Brings an exported sweep into the database, wholly or not at all. Doing it again changes nothing.

    Nobody knows who wrote the folder, so everything in it is checked as a write of this program's own is. What it says
    is data: a sweep that was queued or running comes in as stopped, its open requests as not carried out, and its
    details say that it was imported, so that code in them does not run (`sweeper.grids.details`).

    A trial that this database has tried already stays as it is here. If the sweep is here with the same trials, those
    that were never tried here take the folder's attempts and results. A trial or attempt that another sweep ran counts
    as that sweep's if one of its name was imported here, else as this one's.

    Args:
        repository: the database.
        directory: the folder.
        admit: looks at what this package does not know, such as the grid.

    Raises:
        TransferError: no Parquet export of ours, a newer one, or a damaged one; or it holds what cannot be.
        SweepConflictError: a sweep of that name is here with other trials.
    """
    with limited_memory(MEMORY_MIB):
        try:
            incoming = read_folder(Path(directory))
            if admit is not None:
                admit(incoming.sweep, incoming.tables[TrialRow])
            return repository.database.write(lambda connection: _merge(connection, incoming))
        except MemoryError as error:
            raise TransferError(_TOO_LARGE.format(directory)) from error
        except SQLAlchemyError as error:
            if isinstance(getattr(error, "orig", None), MemoryError):  # while a statement's values were made
                raise TransferError(_TOO_LARGE.format(directory)) from error
            if is_transient(error) or not isinstance(error, DBAPIError):
                raise
            raise TransferError(
                f"{directory} contradicts itself or this database: {first_line(error)}; nothing was imported"
            ) from error


def _read_tables(connection: Connection, name: str) -> tuple[Values, Tables]:
    sweep = sweep_row(connection, name)
    lease = connection.execute(select(LeaseRow.fencing).where(LeaseRow.sweep_id == sweep.id)).scalar_one()
    members = select(MembershipRow.trial).where(MembershipRow.sweep_id == sweep.id)
    runner = aliased(SweepRow)
    own = {table: [table.__table__.c[c] for c in stored_columns(table)] for table in LEFT_OUT}
    statements = {
        EnvironmentRow: select(*own[EnvironmentRow])
        .where(EnvironmentRow.hash.in_(select(TrialRow.environment).where(TrialRow.hash.in_(members))))
        .order_by(EnvironmentRow.hash),
        TrialRow: select(*own[TrialRow], runner.name.label("sweep"))
        .outerjoin(runner, runner.id == TrialRow.sweep_id)
        .where(TrialRow.hash.in_(members))
        .order_by(TrialRow.hash),
        MembershipRow: select(*own[MembershipRow])
        .where(MembershipRow.sweep_id == sweep.id)
        .order_by(MembershipRow.position),
        AttemptRow: select(*own[AttemptRow], runner.name.label("sweep"))
        .join(runner, runner.id == AttemptRow.sweep_id)
        .where(AttemptRow.trial.in_(members))
        .order_by(AttemptRow.id),
        EpochRow: select(*own[EpochRow], AttemptRow.number.label("attempt"))
        .join(AttemptRow, AttemptRow.id == EpochRow.attempt_id)
        .where(EpochRow.trial.in_(members))
        .order_by(EpochRow.trial, EpochRow.epoch),
        ScoreRow: select(*own[ScoreRow])
        .where(ScoreRow.trial.in_(members))
        .order_by(ScoreRow.trial, ScoreRow.partition, ScoreRow.case, ScoreRow.label),
        SplitRow: select(*own[SplitRow])
        .where(SplitRow.dataset.in_(select(TrialRow.dataset).where(TrialRow.hash.in_(members))))
        .order_by(SplitRow.hash),
        RequestRow: select(*own[RequestRow]).where(RequestRow.sweep_id == sweep.id).order_by(RequestRow.id),
        SignificanceRow: select(*own[SignificanceRow])
        .where(SignificanceRow.sweep_id == sweep.id)
        .order_by(SignificanceRow.position),
    }
    tables = {table: [dict(row._mapping) for row in connection.execute(s)] for table, s in statements.items()}
    values = {key: value for key, value in sweep._mapping.items() if key != "id"}
    return {**values, "fencing": lease}, tables


def _write_folder(folder: Path, sweep: Values, tables: Tables, format: str) -> None:
    files = {}
    for table, rows in tables.items():
        path = folder / f"{table.__tablename__}.{format}"
        columns = {
            name: pa.array([_plain(table, name, row[name]) for row in rows], type=kind, from_pandas=False)
            for name, kind in arrow_columns(table).items()
        }
        if format == "parquet":
            pq.write_table(pa.table(columns), path, compression="zstd")
        else:
            if table is ScoreRow:  # a person reads it: a column for each metric
                columns = {**columns, **_metric_columns(rows)}
                del columns["metrics"]
            pa_csv.write_csv(pa.table({name: _harmless(column) for name, column in columns.items()}), path)
        files[path.name] = {"rows": len(rows), "sha256": digest(path)}
    manifest = {"format": FORMAT, "version": VERSION, "sweep": sweep, "files": files}
    text = json.dumps(manifest, indent=2, ensure_ascii=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _merge(connection: Connection, incoming: Incoming) -> Imported:
    sweep, tables = incoming.sweep, incoming.tables
    sweep_id = _merge_sweep(connection, sweep, tables)
    # Trials of this database that somebody tried here stay as they are.
    hashes = incoming.hashes
    found = select(TrialRow.hash, TrialRow.attempts, TrialRow.state).where(TrialRow.hash.in_(hashes))
    here = {row.hash: row for row in connection.execute(found.with_for_update())}
    taken = {
        key for key in hashes
        if key not in here or (here[key].attempts == 0 and here[key].state == TrialState.QUEUED)
    }  # fmt: skip
    names = _imported_sweeps(connection)

    insert_absent(connection, EnvironmentRow, tables[EnvironmentRow])
    insert_absent(connection, SplitRow, tables[SplitRow])
    trials = [_with_sweep(_ended_trial(row), names, sweep_id) for row in tables[TrialRow] if row["hash"] in taken]
    _put_trials(connection, trials, here)
    attempts = [row for row in tables[AttemptRow] if row["trial"] in taken]
    insert_many(connection, AttemptRow, [_with_sweep(_ended_attempt(row), names, sweep_id) for row in attempts])
    ids = _attempt_ids(connection, sorted(taken))
    for part in incoming.parts(EpochRow):
        epochs = [dict(row) for row in part if row["trial"] in taken]
        for row in epochs:
            row["attempt_id"] = ids[row["trial"], row.pop("attempt")]
        insert_many(connection, EpochRow, epochs)
    for part in incoming.parts(ScoreRow):
        insert_many(connection, ScoreRow, [row for row in part if row["trial"] in taken])
    insert_absent(connection, MembershipRow, [{**row, "sweep_id": sweep_id} for row in tables[MembershipRow]])
    requests = [_done_request(row) for row in tables[RequestRow]]
    insert_absent(connection, RequestRow, [{**row, "sweep_id": sweep_id} for row in requests])
    insert_absent(connection, SignificanceRow, [{**row, "sweep_id": sweep_id} for row in tables[SignificanceRow]])
    return Imported(sweep["name"], len(taken), len(hashes) - len(taken))


def _imported_sweeps(connection: Connection) -> dict[str, int]:
    rows = connection.execute(select(SweepRow.name, SweepRow.id, SweepRow.details))
    return {row.name: row.id for row in rows if IMPORTED in row.details}


def _ended_trial(row: Values) -> Values:
    """A trial that ran when the sweep was exported does not run here."""
    return {**row, "state": TrialState.QUEUED} if row["state"] == TrialState.RUNNING else row


def _ended_attempt(row: Values) -> Values:
    if row["state"] != AttemptState.RUNNING:
        return row
    why = "it ran when the sweep was exported"
    return {**row, "state": AttemptState.LOST, "kind": FailureKind.LOST, "error": why, "ended_at": row["started_at"]}


def _done_request(row: Values) -> Values:
    if row["done_at"] is not None:
        return row
    return {**row, "done_at": row["created_at"], "outcome": "not carried out: the sweep was imported"}


def _merge_sweep(connection: Connection, sweep: Values, tables: Mapping[type[Base], Rows]) -> int:
    values = {key: value for key, value in sweep.items() if key != "fencing"}
    values["details"] = {**sweep["details"], IMPORTED: {"allowed": []}}
    if sweep["state"] in (SweepState.QUEUED, SweepState.RUNNING):
        again = f"sweeper resume {sweep['name']}"
        values.update(state=SweepState.STOPPED, reason=f"imported while {sweep['state']}; run it with: {again}")
        values["finished_at"] = now()
    made = connection.execute(
        insert(connection, SweepRow).values(values).on_conflict_do_nothing().returning(SweepRow.id)
    ).scalar_one_or_none()
    if made is not None:
        lease = {"sweep_id": made, "holder": "", "fencing": sweep["fencing"], "expires_at": 0.0, "token": ""}
        connection.execute(insert(connection, LeaseRow).values(lease))
        return int(made)
    sweep_id = int(sweep_row(connection, sweep["name"]).id)
    members = select(MembershipRow.trial).where(MembershipRow.sweep_id == sweep_id)
    if set(connection.execute(members).scalars()) != {row["trial"] for row in tables[MembershipRow]}:
        raise SweepConflictError(
            f"sweep {sweep['name']!r} is in this database with other trials; import into another database"
        )
    return sweep_id


def _put_trials(connection: Connection, trials: Rows, here: Mapping[str, object]) -> None:
    insert_many(connection, TrialRow, [row for row in trials if row["hash"] not in here])
    for row in trials:
        if row["hash"] in here:
            connection.execute(update(TrialRow).where(TrialRow.hash == row["hash"]).values(row))


def _attempt_ids(connection: Connection, hashes: Sequence[str]) -> dict[tuple[str, int], int]:
    statement = select(AttemptRow.trial, AttemptRow.number, AttemptRow.id).where(AttemptRow.trial.in_(hashes))
    return {(row.trial, row.number): row.id for row in connection.execute(statement)}


def _with_sweep(row: Values, names: Mapping[str, int], sweep_id: int) -> Values:
    values = dict(row)
    name = values.pop("sweep")
    values["sweep_id"] = None if name is None else names.get(name, sweep_id)
    return values


def _plain(table: type[Base], name: str, value: Any) -> Any:
    column = table.__table__.c.get(name)
    if column is not None and isinstance(column.type, Json) and value is not None:
        return json.dumps(value, separators=(",", ":"))
    return value


def _harmless(column: pa.Array) -> pa.Array:
    """A column of a CSV file in which no text is a formula of a spreadsheet."""
    if not pa.types.is_string(column.type):
        return column
    return pa.array([harmless(text) for text in column.to_pylist()], type=pa.string())


def _metric_columns(rows: Rows) -> dict[str, pa.Array]:
    names = metrics.in_order([*metrics.listed(), *(name for row in rows for name in row["metrics"])])
    return {
        name: pa.array([row["metrics"].get(name) for row in rows], type=pa.float64(), from_pandas=False)
        for name in names
    }
