"""95% intervals of a mean and of a median. Pure numpy and scipy; every bootstrap has a fixed seed.

The bootstrap of a median needs only the middle rank of each resample, which depends on n alone; so the resampling is
done once per n, and each further interval costs one look-up.
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
    return float(stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))


def bootstrap_mean(values: Floats, level: float = 0.95) -> tuple[float, float]:
    """Percentile-bootstrap interval of the mean; (NaN, NaN) below two values."""
    if values.size < 2:
        return float("nan"), float("nan")
    return _percentiles(_weights(values.size) @ values, level)


def bootstrap_median(values: Floats, level: float = 0.95) -> tuple[float, float]:
    """Percentile-bootstrap interval of the median; (NaN, NaN) below two values."""
    if values.size < 2:
        return float("nan"), float("nan")
    return _percentiles(_resampled_medians(values, 0), level)


def bootstrap_median_gap(first: Floats, second: Floats, level: float = 0.95) -> tuple[float, float]:
    """Percentile-bootstrap interval of median(first) − median(second), both resampled on their own."""
    if min(first.size, second.size) < 2:
        return float("nan"), float("nan")
    return _percentiles(_resampled_medians(first, 0) - _resampled_medians(second, 1), level)


def _percentiles(resampled: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled_medians(values: Floats, stream: int) -> Floats:
    ordered = np.sort(values)
    lower, upper = _middle_ranks(values.size, stream)
    return (ordered[lower] + ordered[upper]) / 2


@lru_cache(maxsize=64)
def _middle_ranks(n: int, stream: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The ranks of the two middle values (the same one twice for odd n) of each resample of n values."""
    ranks = np.sort(np.random.default_rng((_SEED, stream)).integers(n, size=(RESAMPLES, n)), axis=1)
    return ranks[:, (n - 1) // 2].copy(), ranks[:, n // 2].copy()


@lru_cache(maxsize=16)
def _weights(n: int) -> Floats:
    """Share of each value in each resample, shape (RESAMPLES, n)."""
    return np.random.default_rng(_SEED).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
