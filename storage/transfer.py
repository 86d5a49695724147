"""A sweep as a folder of files: Parquet to carry it into another database without loss, CSV for reading only.

The folder has one file for each table and a manifest, `sweep.json`, with the sweep itself and each file's rows and
SHA-256. The lease and the Optuna studies stay behind: the first is of its database, the second follow from the trials
(`Studies.record_finished` makes them again).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from sqlalchemy import BigInteger, Boolean, Connection, Double, Integer, select, update
from sqlalchemy.orm import aliased

from storage._statements import insert, insert_absent, insert_many, sweep_row
from storage.columns import Json, Real
from storage.errors import SweepConflictError, TransferError
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
from storage.repository import Repository
from trials import metrics
from trials.states import TrialState

MANIFEST = "sweep.json"
_FORMAT = "sweeper sweep"
_VERSION = 3
_OLDER = (1, 2)
"""Export versions that are read besides: 1 had a column for each of six metrics, neither had groups."""

# What a table leaves out: numbers that mean nothing in another database. What replaces them: (name, type).
_LEFT_OUT: Mapping[type[Base], frozenset[str]] = {
    EnvironmentRow: frozenset(),
    TrialRow: frozenset({"sweep_id"}),
    MembershipRow: frozenset({"sweep_id"}),
    AttemptRow: frozenset({"id", "sweep_id"}),
    EpochRow: frozenset({"attempt_id"}),
    ScoreRow: frozenset(),
    SplitRow: frozenset(),
    RequestRow: frozenset({"id", "sweep_id"}),
    SignificanceRow: frozenset({"sweep_id"}),
}
_ADDED: Mapping[type[Base], tuple[str, pa.DataType]] = {
    TrialRow: ("sweep", pa.string()),
    AttemptRow: ("sweep", pa.string()),
    EpochRow: ("attempt", pa.int64()),
}

Values: TypeAlias = dict[str, Any]
"""A row of a file, or the manifest, by name."""

Rows = list[Values]
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
        partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            partial.chmod(0o755)  # mkdtemp's 0700 would follow the folder
            _write_folder(partial, sweep, tables, format)
            os.replace(partial, directory)  # noqa: PTH105 (an empty folder is replaced, which Path.rename refuses)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise TransferError(f"{directory}: {error.strerror}: {error.filename}; name another place") from error
    return directory


def import_sweep(repository: Repository, directory: Path) -> Imported:
    """Brings an exported sweep into the database, wholly or not at all. Doing it again changes nothing.

    A trial that this database has tried already stays as it is here. If the sweep is here with the same trials, those
    that were never tried here take the folder's attempts and results. A trial or attempt that another sweep ran counts
    as that sweep's if one of its name is here, else as the imported one's.

    Raises:
        TransferError: no Parquet export of ours, a newer one, or a damaged file.
        SweepConflictError: a sweep of that name is here with other trials.
    """
    manifest, tables = _read_folder(Path(directory))
    return repository.database.write(lambda connection: _merge(connection, manifest["sweep"], tables))


def read_manifest(directory: Path) -> Values:
    """The manifest of an export that this program can import: `sweep`, the sweep's own row, and `files`.

    Raises:
        TransferError: no Parquet export of ours, or a newer one.
    """
    path = Path(directory) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TransferError(f"{path} cannot be read: {error}; name the folder of an export") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise TransferError(f"{path} is not the manifest of an export; name the folder of an export")
    if manifest.get("version") not in (*_OLDER, _VERSION):
        raise TransferError(
            f"{directory} has export version {manifest.get('version')!r}, this program reads up to {_VERSION}; "
            "update the program: pip install --upgrade sweeper"
        )
    if any(name.endswith(".csv") for name in manifest["files"]):
        raise TransferError(f"{directory} is an export as CSV, which is for reading only; export again as Parquet")
    return manifest


def _read_tables(connection: Connection, name: str) -> tuple[Values, Tables]:
    sweep = sweep_row(connection, name)
    lease = connection.execute(select(LeaseRow.fencing).where(LeaseRow.sweep_id == sweep.id)).scalar_one()
    members = select(MembershipRow.trial).where(MembershipRow.sweep_id == sweep.id)
    runner = aliased(SweepRow)
    own = {table: [table.__table__.c[c] for c in _stored_columns(table)] for table in _LEFT_OUT}
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
            for name, kind in _arrow_columns(table).items()
        }
        if format == "parquet":
            pq.write_table(pa.table(columns), path, compression="zstd")
        else:
            if table is ScoreRow:  # a person reads it: a column for each metric
                columns = {**columns, **_metric_columns(rows)}
                del columns["metrics"]
            pa_csv.write_csv(pa.table(columns), path)
        files[path.name] = {"rows": len(rows), "sha256": _digest(path)}
    manifest = {"format": _FORMAT, "version": _VERSION, "sweep": sweep, "files": files}
    text = json.dumps(manifest, indent=2, ensure_ascii=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _read_folder(folder: Path) -> tuple[Values, Tables]:
    manifest = read_manifest(folder)
    tables: Tables = {}
    for table in _LEFT_OUT:
        path = folder / f"{table.__tablename__}.parquet"
        expected = manifest["files"].get(path.name, {}).get("sha256")
        if not path.is_file() or _digest(path) != expected:
            raise TransferError(f"{path} is missing or damaged (its SHA-256 is not the manifest's); copy it again")
        rows: Rows = pq.read_table(path).to_pylist()
        if table is ScoreRow and manifest["version"] == 1:
            rows = [_with_metrics(row) for row in rows]
        if table is ScoreRow and manifest["version"] < 3:
            rows = [{**row, "group": ""} for row in rows]
        json_columns = [c.name for c in table.__table__.c if isinstance(c.type, Json)]
        for row in rows:
            for name in json_columns:
                row[name] = None if row[name] is None else json.loads(row[name])
        tables[table] = rows
    return manifest, tables


def _merge(connection: Connection, sweep: Values, tables: Tables) -> Imported:
    sweep_id = _merge_sweep(connection, sweep, tables)
    # Trials of this database that somebody tried here stay as they are.
    hashes = [row["hash"] for row in tables[TrialRow]]
    found = select(TrialRow.hash, TrialRow.attempts, TrialRow.state).where(TrialRow.hash.in_(hashes))
    here = {row.hash: row for row in connection.execute(found.with_for_update())}
    taken = {
        key for key in hashes
        if key not in here or (here[key].attempts == 0 and here[key].state == TrialState.QUEUED)
    }  # fmt: skip
    names = {row.name: row.id for row in connection.execute(select(SweepRow.name, SweepRow.id))}

    insert_absent(connection, EnvironmentRow, tables[EnvironmentRow])
    insert_absent(connection, SplitRow, tables[SplitRow])
    trials = [_with_sweep(row, names, sweep_id) for row in tables[TrialRow] if row["hash"] in taken]
    _put_trials(connection, trials, here)
    attempts = [_with_sweep(row, names, sweep_id) for row in tables[AttemptRow] if row["trial"] in taken]
    insert_many(connection, AttemptRow, attempts)
    ids = _attempt_ids(connection, sorted(taken))
    epochs = [row for row in tables[EpochRow] if row["trial"] in taken]
    for row in epochs:
        row["attempt_id"] = ids[row["trial"], row.pop("attempt")]
    insert_many(connection, EpochRow, epochs)
    insert_many(connection, ScoreRow, [row for row in tables[ScoreRow] if row["trial"] in taken])
    insert_absent(connection, MembershipRow, [{**row, "sweep_id": sweep_id} for row in tables[MembershipRow]])
    insert_absent(connection, RequestRow, [{**row, "sweep_id": sweep_id} for row in tables[RequestRow]])
    insert_absent(connection, SignificanceRow, [{**row, "sweep_id": sweep_id} for row in tables[SignificanceRow]])
    return Imported(sweep["name"], len(taken), len(hashes) - len(taken))


def _merge_sweep(connection: Connection, sweep: Values, tables: Tables) -> int:
    values = {key: value for key, value in sweep.items() if key != "fencing"}
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


def _stored_columns(table: type[Base]) -> list[str]:
    return [column.name for column in table.__table__.c if column.name not in _LEFT_OUT[table]]


def _arrow_columns(table: type[Base]) -> dict[str, pa.DataType]:
    kinds: dict[str, pa.DataType] = {}
    for name in _stored_columns(table):
        kind = table.__table__.c[name].type
        if isinstance(kind, Boolean):
            kinds[name] = pa.bool_()
        elif isinstance(kind, Integer | BigInteger):
            kinds[name] = pa.int64()
        else:
            kinds[name] = pa.float64() if isinstance(kind, Double | Real) else pa.string()
    kinds.update([_ADDED[table]] if table in _ADDED else [])
    return kinds


def _plain(table: type[Base], name: str, value: Any) -> Any:
    column = table.__table__.c.get(name)
    if column is not None and isinstance(column.type, Json) and value is not None:
        return json.dumps(value, separators=(",", ":"))
    return value


def _metric_columns(rows: Rows) -> dict[str, pa.Array]:
    names = metrics.in_order([*metrics.listed(), *(name for row in rows for name in row["metrics"])])
    return {
        name: pa.array([row["metrics"].get(name) for row in rows], type=pa.float64(), from_pandas=False)
        for name in names
    }


def _with_metrics(row: Values) -> Values:
    """A row of `score` in an export of version 1. A distance without a value was not computed."""
    keys = {name: row.pop(name) for name in ("trial", "partition", "case", "label")}
    values = {name: value for name, value in row.items() if value is not None or name not in ("hd95", "asd")}
    return {**keys, "metrics": json.dumps(values)}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
