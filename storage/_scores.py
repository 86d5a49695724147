"""Checks a result completely before anything of it is written. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real

from storage.errors import InvalidScoreError
from trials.metrics import find
from trials.results import Score, TrialResult


def score_rows(trial: str, result: TrialResult) -> list[dict[str, object]]:
    """The rows of `score` for the trial.

    Raises:
        InvalidScoreError: a value outside its metric's range, NaN, not a number, no metric at all, or the same image
            and class twice.
    """
    seen: set[tuple[str, str, str]] = set()
    rows: list[dict[str, object]] = []
    for score in result.scores:
        key = (score.partition, score.case, score.label)
        if key in seen:
            raise InvalidScoreError(f"trial {trial}: {_where(score)} is scored twice; each image and class once")
        seen.add(key)
        values = checked_values(trial, score)
        own = {"partition": score.partition, "case": score.case, "label": score.label, "group": score.group}
        rows.append({"trial": trial, **own, "metrics": values})
    return rows


def checked_values(trial: str, score: Score) -> dict[str, float | None]:
    """The values of a score as they are stored.

    Raises:
        InvalidScoreError: a value outside its metric's range, NaN, or not a number.
    """
    return {name: _number(trial, score, name, value) for name, value in score.values.items()}


def added_values(trial: str, score: Score, stored: Mapping[str, float | None]) -> dict[str, float | None]:
    """The stored values of a row of `score` with those that it lacks; what is stored stays as it is.

    Raises:
        InvalidScoreError: a value outside its metric's range, NaN, or not a number.
    """
    added = {n: _number(trial, score, n, value) for n, value in score.values.items() if n not in stored}
    return {**stored, **added}


def _where(score: Score) -> str:
    return f"{score.partition} image {score.case!r}, class {score.label!r}"


def _number(trial: str, score: Score, name: str, value: object) -> float | None:
    """The value as a float. A metric of a plug-in that this process does not know may be any number."""
    if value is None:
        return None
    # numpy's scalars count as Real; a truth value is no score.
    if isinstance(value, bool) or not isinstance(value, Real) or float(value) != float(value):
        fault: str | None = "expected a number, or None where it is undefined"
    else:
        fault = None
    if (metric := find(name)) is not None:
        fault = metric.fault(value)
    if fault:
        raise InvalidScoreError(
            f"trial {trial}, {_where(score)}: {name} is {value!r}, {fault}; nothing of this trial was stored"
        )
    return float(value)  # type: ignore[arg-type]
