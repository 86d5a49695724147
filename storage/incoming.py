"""Reads an exported sweep's folder and checks all of it: nobody knows who wrote it.

What is let through could have been written here: known states, scores in their metric's range, specs that have the
hash under which they are stored, names that are names. The tables that grow with the images (epochs, scores) are read
in parts, so that a folder needs little memory whatever its size.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import BigInteger, Boolean, Double, Integer

from storage._result_columns import SCORE_KEYS
from storage.columns import Json, Real
from storage.errors import StorageError, TransferError
from storage.incoming_rows import CHECKS, WHOLE, Values, check_sweep, refuse, short
from storage.models import (
    AttemptRow,
    Base,
    EnvironmentRow,
    EpochRow,
    MembershipRow,
    RequestRow,
    ScoreRow,
    SignificanceRow,
    SplitRow,
    TrialRow,
)
from trials.checked import check_depth

Rows = list[Values]

MANIFEST = "sweep.json"
FORMAT = "sweeper sweep"
VERSION = 4
OLDER = (1, 2, 3)
"""Export versions that are read besides: 1 had a column for each of six metrics, 1 and 2 had no groups, and none of
them said how long epochs waited for their input."""

LEFT_OUT: Mapping[type[Base], frozenset[str]] = {
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
"""The tables of an export, and the columns that mean nothing in another database."""

ADDED: Mapping[type[Base], tuple[str, pa.DataType]] = {
    TrialRow: ("sweep", pa.string()),
    AttemptRow: ("sweep", pa.string()),
    EpochRow: ("attempt", pa.int64()),
}
"""What takes the place of these columns: name and type."""

MANIFEST_BYTES = 32 * 2**20
FILE_BYTES = 4 * 2**30
MOST_ROWS = 1_000_000
MOST_MEASURED_ROWS = 50_000_000
"""Of the tables of epochs and scores."""

MOST_TRIALS = 100_000
PART = 10_000
"""So many rows are read at once."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A folder whose small tables were read and found right.

    Attributes:
        sweep: the sweep's own row, with `fencing`.
        tables: the rows of every table but `epoch` and `score`.
        folder: where it is.
        version: of the export.
    """

    sweep: Values
    tables: Mapping[type[Base], Rows]
    folder: Path
    version: int

    @property
    def hashes(self) -> list[str]:
        """The sweep's trials."""
        return [row["hash"] for row in self.tables[TrialRow]]

    def parts(self, table: type[Base]) -> Iterator[Rows]:
        """The rows of `epoch` or `score`, checked, some thousand at a time.

        Raises:
            TransferError: a row that cannot be, or one that names what is not in the folder.
        """
        trials = set(self.hashes)
        attempts = {(row["trial"], row["number"]) for row in self.tables[AttemptRow]}
        path = self.folder / f"{table.__tablename__}.parquet"
        for rows in _read(path, table, self.version):
            with _named(path):
                for row in rows:
                    refuse(row["trial"] not in trials, f"trial {short(row['trial'])} is not in the export")
                    if table is EpochRow:
                        place = row["trial"], row["attempt"]
                        refuse(place not in attempts, f"trial {row['trial']} has no attempt {row['attempt']}")
                yield rows


def read_manifest(directory: Path) -> Values:
    """The manifest of an export that this program can import: `sweep`, the sweep's own row, and `files`.

    Raises:
        TransferError: no Parquet export of ours, or a newer one.
    """
    path = Path(directory) / MANIFEST
    fix = "name the folder of an export"
    try:
        if path.stat().st_size > MANIFEST_BYTES:
            raise TransferError(f"{path} has more than {MANIFEST_BYTES // 2**20} MiB; {fix}")
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TransferError(f"{path} cannot be read: {error}; {fix}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise TransferError(f"{path} is not the manifest of an export; {fix}")
    if manifest.get("version") not in (*OLDER, VERSION):
        raise TransferError(
            f"{directory} has export version {short(manifest.get('version'))}, this program reads up to {VERSION}; "
            "update the program: pip install --upgrade sweeper"
        )
    with _named(path):
        files, sweep = manifest.get("files"), manifest.get("sweep")
        if not isinstance(files, dict) or not isinstance(sweep, dict):
            raise ValueError("it needs the tables sweep and files")
        if any(name.endswith(".csv") for name in files):
            raise TransferError(f"{directory} is an export as CSV, which is for reading only; export again as Parquet")
        for table in LEFT_OUT:
            entry = files.get(f"{table.__tablename__}.parquet")
            if not isinstance(entry, dict):
                raise ValueError(f"it does not list {table.__tablename__}.parquet")
            WHOLE(entry.get("rows"), f"rows of {table.__tablename__}")
        check_sweep(sweep)
    return manifest


def read_folder(folder: Path) -> Incoming:
    """Reads and checks an export but for its epochs and scores, which `Incoming.parts` reads.

    Raises:
        TransferError: see `read_manifest`; a file that is missing, damaged or larger than is allowed; a row that
            could not have been written by this program, or that contradicts another.
    """
    manifest = read_manifest(folder)
    version = manifest["version"]
    tables: dict[type[Base], Rows] = {}
    for table in LEFT_OUT:
        path = folder / f"{table.__tablename__}.parquet"
        _check_file(path, table, manifest["files"][path.name], version)
        if table not in (EpochRow, ScoreRow):
            tables[table] = [row for part in _read(path, table, version) for row in part]
    with _named(folder):
        _check_together(manifest["sweep"], tables)
    return Incoming(manifest["sweep"], tables, folder, version)


def arrow_columns(table: type[Base]) -> dict[str, pa.DataType]:
    """The columns of a table's file."""
    kinds: dict[str, pa.DataType] = {}
    for name in stored_columns(table):
        kind = table.__table__.c[name].type
        if isinstance(kind, Boolean):
            kinds[name] = pa.bool_()
        elif isinstance(kind, Integer | BigInteger):
            kinds[name] = pa.int64()
        else:
            kinds[name] = pa.float64() if isinstance(kind, Double | Real) else pa.string()
    kinds.update([ADDED[table]] if table in ADDED else [])
    return kinds


def stored_columns(table: type[Base]) -> list[str]:
    """The table's own columns that an export has."""
    return [column.name for column in table.__table__.c if column.name not in LEFT_OUT[table]]


def _check_file(path: Path, table: type[Base], entry: Values, version: int) -> None:
    damaged = f"{path} is missing or damaged (its SHA-256 is not the manifest's); copy it again"
    if not path.is_file() or path.stat().st_size > FILE_BYTES or digest(path) != entry.get("sha256"):
        raise TransferError(damaged)
    with _named(path), pq.ParquetFile(path) as file:
        rows, schema = file.metadata.num_rows, file.schema_arrow
        refuse(rows != entry["rows"], f"it has {rows} rows, the manifest says {entry['rows']}")
        most = MOST_MEASURED_ROWS if table in (EpochRow, ScoreRow) else MOST_ROWS
        refuse(rows > most, f"it has {rows} rows; at most {most} are read")
        expected = arrow_columns(table)
        if table is ScoreRow and version == 1:
            expected = {**{n: pa.string() for n in SCORE_KEYS}, **_metrics_of_1(schema)}
        given = {field.name: field.type for field in schema}
        refuse(len(given) != len(schema), "two columns have one name")
        for name, kind in given.items():
            refuse(name not in expected, f"unknown column {short(name)}")
            refuse(kind != expected[name], f"column {name} is {kind}, not {expected[name]}")
        optional = {c.name for c in table.__table__.c if c.nullable or c.server_default is not None}
        for name in expected:
            missing = name not in given and not (version in OLDER and name in optional)
            refuse(missing, f"column {name} is missing")


def _metrics_of_1(schema: pa.Schema) -> dict[str, pa.DataType]:
    names = [field.name for field in schema if field.name not in SCORE_KEYS]
    return {name: pa.float64() for name in names}


def _read(path: Path, table: type[Base], version: int) -> Iterator[Rows]:
    """The rows of a file, each checked by itself, some thousand at a time."""
    json_columns = [c.name for c in table.__table__.c if isinstance(c.type, Json)]
    required = [c.name for c in table.__table__.c if not c.nullable and c.name not in LEFT_OUT[table]]
    required += ["attempt"] if table is EpochRow else []
    check = CHECKS[table]
    with _named(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=PART, use_threads=False):
            rows: Rows = batch.to_pylist()
            for row in rows:
                if table is ScoreRow and version == 1:
                    _gather_metrics(row)
                if table is ScoreRow and version < 3:
                    row["group"] = ""
                for name in json_columns:
                    text = row.get(name)
                    row[name] = None if text is None else json.loads(text)
                    check_depth(row[name], name)
                for name in required:
                    refuse(row.get(name) is None, f"{name} is missing in a row")
                check(row)
            yield rows


def _gather_metrics(row: Values) -> None:
    """A row of `score` in an export of version 1. A distance without a value was not computed."""
    values = {name: row.pop(name) for name in list(row) if name not in SCORE_KEYS}
    kept = {name: value for name, value in values.items() if value is not None or name not in ("hd95", "asd")}
    row["metrics"] = json.dumps(kept)


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_together(sweep: Values, tables: Mapping[type[Base], Rows]) -> None:
    trials = _once(tables[TrialRow], "hash")
    refuse(len(trials) > MOST_TRIALS, f"it has {len(trials)} trials; at most {MOST_TRIALS} are read")
    members = _once(tables[MembershipRow], "trial")
    refuse(members.keys() != trials.keys(), "the trials of the sweep are not those that are listed")
    _once(tables[MembershipRow], "position")
    _once(tables[SignificanceRow], "position")
    _once(tables[AttemptRow], "token")
    _once(tables[RequestRow], "token")
    environments = _once(tables[EnvironmentRow], "hash")
    _once(tables[SplitRow], "hash")
    for row in tables[TrialRow]:
        environment = row["environment"]
        refuse(environment not in (None, *environments), f"trial {row['hash']}: environment {environment} is missing")
    for row in tables[MembershipRow]:
        study = row["study"]
        ours = study is None or study.startswith(f"{sweep['name']}/")
        refuse(not ours, f"trial {row['trial']}: study {short(study)} is not of sweep {sweep['name']!r}")
    numbers: dict[str, list[int]] = {}
    for row in tables[AttemptRow]:
        refuse(row["trial"] not in trials, f"attempt of trial {row['trial']}, which is not listed")
        numbers.setdefault(row["trial"], []).append(row["number"])
    for key, trial in trials.items():
        given, count = sorted(numbers.get(key, [])), trial["attempts"]
        refuse(given != list(range(1, len(given) + 1)) or len(given) != count, f"trial {key}: {count} attempts are "
                f"counted, {len(given)} are listed")  # fmt: skip


def _once(rows: Rows, name: str) -> dict[Any, Values]:
    counts = Counter(row[name] for row in rows)
    twice = next((value for value, count in counts.items() if count > 1), None)
    refuse(twice is not None, f"{name} {short(twice)} is there twice")
    return {row[name]: row for row in rows}


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Makes whatever is found wrong inside an error that names the file."""
    try:
        yield
    except TransferError:
        raise
    except StorageError as error:
        raise TransferError(f"{path}: {error}") from error
    except (ValueError, TypeError, KeyError, OSError, OverflowError, RecursionError, pa.ArrowException) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise TransferError(
            f"{path}: {lines[0][:400]}; the export was changed or damaged: export the sweep again"
        ) from error
