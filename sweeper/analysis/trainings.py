"""Two losses compared about new images and new trainings: a training run is chance, as an image is.

Each score belongs to a loss, a training run of that loss, and a unit: a patient or other group where groups are known,
an image where they are not. The model is the one of crossed random effects (unit, loss × unit, run within loss, unit ×
run), and the test the quasi-F of psycholinguistics (Clark 1973): the variance of a difference of means is the part of
the units plus the part of each loss's runs, less what both parts contain, with Satterthwaite's degrees of freedom. The
variance between runs is each loss's own, shrunk to the pooled one (as Smyth 2004 does for genes), since three runs
alone say little of it; so is the variance over units each pair's own, since six patients say as little.
docs/answers.md shows how the method was chosen, and `benchmarks/calibration.py` measures it.

Runs of two losses with one seed count as unrelated. The shared initial weights would make the interval too wide, never
too narrow, as long as they correlate the losses positively.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import stats

from sweeper.analysis.intervals import Floats

PRIOR_RUNS = 7.0
"""Degrees of freedom that the pooled run variance has against a loss's own. Fewer find less, more hide a single
unstable loss: with 7 the family-wise error is at most 10% even where one loss has three times the others' deviation."""

PRIOR_UNITS = 4.0
"""Degrees of freedom that the unit variance of all pairs has against a pair's own."""


@dataclass(frozen=True)
class LossScores:
    """The scores of one loss: `values[run, unit]`, NaN where a run did not score a unit (a cross-validation's folds).

    Units that the same runs scored form a block. Without folds there is one block of all runs and units.
    """

    values: Floats

    @cached_property
    def unit_means(self) -> Floats:
        """Each unit's mean over the runs that scored it, shape (units,)."""
        means: Floats = np.nanmean(self.values, axis=0)
        return means

    @cached_property
    def block_of_unit(self) -> npt.NDArray[np.int64]:
        """The number of each unit's block, shape (units,)."""
        return np.unique(~np.isnan(self.values), axis=1, return_inverse=True)[1].reshape(-1)

    @cached_property
    def blocks(self) -> tuple[Floats, ...]:
        """The scores of each block, shape (runs of the block, units of the block), without NaN."""
        parts = (self.values[:, self.block_of_unit == number] for number in range(self.block_of_unit.max() + 1))
        return tuple(part[~np.isnan(part[:, 0])] for part in parts)

    @property
    def runs(self) -> int:
        """How many runs scored the least scored unit."""
        return min(len(block) for block in self.blocks)

    @cached_property
    def freedom(self) -> int:
        """Degrees of freedom of `run_variance`; 0 for a single run."""
        return sum(len(block) - 1 for block in self.blocks)

    @cached_property
    def run_variance(self) -> float:
        """The variance of a run's mean score over the units, unit × run included; NaN for a single run."""
        if not self.freedom:
            return math.nan
        return sum(len(block) * float(block.mean(axis=1).var()) for block in self.blocks) / self.freedom

    @cached_property
    def residual_variance(self) -> float:
        """The variance of unit × run (and of all else that repeats of one unit and run would show); 0 if unknown."""
        squares = 0.0
        for block in self.blocks:
            rest = block - block.mean(axis=1, keepdims=True) - block.mean(axis=0) + block.mean()
            squares += float((rest**2).sum())
        return squares / self.residual_freedom if self.residual_freedom else 0.0

    @property
    def residual_freedom(self) -> int:
        """Degrees of freedom of `residual_variance`."""
        return sum((runs - 1) * (units - 1) for runs, units in (block.shape for block in self.blocks))

    def of_mean(self, run_variance: float) -> float:
        """The variance that runs of this variance give the mean over all units."""
        units = self.values.shape[1]
        return float(sum((block.shape[1] / units) ** 2 * run_variance / len(block) for block in self.blocks))


@dataclass(frozen=True, slots=True)
class RunVariance:
    """The variance between runs that several losses share, and its degrees of freedom."""

    pooled: float
    freedom: int

    @classmethod
    def of(cls, losses: Sequence[LossScores]) -> RunVariance:
        """Pools the losses that have two or more runs."""
        repeated = [loss for loss in losses if loss.freedom]
        freedom = sum(loss.freedom for loss in repeated)
        total = sum(loss.freedom * loss.run_variance for loss in repeated)
        return cls(total / freedom if freedom else math.nan, freedom)

    def shrunk(self, loss: LossScores) -> tuple[float, float]:
        """A loss's run variance, shrunk to the pooled one, with its degrees of freedom."""
        own = loss.run_variance if loss.freedom else 0.0
        return _shrunk(own, loss.freedom, self.pooled, self.freedom, PRIOR_RUNS)


@dataclass(frozen=True, slots=True)
class UnitVariance:
    """The variance over units of the difference of two losses, pooled over all pairs, and its degrees of freedom."""

    pooled: float
    freedom: int

    @classmethod
    def of(cls, losses: Sequence[LossScores]) -> UnitVariance:
        """Pools the losses that have two or more runs; they have the same units, in the same order."""
        repeated = [loss for loss in losses if loss.freedom]
        if len(repeated) < 2 or repeated[0].values.shape[1] < 2:
            return cls(math.nan, 0)
        means = np.stack([loss.unit_means for loss in repeated])
        squares, freedom = _within_blocks(means - means.mean(axis=0), repeated)
        return cls(2 * squares / (len(repeated) - 1), freedom * (len(repeated) - 1))

    def shrunk(self, own: float, own_freedom: int) -> tuple[float, float]:
        """A pair's variance, shrunk to the pooled one, with its degrees of freedom."""
        if not self.freedom:
            return own, float(own_freedom)
        return _shrunk(own, own_freedom, self.pooled, self.freedom, PRIOR_UNITS)


@dataclass(frozen=True, slots=True)
class Variances:
    """What the losses of one comparison share."""

    runs: RunVariance
    units: UnitVariance

    @classmethod
    def of(cls, losses: Sequence[LossScores]) -> Variances:
        """Of losses with the same units, in the same order."""
        return cls(RunVariance.of(losses), UnitVariance.of(losses))


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of two means with its standard error and degrees of freedom, about new units and new trainings."""

    estimate: float
    error: float
    freedom: float

    @property
    def p(self) -> float:
        """Two-sided p value of no difference."""
        return self.beyond(0.0)

    def beyond(self, value: float) -> float:
        """Two-sided p value of a true difference of `value`."""
        return float(p_values(self.estimate - value, self.error, self.freedom))

    def interval(self, alpha: float) -> tuple[float, float]:
        """The interval of level 1 − `alpha`."""
        width = float(half_widths(self.error, self.freedom, alpha))
        return self.estimate - width, self.estimate + width


def p_values(estimates: npt.ArrayLike, errors: npt.ArrayLike, freedoms: npt.ArrayLike) -> Floats:
    """Two-sided p values of no difference, of any shape. Many at once take hardly longer than one.

    Without a standard error (NaN) there is none; with one of 0, only a difference of exactly 0 is no difference.
    """
    estimates, errors, freedoms = (np.asarray(one, float) for one in (estimates, errors, freedoms))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = 2 * stats.t.sf(np.abs(estimates) / errors, freedoms)
    without = np.where(np.isnan(errors), np.nan, estimates == 0)
    result: Floats = np.where(errors > 0, found, without)
    return result


def half_widths(errors: npt.ArrayLike, freedoms: npt.ArrayLike, alpha: float) -> Floats:
    """Half the widths of the intervals of level 1 − `alpha`, of any shape; NaN without a standard error."""
    errors, freedoms = np.asarray(errors, float), np.asarray(freedoms, float)
    with np.errstate(invalid="ignore"):
        result: Floats = np.where(errors > 0, stats.t.ppf(1 - alpha / 2, freedoms) * errors, errors)
    return result


def _shrunk(own: float, own_freedom: int, pooled: float, pooled_freedom: int, prior: float) -> tuple[float, float]:
    """A variance, shrunk to the pooled one of so many `prior` degrees of freedom, with its own degrees of freedom."""
    freedom = prior + own_freedom
    return (prior * pooled + own_freedom * own) / freedom, min(freedom, float(pooled_freedom))


def compare_losses(first: LossScores, second: LossScores, variances: Variances) -> Difference:
    """The mean score of the first loss less that of the second, about new units and new trainings.

    Args:
        first: its scores; the same units as `second`, in the same order.
        second: the other loss's scores.
        variances: pooled over all losses that are compared on these units.

    Returns:
        The difference. Its error is NaN where one of the losses has a single run or there is a single unit.
    """
    differences = first.unit_means - second.unit_means
    estimate, units = float(differences.mean()), differences.size
    if not (first.freedom and second.freedom and units > 1):
        return Difference(estimate, math.nan, math.nan)
    within, within_freedom = variances.units.shrunk(*_within_blocks(differences, [first, second]))
    of_units = within / units
    parts = [(of_units, within_freedom)]
    for loss in (first, second):
        run_variance, freedom = variances.runs.shrunk(loss)
        parts.append((loss.of_mean(run_variance), freedom))
    total = sum(part for part, _ in parts)
    # Unit × run is in the units' part and in the runs': it is counted once, and no part may exceed the whole.
    twice = sum(loss.residual_variance / (units * len(loss.blocks[0])) for loss in (first, second))
    squared = max(total - twice, of_units, total - of_units)
    spread = sum(part**2 / freedom for part, freedom in parts)
    return Difference(estimate, math.sqrt(squared), squared**2 / spread if spread > 0 else math.inf)


def _within_blocks(values: Floats, losses: Sequence[LossScores]) -> tuple[float, int]:
    """The variance of values over units within the blocks of losses, and its degrees of freedom.

    A fold's networks move all differences of its block together, which is chance of runs and not of units.

    Args:
        values: the last axis is that of the units; the variance is summed over the others.
        losses: whose blocks count.
    """
    if all(len(loss.blocks) == 1 for loss in losses):
        number = np.zeros_like(losses[0].block_of_unit)
    else:
        blocks = np.stack([loss.block_of_unit for loss in losses])
        number = np.unique(blocks, axis=1, return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(number)
    freedom = number.size - sizes.size
    if not freedom:  # each unit is a block of its own
        number, sizes, freedom = np.zeros_like(number), np.array([number.size]), number.size - 1
    member = number == np.arange(sizes.size)[:, None]
    centred = values - ((values @ member.T) / sizes)[..., number]
    return float((centred**2).sum()) / freedom, freedom
