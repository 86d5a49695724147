"""What may stand in an outcome: checks it wholly before anything is written. Pure."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from storage.errors import InvalidScoreError
from storage.records import Outcome, Score

SHARES = ("dsc", "iou", "precision", "recall")
DISTANCES = ("hd95", "asd")


def score_rows(trial: str, outcome: Outcome) -> list[dict[str, Any]]:
    """The rows of `score` for the trial.

    Raises:
        InvalidScoreError: a share outside [0, 1], a negative distance, NaN, not a number, or the same image and class
            twice; also a mean DSC of the outcome outside [0, 1].
    """
    seen: set[tuple[str, str, str]] = set()
    rows = []
    for score in outcome.scores:
        key = (score.partition, score.case, score.label)
        if key in seen:
            raise InvalidScoreError(f"trial {trial}: {_where(score)} is scored twice; each image and class once")
        seen.add(key)
        row: dict[str, Any] = {"trial": trial, "partition": key[0], "case": key[1], "label": key[2]}
        for name in SHARES:
            row[name] = _number(trial, _where(score), name, getattr(score, name), 1.0)
        for name in DISTANCES:
            row[name] = _number(trial, _where(score), name, getattr(score, name), math.inf)
        rows.append(row)
    for name in ("val_dsc", "test_dsc"):
        _number(trial, "the mean over images", name, getattr(outcome, name), 1.0)
    return rows


def _where(score: Score) -> str:
    return f"{score.partition} image {score.case!r}, class {score.label!r}"


def _number(trial: str, where: str, name: str, value: Any, high: float) -> float | None:
    if value is None:
        return None
    # numpy's scalars count as Real; a truth value is no score.
    if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= float(value) <= high:
        allowed = "a number in [0, 1]" if high == 1.0 else "a number of at least 0, or infinity"
        raise InvalidScoreError(
            f"trial {trial}, {where}: {name} is {value!r}, expected {allowed}, or None where it is undefined; "
            "nothing of this trial was stored"
        )
    return float(value)
