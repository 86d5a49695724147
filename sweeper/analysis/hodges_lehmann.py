"""The shift between two losses that belongs to a Wilcoxon test: the Hodges–Lehmann estimate, and the test inverted.

A shift lies in the 95% interval where the test, made of the scores less that shift, gives p ≥ 0.05 (Hodges and Lehmann
1963; Bauer 1972; R's `wilcox.test(conf.int=TRUE)`). Both tests only count how many of the candidates lie above the
shift: the Walsh averages of the pairs' differences for the signed-rank test, all differences between the two samples
for the rank-sum test. So the ends are order statistics of the candidates: as many are cut off at each side as the
test's critical value says. In three things this is not R:

- Where no scores of this many images could give p < 0.05, R shows the whole range of the candidates with a lower
  level; here there is no interval (NaN).
- In the normal approximation the variance is that of the test, ties included, for every shift; R takes that of the
  shifted scores. By this the interval excludes 0 where the test gives p < 0.05. Where candidates are 0 themselves, an
  end can be exactly 0, whichever side of 0.05 p is.
- The ends are candidates; R finds them by a search, to four digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt
from scipy import stats

from sweeper.analysis.intervals import Floats

_TAIL_OF = 40
"""A tail of the test at 0.05, two-sided, is one part in so many."""

_SORTED_AT_ONCE = 200_000
"""Up to so many candidates are made and partitioned; of more, each end is found by bisection, in far less memory."""

_DIGITS = 13
"""Candidates are halves and differences of scores of 12 digits."""

_HALVINGS = 60

_Counts = npt.NDArray[np.int64]

_Below = Callable[[Floats], _Counts]
"""How many candidates are at most each of some shifts."""


@dataclass(frozen=True, slots=True)
class Shift:
    """By how much the first loss is above the second: the estimate, and its interval (NaN where there is none)."""

    estimate: float
    low: float
    high: float


def signed_rank_shift(differences: Floats, *, exact: bool) -> Shift:
    """The shift of the signed-rank test.

    Args:
        differences: of the pairs, first less second, none of them zero.
        exact: whether the test was; else it was the normal approximation, corrected for ties and continuity.
    """
    n = differences.size
    candidates = n * (n + 1) // 2
    if exact:
        cut = _exact_signed_rank_cut(n)
    else:
        ties = np.unique(np.abs(differences), return_counts=True)[1].astype(float)
        variance = n * (n + 1) * (2 * n + 1) / 24 - float((ties**3 - ties).sum()) / 48
        cut = _approximate_cut(candidates, variance)
    if candidates <= _SORTED_AT_ONCE:
        first, second = _pairs(n)
        return _of_all((differences[first] + differences[second]) / 2, cut)
    # Every Walsh average of two images occurs twice among all sums, that of an image with itself once.
    ordered = np.sort(differences)

    def below(shifts: Floats) -> _Counts:
        both: _Counts = np.searchsorted(ordered, 2 * shifts[:, None] - ordered, side="right").sum(axis=1)
        return (both + np.searchsorted(ordered, shifts, side="right")) // 2

    return _by_bisection(below, candidates, cut, float(ordered[0]), float(ordered[-1]))


def rank_sum_shift(x: Floats, y: Floats, *, exact: bool) -> Shift:
    """The shift of the rank-sum test between two unrelated samples; `exact` as in `signed_rank_shift`."""
    n, m = x.size, y.size
    if exact:
        cut = _exact_rank_sum_cut(min(n, m), max(n, m))
    else:
        ties = np.unique(np.concatenate([x, y]), return_counts=True)[1].astype(float)
        total = n + m
        variance = n * m / 12 * (total + 1 - float((ties**3 - ties).sum()) / (total * (total - 1)))
        cut = _approximate_cut(n * m, variance)
    if n * m <= _SORTED_AT_ONCE:
        return _of_all(np.subtract.outer(x, y).ravel(), cut)
    ordered = np.sort(y)

    def below(shifts: Floats) -> _Counts:
        # x − y ≤ shift where y ≥ x − shift.
        above: _Counts = np.searchsorted(ordered, x - shifts[:, None], side="left").sum(axis=1)
        return n * m - above

    return _by_bisection(below, n * m, cut, float(x.min() - y.max()), float(x.max() - y.min()))


def _of_all(candidates: Floats, cut: int) -> Shift:
    """The ends are the `cut`-th candidates from either side; there are none where it is 0."""
    places = _places(candidates.size, cut)
    ordered = np.partition(candidates, places)
    return _shift([float(ordered[place]) for place in places])


def _by_bisection(below: _Below, size: int, cut: int, lowest: float, highest: float) -> Shift:
    """The same where the candidates can only be counted, of which none lies outside `lowest` and `highest`."""
    places = np.array(_places(size, cut))
    low, high = np.full(places.size, lowest - 1.0), np.full(places.size, highest)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        reached = below(middle) > places
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return _shift([float(value) for value in high])


def _places(size: int, cut: int) -> list[int]:
    """Where the two middle ones of the ordered candidates are, and both ends of the interval."""
    return [(size - 1) // 2, size // 2, *([cut - 1, size - cut] if cut else [])]


def _shift(values: list[float]) -> Shift:
    """Rounded to what the scores have, so that half of a sum has no digits of its own."""
    low, high = values[2:] or (math.nan, math.nan)
    return Shift(*(round(value, _DIGITS) for value in ((values[0] + values[1]) / 2, low, high)))


def _approximate_cut(candidates: int, variance: float) -> int:
    """With fewer than so many candidates on one side of 0 the normal approximation gives p below 0.05."""
    distance = float(stats.norm.isf(1 / _TAIL_OF)) * math.sqrt(max(variance, 0.0))
    return max(math.ceil(candidates / 2 - 0.5 - distance), 0)


@lru_cache(maxsize=64)
def _exact_signed_rank_cut(n: int) -> int:
    """The same for the exact test of n pairs: each sign of each rank is equally likely."""
    ways = [1]
    for rank in range(1, n + 1):
        longer = [0] * (len(ways) + rank)
        for place, count in enumerate(ways):
            longer[place] += count
            longer[place + rank] += count
        ways = longer
    return _first_above_tail(ways, 2**n)


@lru_cache(maxsize=256)
def _exact_rank_sum_cut(n: int, m: int) -> int:
    """The same for the exact test of n and m images: each order of the two samples is equally likely.

    The counts are the coefficients of the Gaussian binomial Π (1 − q^(m+i)) / (1 − q^i), i = 1 … n.
    """
    size = n * m // 2 + 1
    ways = [1] + [0] * (size - 1)
    for i in range(1, n + 1):
        for place in range(size - 1, m + i - 1, -1):
            ways[place] -= ways[place - m - i]
        for place in range(i, size):
            ways[place] += ways[place - i]
    return _first_above_tail(ways, math.comb(n + m, n))


def _first_above_tail(ways: list[int], total: int) -> int:
    """The smallest count whose probability, with all smaller ones, is at least 0.025; the sums are exact."""
    for place, reached in enumerate(accumulate(ways)):
        if reached * _TAIL_OF >= total:
            return place
    raise ValueError(f"{len(ways)} counts reach no tail of 1 in {_TAIL_OF}")


@lru_cache(maxsize=4)
def _pairs(n: int) -> tuple[_Counts, _Counts]:
    """The indices of all pairs of n images, each with itself too."""
    first, second = np.triu_indices(n)
    return first, second
