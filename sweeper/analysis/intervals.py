"""95% intervals of a mean. Pure numpy and scipy; the bootstrap has a fixed seed, and its weights are drawn once per n.

The interval of a difference between two losses belongs to its test (`hodges_lehmann`).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

RESAMPLES = 2000
"""Resamples of each percentile bootstrap (Efron & Tibshirani 1993, ch. 13)."""

_SEED = 20220101


def t_half_width(values: Floats, level: float = 0.95) -> float:
    """Half the width of Student's interval of the mean, as in the paper's tables; NaN below two values."""
    n = values.size
    if n < 2:
        return float("nan")
    return float(_quantile((1 + level) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))


@lru_cache(maxsize=256)
def _quantile(level: float, freedom: int) -> np.float64:
    """Of Student's t: SciPy takes a tenth of a millisecond, and most samples of a study have one size."""
    return np.float64(stats.t.ppf(level, freedom))


def t_half_widths(counts: Floats, deviations: Floats, level: float = 0.95) -> Floats:
    """`t_half_width` of many samples at once.

    Args:
        counts: how many values each has.
        deviations: the standard deviation (n − 1) of each.
        level: of the intervals.
    """
    with np.errstate(invalid="ignore"):
        widths = stats.t.ppf((1 + level) / 2, counts - 1) * deviations / np.sqrt(counts)
    return np.where(counts > 1, widths, np.nan)


def bootstrap_mean(values: Floats, level: float = 0.95) -> tuple[float, float]:
    """Percentile-bootstrap interval of the mean; (NaN, NaN) below two values."""
    if values.size < 2:
        return float("nan"), float("nan")
    resampled = _weights(values.size) @ values
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@lru_cache(maxsize=16)
def _weights(n: int) -> Floats:
    """Share of each value in each resample, shape (RESAMPLES, n)."""
    return np.random.default_rng(_SEED).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
