"""What may be said of a claim: that it holds, that it does not hold, or that it was not shown or not tested."""

from __future__ import annotations

import math
from collections.abc import Iterable

from sweeper.grids.schema import AnalysisTable

HOLDS, FAILS, NOT_SHOWN, UNTESTED = "holds", "does not hold", "not shown", "not tested"
MARGIN = AnalysisTable().margin
"""The difference of mean scores below which two losses count as equal, where a grid names no other."""

TWO_ONE_SIDED = 0.10
"""Of the interval that belongs to two one-sided tests at 5%, one less its level: it is that of 90%."""


def equivalence(low: float, high: float, margin: float) -> str:
    """Whether a difference is within ±`margin`, by its 90% interval: two one-sided tests at 5% (Schuirmann 1987).

    It holds where the whole interval lies within the margin, and does not where the whole interval lies outside. What
    is wider than that shows neither.
    """
    if math.isnan(low) or math.isnan(high):
        return UNTESTED
    if -margin < low and high < margin:
        return HOLDS
    return FAILS if low > margin or high < -margin else NOT_SHOWN


def of_all(verdicts: Iterable[str]) -> str:
    """The verdict of a claim that is made of several at once: each must hold, and one that fails refutes it."""
    found = list(verdicts)
    return next((verdict for verdict in (FAILS, UNTESTED, NOT_SHOWN) if verdict in found), HOLDS if found else UNTESTED)
