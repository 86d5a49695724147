"""The two Wilcoxon tests for one pair of losses, each with its effect size and the shift that belongs to it.

Exact or approximate by R's rule (`wilcox.test`): the exact distribution where both samples have fewer than 50 values
and there are no ties (and, on pairs, no zero difference); otherwise the normal approximation corrected for ties and for
continuity. scipy's `ranksums` has neither correction, so `mannwhitneyu` computes the paper's rank-sum test here.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import stats

from sweeper.analysis.hodges_lehmann import Shift, rank_sum_shift, signed_rank_shift
from sweeper.analysis.intervals import Floats
from sweeper.analysis.statistical_tests import Comparison, StatisticalTest

EXACT_BELOW = 50
_DECIMALS = 12
"""Scores are compared at this precision, so that rounding in a mean over repeats makes no order of its own."""


def rank_sum(first: Floats, second: Floats) -> Comparison:
    """Wilcoxon's rank-sum (Mann–Whitney) test, which the paper uses. Takes the two losses' images as unrelated."""
    x, left_x = _finite(first)
    y, left_y = _finite(second)
    n, left_out = min(x.size, y.size), left_x + left_y
    if n < 2:
        return _untestable(n, left_out)
    smallest = _smallest_rank_sum_p(x.size, y.size)
    pooled = np.concatenate([x, y])
    if np.ptp(pooled) == 0:
        return _identical(n, left_out, smallest)
    exact = max(x.size, y.size) < EXACT_BELOW and np.unique(pooled).size == pooled.size
    result = stats.mannwhitneyu(x, y, use_continuity=True, method="exact" if exact else "asymptotic")
    effect = 2 * float(result.statistic) / (x.size * y.size) - 1
    return _comparison(float(result.pvalue), effect, rank_sum_shift(x, y, exact=exact), n, left_out, smallest)


def signed_rank(first: Floats, second: Floats) -> Comparison:
    """Wilcoxon's signed-rank test on the same images: `first[i]` and `second[i]` belong to one image.

    Zero differences are dropped (Wilcoxon 1945, as in R), from the estimate and its interval, too. Pairs with an
    undefined score, and images that only one of the losses has (NaN in the other), are counted as left out.
    """
    paired = np.isfinite(first) & np.isfinite(second)
    d = np.round(first[paired] - second[paired], _DECIMALS)
    left_out = int((~paired).sum())
    if d.size < 2:
        return _untestable(d.size, left_out)
    smallest = 2.0 ** (1 - d.size)
    nonzero = d[d != 0]
    if nonzero.size == 0:
        return _identical(d.size, left_out, smallest)
    size = np.abs(nonzero)
    exact = d.size < EXACT_BELOW and nonzero.size == d.size and np.unique(size).size == size.size
    method: Literal["exact", "approx"] = "exact" if exact else "approx"
    result = stats.wilcoxon(nonzero, correction=True, method=method)
    ranks = stats.rankdata(size)
    effect = float((ranks * np.sign(nonzero)).sum() / ranks.sum())
    shift = signed_rank_shift(nonzero, exact=exact)
    # Rounding can push the continuity-corrected approximation a hair above 1.
    return _comparison(min(float(result.pvalue), 1.0), effect, shift, d.size, left_out, smallest)


def _comparison(p: float, effect: float, shift: Shift, n: int, left_out: int, smallest: float) -> Comparison:
    return Comparison(p, effect, shift.estimate, shift.low, shift.high, n, left_out, smallest)


def _identical(n: int, left_out: int, smallest: float) -> Comparison:
    """Any other shift than 0 would be significant at once, where this many images can make one significant."""
    end = 0.0 if smallest < 0.05 else float("nan")
    return Comparison(1.0, 0.0, 0.0, end, end, n, left_out, smallest, "all scores are identical")


def _untestable(n: int, left_out: int) -> Comparison:
    nan = float("nan")
    note = "no image has both scores" if n == 0 else "a single image: nothing can be tested"
    return Comparison(nan, nan, nan, nan, nan, n, left_out, nan, note)


def _finite(values: Floats) -> tuple[Floats, int]:
    kept = values[np.isfinite(values)]
    return np.round(kept, _DECIMALS), values.size - kept.size


@lru_cache(maxsize=256)
def _smallest_rank_sum_p(n: int, m: int) -> float:
    return min(1.0, 2 / math.comb(n + m, n))


RANK_SUM_TEST = StatisticalTest(
    "rank_sum",
    "rank-sum",
    rank_sum,
    paired=False,
    sentence=(
        "The paper's test is the Wilcoxon rank-sum test (Mann–Whitney), two-sided, exact below 50 images without ties, "
        "else corrected for ties and continuity."
    ),
    estimate="Hodges–Lehmann, the median of all differences between an image of the first and one of the second loss",
)
SIGNED_RANK_TEST = StatisticalTest(
    "signed_rank",
    "signed-rank",
    signed_rank,
    paired=True,
    sentence="The signed-rank test uses that all losses segmented the same images.",
    estimate="Hodges–Lehmann, the median of the means of every two differences of one image",
)
