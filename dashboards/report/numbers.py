"""How the report writes numbers: every one is formatted here and nowhere else. A dash means that there is no number."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from datetime import UTC, datetime
from typing import Any

Number = float | int | None

Row = Mapping[Hashable, Any]
"""A row of a frame, whose columns have no types that pandas knows."""

NONE = "–"


def missing(value: Number) -> bool:
    """Whether there is no number: None or NaN."""
    return value is None or math.isnan(value)


def p_text(p: Number) -> str:
    """`< 0.001`, three decimals, or a dash where no test was made."""
    return "< 0.001" if not missing(p) and _real(p) < 0.001 else fixed(p)


def p_equals(p: float) -> str:
    """`< 0.001` or `= 0.012`."""
    return p_text(p) if p < 0.001 else f"= {p_text(p)}"


def fixed(value: Number, digits: int = 3) -> str:
    """`0.812`; `∞` where it is infinite."""
    return NONE if missing(value) else f"{_real(value):.{digits}f}".replace("inf", "∞")


def plain(value: Number) -> str:
    """As few digits as the number needs, at most six: `0.5`."""
    return NONE if missing(value) else f"{_real(value):g}"


def signed(value: Number, digits: int = 3) -> str:
    """`+0.012`, `−0.012`; `+∞` where it is infinite."""
    return NONE if missing(value) else f"{_real(value):+.{digits}f}".replace("-", "−").replace("inf", "∞")


def interval(low: Number, high: Number) -> str:
    """`−0.012 to +0.034`, or a dash where there is none."""
    return NONE if missing(low) or missing(high) else f"{signed(low)} to {signed(high)}"


def percent(value: Number) -> str:
    """`40%`."""
    return NONE if missing(value) else f"{100 * _real(value):.0f}%"


def _real(value: Number) -> float:
    return math.nan if value is None else float(value)


def time_text(seconds: float | None) -> str:
    """UTC, to the minute."""
    return NONE if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def first_line(text: str, limit: int = 300) -> str:
    """The first line of an error, cut where it is long."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
