"""What one row of an exported sweep may hold: known states, numbers in their range, names that are names, and specs and
splits that have the hash under which they are stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeAlias

from storage._scores import checked_values
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
from trials.spec import TrialSpec, content_hash
from trials.splits import Split
from trials.states import AttemptState, FailureKind, SweepState, TrialState

Values: TypeAlias = dict[str, Any]
"""A row of a file, or the manifest, by name."""

_LONGEST = 1_000_000
_METRIC = re.compile(r"[^\s(][^()]{0,79}(\([^()]{0,120}\))?")
_INT32, _INT64 = 2**31 - 1, 2**63 - 1


Rule: TypeAlias = Callable[[object, str], None]
"""Refuses a value; its second argument says where it is."""


def _whole(low: int, high: int) -> Rule:
    def check(value: object, where: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{where} = {short(value)}; expected a whole number in [{low}, {high}]")

    return check


def _number(low: float, high: float) -> Rule:
    def check(value: object, where: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"{where} = {short(value)}; expected a number in [{low:g}, {high:g}]")

    return check


def _any_number(value: object, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where} = {short(value)}; expected a number")


def _word(kind: type[StrEnum]) -> Rule:
    def check(value: object, where: str) -> None:
        if value not in list(kind):
            raise ValueError(f"{where} = {short(value)}; expected one of {', '.join(kind)}")

    return check


def _text(value: object, where: str) -> None:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise ValueError(f"{where} = {short(value)}; expected a text of at most {_LONGEST} signs")


def _short_text(value: object, where: str) -> None:
    if not isinstance(value, str) or not value or len(value) > 1000:
        raise ValueError(f"{where} = {short(value)}; expected a text of 1 to 1000 signs")


def _name(value: object, where: str) -> None:
    if not isinstance(value, str) or not is_name(value):
        raise ValueError(f"{where} = {short(value)}; expected 1 to 80 letters, digits, '_', '-' or '.'")


def _dataset(value: object, where: str) -> None:
    if not isinstance(value, str) or not is_dataset_name(value):
        raise ValueError(f"{where} = {short(value)}; expected 1 to 80 letters, digits, '_', '-', '.' or spaces")


def _hash(value: object, where: str) -> None:
    if not isinstance(value, str) or not is_hash(value):
        raise ValueError(f"{where} = {short(value)}; expected 16 hexadecimal digits")


def _key(value: object, where: str) -> None:
    """A key of prepared data, which is empty before preparation."""
    if value != "":
        _name(value, where)


def _table(value: object, where: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{where} = {short(value)}; expected a table")


def _texts(value: object, where: str) -> None:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{where} = {short(value)}; expected a list of texts")


def _truth(value: object, where: str) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{where} = {short(value)}; expected true or false")


WHOLE, _LARGE, _SHARE, _LENGTH = _whole(0, _INT32), _whole(0, _INT64), _number(0, 1), _number(0, 1e15)
_MOMENT = _number(0, 1e11)
"""Seconds since the epoch; the limit is the year 5138."""

_SWEEP: Mapping[str, Rule] = {
    "name": _name, "state": _word(SweepState), "reason": _text, "grid": _table, "rehearsal": _truth,
    "description": _text, "created_at": _MOMENT, "finished_at": _MOMENT, "mlflow_run": _short_text,
    "details": _table, "fencing": WHOLE,
}  # fmt: skip
_RULES: Mapping[type[Base], Mapping[str, Rule]] = {
    EnvironmentRow: {"hash": _hash, "details": _table},
    TrialRow: {
        "hash": _hash, "spec": _table, "label": _short_text, "dataset": _dataset, "loss": _short_text,
        "gamma": _number(0, 1e6), "repeat": WHOLE, "seed": _LARGE, "results_version": WHOLE,
        "state": _word(TrialState), "attempts": WHOLE, "failure": _word(FailureKind), "error": _text,
        "epochs": WHOLE, "best_epoch": WHOLE, "val_loss": _any_number, "val_dsc": _SHARE, "test_dsc": _SHARE,
        "train_seconds": _LENGTH, "evaluate_seconds": _LENGTH, "peak_memory_mib": _LENGTH, "parameters": _LARGE,
        "environment": _hash, "mlflow_run": _short_text, "created_at": _MOMENT, "started_at": _MOMENT,
        "finished_at": _MOMENT, "sweep": _name,
    },
    MembershipRow: {"trial": _hash, "position": WHOLE, "study": _short_text, "cost": _LENGTH},
    AttemptRow: {
        "trial": _hash, "number": _whole(1, _INT32), "fencing": WHOLE, "token": _short_text,
        "state": _word(AttemptState), "kind": _word(FailureKind), "error": _text, "stderr_tail": _text, "host": _text,
        "pid": WHOLE, "device": _text, "resumed_from": WHOLE, "steps": _LARGE, "started_at": _MOMENT,
        "ended_at": _MOMENT, "sweep": _name,
    },
    EpochRow: {
        "trial": _hash, "epoch": _whole(1, _INT32), "loss": _any_number, "val_loss": _any_number,
        "val_dsc": _any_number, "learning_rate": _any_number, "steps": _LARGE, "seconds": _any_number,
        "waited": _LENGTH, "attempt": _whole(1, _INT32),
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
        "position": WHOLE, "dataset": _dataset, "label": _text, "metric": _short_text, "test": _short_text,
        "first": _short_text, "second": _short_text, "n": WHOLE, "p": _any_number, "p_holm": _any_number,
        "effect": _any_number, "median_difference": _any_number, "low": _any_number, "high": _any_number,
        "scores_hash": _text,
    },
}  # fmt: skip


def _by_rules(rules: Mapping[str, Rule], row: Values, of: str) -> None:
    for name, value in row.items():
        if value is not None:
            rules[name](value, f"{of}.{name}")


def check_sweep(row: Values) -> None:
    """Refuses a sweep's own row in the manifest.

    Raises:
        ValueError: a key is unknown or missing, or a value cannot be.
    """
    refuse(bool(unknown := row.keys() - _SWEEP.keys()), f"unknown key {short(next(iter(unknown), ''))} of the sweep")
    optional = ("finished_at", "mlflow_run")
    for name in _SWEEP:
        refuse(row.get(name) is None and name not in optional, f"sweep.{name} is missing")
    _by_rules(_SWEEP, row, "sweep")
    for name in ("grid", "details"):
        check_depth(row[name], f"sweep.{name}")


def _check_environment(row: Values) -> None:
    _by_rules(_RULES[EnvironmentRow], row, "environment")
    right = all(isinstance(value, str) for value in row["details"].values())
    refuse(not right, f"environment {row['hash']}: not all of its details are texts")
    refuse(content_hash(row["details"]) != row["hash"], f"environment {row['hash']} is not the hash of its details")


def _check_trial(row: Values) -> None:
    _by_rules(_RULES[TrialRow], row, "trial")
    where = f"trial {row['hash']}"
    try:
        spec = TrialSpec.from_dict(row["spec"])
        check_types(spec)
        found = spec.hash
    except (ExpectedError, TypeError, AttributeError, ValueError, KeyError) as error:
        raise ValueError(f"{where}: its spec cannot be read: {error}") from error
    refuse(found != row["hash"], f"{where}: its spec has the hash {found}")
    copies = {
        "dataset": spec.data.dataset, "loss": spec.loss.name, "repeat": spec.repeat, "seed": spec.seed,
        "results_version": spec.results_version,
    }  # fmt: skip
    for name, value in copies.items():
        refuse(row[name] != value, f"{where}: {name} = {short(row[name])}, its spec says {short(value)}")
    refuse(row["gamma"] not in (None, spec.loss.gamma), f"{where}: gamma = {row['gamma']}, not its spec's")
    _key(spec.data.prepared, f"{where}: prepared")
    _key(spec.data.split, f"{where}: split")


def _check_score(row: Values) -> None:
    _by_rules(_RULES[ScoreRow], row, "score")
    where = f"score of trial {row['trial']}"
    refuse(row["partition"] not in ("validation", "test"), f"{where}: partition = {short(row['partition'])}")
    for name in row["metrics"]:
        refuse(_METRIC.fullmatch(name) is None, f"{where}: {short(name)} is no name of a metric")
    score = Score(row["partition"], row["case"], row["label"], row["metrics"], row["group"])
    row["metrics"] = checked_values(row["trial"], score)


def _check_split(row: Values) -> None:
    _by_rules(_RULES[SplitRow], row, "split")
    split = Split.from_dict(row)
    refuse(split.hash != row["hash"], f"split {row['hash']} is not the hash of its cases")


def _check_request(row: Values) -> None:
    _by_rules(_RULES[RequestRow], row, "request")
    try:
        from_stored(row["verb"], row["arguments"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"request {short(row['verb'])} has wrong arguments ({error})") from error


def _rules_alone(table: type[Base]) -> Callable[[Values], None]:
    return lambda row: _by_rules(_RULES[table], row, table.__tablename__)


CHECKS: Mapping[type[Base], Callable[[Values], None]] = {
    **{table: _rules_alone(table) for table in (MembershipRow, AttemptRow, EpochRow, SignificanceRow)},
    EnvironmentRow: _check_environment,
    TrialRow: _check_trial,
    ScoreRow: _check_score,
    SplitRow: _check_split,
    RequestRow: _check_request,
}
"""What refuses a row of each table, by a ValueError. A score's values are put into their stored form."""


def refuse(wrong: bool, words: str) -> None:
    """Raises a ValueError with these words if something is wrong."""
    if wrong:
        raise ValueError(words)


def short(value: object) -> str:
    """A value as a message shows it, at most 60 signs."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
