"""Reads an exported sweep's folder and checks all of it: nobody knows who wrote it.

What is let through could have been written here: known states, scores in their metric's range, specs that have the
hash under which they are stored, names that are names. The tables that grow with the images (epochs, scores) are read
in parts, so that a folder needs little memory whatever its size.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import BigInteger, Boolean, Double, Integer

from storage._scores import checked_values
from storage.columns import Json, Real
from storage.errors import StorageError, TransferError
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
from trials.checked import check_depth, check_types
from trials.errors import ExpectedError
from trials.places import is_dataset_name, is_hash, is_name
from trials.requests import from_stored
from trials.results import Score
from trials.spec import TrialSpec
from trials.splits import Split
from trials.states import AttemptState, FailureKind, SweepState, TrialState

Values: TypeAlias = dict[str, Any]
"""A row of a file, or the manifest, by name."""

Rows = list[Values]

MANIFEST = "sweep.json"
FORMAT = "sweeper sweep"
VERSION = 3
OLDER = (1, 2)
"""Export versions that are read besides: 1 had a column for each of six metrics, neither had groups."""

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

_LONGEST = 1_000_000
_METRIC = re.compile(r"[^\s(][^()]{0,79}(\([^()]{0,120}\))?")
_INT32, _INT64 = 2**31 - 1, 2**63 - 1


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
                    _refuse(row["trial"] not in trials, f"trial {_short(row['trial'])} is not in the export")
                    if table is EpochRow:
                        place = row["trial"], row["attempt"]
                        _refuse(place not in attempts, f"trial {row['trial']} has no attempt {row['attempt']}")
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
            f"{directory} has export version {_short(manifest.get('version'))}, this program reads up to {VERSION}; "
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
            _WHOLE(entry.get("rows"), f"rows of {table.__tablename__}")
        _check_sweep(sweep)
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
        _refuse(rows != entry["rows"], f"it has {rows} rows, the manifest says {entry['rows']}")
        most = MOST_MEASURED_ROWS if table in (EpochRow, ScoreRow) else MOST_ROWS
        _refuse(rows > most, f"it has {rows} rows; at most {most} are read")
        expected = arrow_columns(table)
        if table is ScoreRow and version == 1:
            expected = {**{n: pa.string() for n in ("trial", "partition", "case", "label")}, **_metrics_of_1(schema)}
        given = {field.name: field.type for field in schema}
        _refuse(len(given) != len(schema), "two columns have one name")
        for name, kind in given.items():
            _refuse(name not in expected, f"unknown column {_short(name)}")
            _refuse(kind != expected[name], f"column {name} is {kind}, not {expected[name]}")
        optional = {c.name for c in table.__table__.c if c.nullable or c.server_default is not None}
        for name in expected:
            missing = name not in given and not (version in OLDER and name in optional)
            _refuse(missing, f"column {name} is missing")


def _metrics_of_1(schema: pa.Schema) -> dict[str, pa.DataType]:
    names = [field.name for field in schema if field.name not in ("trial", "partition", "case", "label")]
    return {name: pa.float64() for name in names}


def _read(path: Path, table: type[Base], version: int) -> Iterator[Rows]:
    """The rows of a file, each checked by itself, some thousand at a time."""
    json_columns = [c.name for c in table.__table__.c if isinstance(c.type, Json)]
    required = [c.name for c in table.__table__.c if not c.nullable and c.name not in LEFT_OUT[table]]
    required += ["attempt"] if table is EpochRow else []
    check = _CHECKS[table]
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
                    _refuse(row.get(name) is None, f"{name} is missing in a row")
                check(row)
            yield rows


def _gather_metrics(row: Values) -> None:
    """A row of `score` in an export of version 1. A distance without a value was not computed."""
    values = {name: row.pop(name) for name in list(row) if name not in ("trial", "partition", "case", "label")}
    kept = {name: value for name, value in values.items() if value is not None or name not in ("hd95", "asd")}
    row["metrics"] = json.dumps(kept)


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# What one row may hold.

Rule: TypeAlias = Callable[[Any, str], None]
"""Refuses a value; its second argument says where it is."""


def _whole(low: int, high: int) -> Rule:
    def check(value: Any, where: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{where} = {_short(value)}; expected a whole number in [{low}, {high}]")

    return check


def _number(low: float, high: float) -> Rule:
    def check(value: Any, where: str) -> None:
        right = isinstance(value, int | float) and not isinstance(value, bool)
        if not right or not low <= value <= high:
            raise ValueError(f"{where} = {_short(value)}; expected a number in [{low:g}, {high:g}]")

    return check


def _any_number(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where} = {_short(value)}; expected a number")


def _word(kind: type[StrEnum]) -> Rule:
    def check(value: Any, where: str) -> None:
        if value not in list(kind):
            raise ValueError(f"{where} = {_short(value)}; expected one of {', '.join(kind)}")

    return check


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise ValueError(f"{where} = {_short(value)}; expected a text of at most {_LONGEST} signs")


def _short_text(value: Any, where: str) -> None:
    if not isinstance(value, str) or not value or len(value) > 1000:
        raise ValueError(f"{where} = {_short(value)}; expected a text of 1 to 1000 signs")


def _name(value: Any, where: str) -> None:
    if not isinstance(value, str) or not is_name(value):
        raise ValueError(f"{where} = {_short(value)}; expected 1 to 80 letters, digits, '_', '-' or '.'")


def _dataset(value: Any, where: str) -> None:
    if not isinstance(value, str) or not is_dataset_name(value):
        raise ValueError(f"{where} = {_short(value)}; expected 1 to 80 letters, digits, '_', '-', '.' or spaces")


def _hash(value: Any, where: str) -> None:
    if not isinstance(value, str) or not is_hash(value):
        raise ValueError(f"{where} = {_short(value)}; expected 16 hexadecimal digits")


def _key(value: Any, where: str) -> None:
    """A key of prepared data, which is empty before preparation."""
    if value != "":
        _name(value, where)


def _table(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{where} = {_short(value)}; expected a table")


def _texts(value: Any, where: str) -> None:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{where} = {_short(value)}; expected a list of texts")


def _truth(value: Any, where: str) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{where} = {_short(value)}; expected true or false")


_WHOLE, _LARGE, _SHARE, _LENGTH = _whole(0, _INT32), _whole(0, _INT64), _number(0, 1), _number(0, 1e15)
_MOMENT = _number(0, 1e11)
"""Seconds since the epoch; the limit is the year 5138."""

_SWEEP: Mapping[str, Rule] = {
    "name": _name, "state": _word(SweepState), "reason": _text, "grid": _table, "rehearsal": _truth,
    "description": _text, "created_at": _MOMENT, "finished_at": _MOMENT, "mlflow_run": _short_text,
    "details": _table, "fencing": _WHOLE,
}  # fmt: skip
_RULES: Mapping[type[Base], Mapping[str, Rule]] = {
    EnvironmentRow: {"hash": _hash, "details": _table},
    TrialRow: {
        "hash": _hash, "spec": _table, "label": _short_text, "dataset": _dataset, "loss": _short_text,
        "gamma": _number(0, 1e6), "repeat": _WHOLE, "seed": _LARGE, "results_version": _WHOLE,
        "state": _word(TrialState), "attempts": _WHOLE, "failure": _word(FailureKind), "error": _text,
        "epochs": _WHOLE, "best_epoch": _WHOLE, "val_loss": _any_number, "val_dsc": _SHARE, "test_dsc": _SHARE,
        "train_seconds": _LENGTH, "evaluate_seconds": _LENGTH, "peak_memory_mib": _LENGTH, "parameters": _LARGE,
        "environment": _hash, "mlflow_run": _short_text, "created_at": _MOMENT, "started_at": _MOMENT,
        "finished_at": _MOMENT, "sweep": _name,
    },
    MembershipRow: {"trial": _hash, "position": _WHOLE, "study": _short_text, "cost": _LENGTH},
    AttemptRow: {
        "trial": _hash, "number": _whole(1, _INT32), "fencing": _WHOLE, "token": _short_text,
        "state": _word(AttemptState), "kind": _word(FailureKind), "error": _text, "stderr_tail": _text, "host": _text,
        "pid": _WHOLE, "device": _text, "resumed_from": _WHOLE, "steps": _LARGE, "started_at": _MOMENT,
        "ended_at": _MOMENT, "sweep": _name,
    },
    EpochRow: {
        "trial": _hash, "epoch": _whole(1, _INT32), "loss": _any_number, "val_loss": _any_number,
        "val_dsc": _any_number, "learning_rate": _any_number, "steps": _LARGE, "seconds": _any_number,
        "attempt": _whole(1, _INT32),
    },
    ScoreRow: {
        "trial": _hash, "partition": _short_text, "case": _short_text, "label": _short_text, "group": _text,
        "metrics": _table,
    },
    SplitRow: {
        "hash": _hash, "dataset": _dataset, "prepared": _key, "settings": _table, "train": _texts, "validation": _texts,
        "test": _texts,
    },
    RequestRow: {
        "token": _short_text, "verb": _short_text, "arguments": _table, "created_at": _MOMENT, "done_at": _MOMENT,
        "outcome": _text,
    },
    SignificanceRow: {
        "position": _WHOLE, "dataset": _dataset, "label": _text, "metric": _short_text, "test": _short_text,
        "first": _short_text, "second": _short_text, "n": _WHOLE, "p": _any_number, "p_holm": _any_number,
        "effect": _any_number, "median_difference": _any_number, "low": _any_number, "high": _any_number,
        "scores_hash": _text,
    },
}  # fmt: skip


def _by_rules(rules: Mapping[str, Rule], row: Values, of: str) -> None:
    for name, value in row.items():
        if value is not None:
            rules[name](value, f"{of}.{name}")


def _check_sweep(row: Values) -> None:
    _refuse(bool(unknown := row.keys() - _SWEEP.keys()), f"unknown key {_short(next(iter(unknown), ''))} of the sweep")
    optional = ("finished_at", "mlflow_run")
    for name in _SWEEP:
        _refuse(row.get(name) is None and name not in optional, f"sweep.{name} is missing")
    _by_rules(_SWEEP, row, "sweep")
    for name in ("grid", "details"):
        check_depth(row[name], f"sweep.{name}")


def _check_environment(row: Values) -> None:
    _by_rules(_RULES[EnvironmentRow], row, "environment")
    right = all(isinstance(value, str) for value in row["details"].values())
    _refuse(not right, f"environment {row['hash']}: not all of its details are texts")
    text = json.dumps(row["details"], sort_keys=True, separators=(",", ":"))
    _refuse(
        hashlib.sha256(text.encode()).hexdigest()[:16] != row["hash"],
        f"environment {row['hash']} is not the hash of its details",
    )


def _check_trial(row: Values) -> None:
    _by_rules(_RULES[TrialRow], row, "trial")
    where = f"trial {row['hash']}"
    try:
        spec = TrialSpec.from_dict(row["spec"])
        check_types(spec)
        found = spec.hash
    except (ExpectedError, TypeError, AttributeError, ValueError, KeyError) as error:
        raise ValueError(f"{where}: its spec cannot be read: {error}") from error
    _refuse(found != row["hash"], f"{where}: its spec has the hash {found}")
    copies = {
        "dataset": spec.data.dataset, "loss": spec.loss.name, "repeat": spec.repeat, "seed": spec.seed,
        "results_version": spec.results_version,
    }  # fmt: skip
    for name, value in copies.items():
        _refuse(row[name] != value, f"{where}: {name} = {_short(row[name])}, its spec says {_short(value)}")
    _refuse(row["gamma"] not in (None, spec.loss.gamma), f"{where}: gamma = {row['gamma']}, not its spec's")
    _key(spec.data.prepared, f"{where}: prepared")
    _key(spec.data.split, f"{where}: split")


def _check_score(row: Values) -> None:
    _by_rules(_RULES[ScoreRow], row, "score")
    where = f"score of trial {row['trial']}"
    _refuse(row["partition"] not in ("validation", "test"), f"{where}: partition = {_short(row['partition'])}")
    for name in row["metrics"]:
        _refuse(_METRIC.fullmatch(name) is None, f"{where}: {_short(name)} is no name of a metric")
    score = Score(row["partition"], row["case"], row["label"], row["metrics"], row["group"])
    row["metrics"] = checked_values(row["trial"], score)


def _check_split(row: Values) -> None:
    _by_rules(_RULES[SplitRow], row, "split")
    split = Split.from_dict(row)
    _refuse(split.hash != row["hash"], f"split {row['hash']} is not the hash of its cases")


def _check_request(row: Values) -> None:
    _by_rules(_RULES[RequestRow], row, "request")
    try:
        from_stored(row["verb"], row["arguments"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"request {_short(row['verb'])} has wrong arguments ({error})") from error


def _rules_alone(table: type[Base]) -> Callable[[Values], None]:
    return lambda row: _by_rules(_RULES[table], row, table.__tablename__)


_CHECKS: Mapping[type[Base], Callable[[Values], None]] = {
    **{table: _rules_alone(table) for table in (MembershipRow, AttemptRow, EpochRow, SignificanceRow)},
    EnvironmentRow: _check_environment,
    TrialRow: _check_trial,
    ScoreRow: _check_score,
    SplitRow: _check_split,
    RequestRow: _check_request,
}


# What the rows say of each other.


def _check_together(sweep: Values, tables: Mapping[type[Base], Rows]) -> None:
    trials = _once(tables[TrialRow], "hash")
    _refuse(len(trials) > MOST_TRIALS, f"it has {len(trials)} trials; at most {MOST_TRIALS} are read")
    members = _once(tables[MembershipRow], "trial")
    _refuse(members.keys() != trials.keys(), "the trials of the sweep are not those that are listed")
    _once(tables[MembershipRow], "position")
    _once(tables[SignificanceRow], "position")
    _once(tables[AttemptRow], "token")
    _once(tables[RequestRow], "token")
    environments = _once(tables[EnvironmentRow], "hash")
    _once(tables[SplitRow], "hash")
    for row in tables[TrialRow]:
        environment = row["environment"]
        _refuse(environment not in (None, *environments), f"trial {row['hash']}: environment {environment} is missing")
    for row in tables[MembershipRow]:
        study = row["study"]
        ours = study is None or study.startswith(f"{sweep['name']}/")
        _refuse(not ours, f"trial {row['trial']}: study {_short(study)} is not of sweep {sweep['name']!r}")
    numbers: dict[str, list[int]] = {}
    for row in tables[AttemptRow]:
        _refuse(row["trial"] not in trials, f"attempt of trial {row['trial']}, which is not listed")
        numbers.setdefault(row["trial"], []).append(row["number"])
    for key, trial in trials.items():
        given, count = sorted(numbers.get(key, [])), trial["attempts"]
        _refuse(given != list(range(1, len(given) + 1)) or len(given) != count, f"trial {key}: {count} attempts are "
                f"counted, {len(given)} are listed")  # fmt: skip


def _once(rows: Rows, name: str) -> dict[Any, Values]:
    counts = Counter(row[name] for row in rows)
    twice = next((value for value, count in counts.items() if count > 1), None)
    _refuse(twice is not None, f"{name} {_short(twice)} is there twice")
    return {row[name]: row for row in rows}


def _refuse(wrong: bool, words: str) -> None:
    if wrong:
        raise ValueError(words)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _named:  # noqa: N801 (reads as a word of the language: `with _named(path):`)
    """Makes whatever is found wrong inside an error that names the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, MemoryError):
            raise TransferError(f"{self._path} takes more memory than an import may have; it was refused") from error
        known = (ValueError, TypeError, KeyError, OSError, OverflowError, RecursionError, pa.ArrowException)
        if isinstance(error, StorageError) and not isinstance(error, TransferError):
            raise TransferError(f"{self._path}: {error}") from error
        if isinstance(error, known):
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise TransferError(
                f"{self._path}: {lines[0][:400]}; the export was changed or damaged: export the sweep again"
            ) from error
