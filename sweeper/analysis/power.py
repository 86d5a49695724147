"""How much is enough: which difference between two losses a study would find, and how many repeats find a given one.

A study is a number of losses, of runs of each, and of test images. By the variance components of the scores, the error
of a difference and its degrees of freedom follow as in `trainings.compare_losses`, and the power from the noncentral t
distribution. The level is that of Holm's first step over all pairs of losses: a single pair that differs must pass it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import combinations
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import optimize, stats

from sweeper.analysis.common_units import CommonUnits
from sweeper.analysis.significance import ALPHA
from sweeper.analysis.trainings import PRIOR_RUNS, PRIOR_UNITS, LossScores, RunVariance
from sweeper.units import listing

POWER = 0.8
"""The share of studies that find a difference, above which it is called found."""

TARGET = 0.01
"""The difference in DSC for which the repeats are counted."""

MOST_REPEATS = 1000
"""More repeats than this are never asked for."""

FEW_REPEATS = 20
"""Up to so many further repeats are proposed."""

ASSUMED_SOURCE = "assumed"


@dataclass(frozen=True, slots=True)
class Components:
    """The standard deviations of a score's random parts.

    Attributes:
        loss_unit: loss × unit: on which images (or groups) a loss does better or worse than on average.
        run: of a training run's mean.
        unit_run: unit × run: what is left.
        source: "assumed", or the sweep from whose scores they were estimated; empty for the scores at hand.
    """

    loss_unit: float
    run: float
    unit_run: float
    source: str = ASSUMED_SOURCE

    @property
    def assumed(self) -> bool:
        """Whether no scores stand behind them."""
        return self.source == ASSUMED_SOURCE


ASSUMED = Components(loss_unit=0.02, run=0.013, unit_run=0.021)
"""Run and unit × run as measured with Dice on nuclei images (five seeds); loss × unit is a guess of the same size."""


@dataclass(frozen=True, slots=True)
class Design:
    """A study of some losses on one data set and class.

    Attributes:
        losses: how many are compared.
        runs: of each loss, that score each unit.
        units: test images, or groups where they are known.
        folds: of a cross-validation: so many networks share the units of one repeat.
    """

    losses: int
    runs: int
    units: int
    folds: int = 1

    @property
    def level(self) -> float:
        """The level that the smallest p value must reach, with Holm over all pairs."""
        return ALPHA / math.comb(self.losses, 2)

    @property
    def possible(self) -> bool:
        """Whether anything can be said about new trainings: two losses, two runs, two units of each fold."""
        return self.losses > 1 and self.runs > 1 and self.units > self.folds


@dataclass(frozen=True, slots=True)
class Enough:
    """What a study can find on one data set and class.

    Attributes:
        dataset: the data set.
        label: the class; empty where it holds for each.
        unit: "images" or "groups".
        design: the study.
        components: what was assumed or estimated.
        finds: the difference that `POWER` of such studies find; NaN with one run of each loss.
        repeats: how many repeats find `TARGET`; None where `MOST_REPEATS` do not.
    """

    dataset: str
    label: str
    unit: str
    design: Design
    components: Components
    finds: float
    repeats: int | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "dataset": self.dataset,
            "label": self.label or None,
            "metric": "dsc",
            "losses": self.design.losses,
            "runs": self.design.runs,
            "units": self.design.units,
            "unit": self.unit,
            "folds": self.design.folds,
            "power": POWER,
            "finds": None if math.isnan(self.finds) else round(self.finds, 6),
            "target": TARGET,
            "repeats": self.repeats,
            "components": asdict(self.components),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        design = Design(values["losses"], values["runs"], values["units"], values["folds"])
        known = {field.name: values["components"][field.name] for field in fields(Components)}
        finds = math.nan if values["finds"] is None else values["finds"]
        label = values["label"] or ""
        return cls(values["dataset"], label, values["unit"], design, Components(**known), finds, values["repeats"])


def enough(dataset: str, label: str, unit: str, design: Design, components: Components) -> Enough:
    """What a study can find, and how many repeats it needs for `TARGET`."""
    return Enough(
        dataset, label, unit, design, components, findable(design, components), repeats_for(TARGET, design, components)
    )


def power_of(difference: float, design: Design, components: Components) -> float:
    """The share of such studies that find a difference between two losses; NaN with one run of each."""
    error, freedom = error_of(design, components)
    if math.isnan(error):
        return math.nan
    if error == 0:
        return float(difference != 0)
    return _power(abs(difference) / error, freedom, design.level)


def findable(design: Design, components: Components) -> float:
    """The difference that `POWER` of such studies find; NaN with one run of each loss."""
    error, freedom = error_of(design, components)
    if math.isnan(error) or error == 0:
        return error
    needed = float(stats.t.isf(design.level / 2, freedom))
    return error * float(
        optimize.brentq(lambda shift: _power(shift, freedom, design.level) - POWER, 0.0, 2 * needed + 10)
    )


def repeats_for(difference: float, design: Design, components: Components) -> int | None:
    """The fewest repeats with which `POWER` of studies find a difference; None where `MOST_REPEATS` do not."""

    def found(runs: int) -> bool:
        return power_of(difference, replace(design, runs=runs), components) >= POWER

    if not replace(design, runs=2).possible or not found(MOST_REPEATS):
        return None
    low, high = 1, MOST_REPEATS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def error_of(design: Design, components: Components) -> tuple[float, float]:
    """The expected standard error of a difference of two losses, and its degrees of freedom; NaN with one run."""
    if not design.possible:
        return math.nan, math.nan
    rest = components.unit_run**2 / design.runs
    of_units = 2 * (components.loss_unit**2 + rest) / design.units
    of_loss = components.run**2 / (design.runs * design.folds) + rest / design.units
    squared = of_units + 2 * components.run**2 / (design.runs * design.folds)
    own = design.folds * (design.runs - 1)
    freedom = min(PRIOR_RUNS + own, design.losses * own)
    own_units = design.units - design.folds
    freedom_units = min(PRIOR_UNITS + own_units, (design.losses - 1) * own_units)
    spread = of_units**2 / freedom_units + 2 * of_loss**2 / freedom
    return math.sqrt(squared), squared**2 / spread if spread > 0 else math.inf


def components_of(common: CommonUnits, source: str) -> Components | None:
    """The components of the scores of several losses, by the method of moments; None where no run was repeated.

    Args:
        common: the losses on the units that all have.
        source: the sweep, for the reader.
    """
    losses = list(common.losses.values())
    if not common.new_trainings:
        return None
    runs = float(np.mean([loss.runs for loss in losses]))
    rest = _pooled(losses)
    within = float(np.mean([1 / block.shape[1] for loss in losses for block in loss.blocks]))
    run = max(RunVariance.of(losses).pooled - rest * within, 0.0)
    # Half the variance of the difference of two losses over units is loss × unit and what the runs leave of the rest.
    halves = [(a.unit_means - b.unit_means).var(ddof=1) / 2 for a, b in combinations(losses, 2)]
    folds = max(len(loss.blocks) for loss in losses)
    of_folds = run / runs if folds > 1 else 0.0
    loss_unit = max(float(np.mean(halves)) - rest / runs - of_folds, 0.0)
    return Components(math.sqrt(loss_unit), math.sqrt(run), math.sqrt(rest), source)


def enough_of(run_scores: pd.DataFrame, source: str = "") -> tuple[Enough, ...]:
    """What the study that these scores are of could find, for each data set and class.

    Args:
        run_scores: as `rankings.rank_losses` takes it.
        source: the sweep, for a reader of its components elsewhere.

    Returns:
        One for each data set and class with two losses. Where no run was repeated the components are `ASSUMED`.
    """
    found = []
    for (dataset, label), rows in run_scores.groupby(["dataset", "label"], sort=True, observed=True):
        common = CommonUnits.of(rows, "dsc")
        if common is None:
            continue
        losses = common.losses.values()
        design = Design(
            losses=len(common.losses),
            runs=min(loss.runs for loss in losses),
            units=common.units,
            folds=max(len(loss.blocks) for loss in losses),
        )
        components = components_of(common, source) or ASSUMED
        found.append(enough(str(dataset), str(label), common.unit, design, components))
    return tuple(found)


def finds_text(one: Enough) -> str:
    """A clause: `80% of studies of 8 losses with 3 runs each on 12 images find a difference of 0.066 in DSC`."""
    design = one.design
    study = f"{design.losses} losses with {_count(design.runs, 'run')} each on {design.units} {one.unit}"
    if design.folds > 1:
        study += f" in {design.folds} folds"
    if design.runs < 2:
        return f"{study} find nothing about new trainings: that needs repeats"
    if not design.possible:
        return f"{study} are too few to find anything"
    return f"{POWER:.0%} of studies of {study} find a difference of {one.finds:.3f} in DSC"


def repeats_text(one: Enough) -> str:
    """A clause: `a difference of 0.01 needs 45 repeats`."""
    if one.repeats is None:
        return f"no number of repeats finds {TARGET:g} on {one.design.units} {one.unit}; more {one.unit} are needed"
    return f"a difference of {TARGET:g} needs {one.repeats} repeats"


def components_text(components: Components) -> str:
    """Where the components come from, and how large they are."""
    sweep = f"sweep {components.source}" if components.source else "these scores"
    where = "assumed" if components.assumed else f"estimated from {sweep}"
    return (
        f"standard deviations {where}: run {components.run:.3f}, loss × image {components.loss_unit:.3f}, "
        f"image × run {components.unit_run:.3f}"
    )


def plan_lines(found: Sequence[Enough]) -> list[str]:
    """Two lines on what a planned study would find: over all its data sets, the least and the most."""
    if not found:
        return []
    if any(one.design.runs < 2 for one in found):
        thrice = [
            enough(one.dataset, one.label, one.unit, replace(one.design, runs=3), one.components) for one in found
        ]
        start = "power: one run of each loss says nothing about new trainings; with 3 repeats "
    else:
        thrice, start = list(found), "power: "
    known = sorted((one for one in thrice if one.design.possible), key=lambda one: one.finds)
    if not known:
        return ["power: too few test images to find anything"]
    least, most = known[0], known[-1]
    differences = f"{least.finds:.3f} in DSC ({_where(least)})"
    if most.finds - least.finds >= 0.0005:
        differences = f"{least.finds:.3f} ({_where(least)}) to {most.finds:.3f} ({_where(most)}) in DSC"
    by = "; ".join(dict.fromkeys(components_text(one.components) for one in known))
    lacking = [one for one in known if one.repeats is None]
    if len(lacking) == len(known):
        needed = f"no number of them finds {TARGET:g} on so few test images"
    elif lacking:
        needed = f"no number of repeats finds {TARGET:g} on {listing([_where(one) for one in lacking])}"
    else:
        needed = f"{TARGET:g} needs {max(one.repeats or 0 for one in known)} repeats"
    return [f"{start}{POWER:.0%} of such studies find a difference of {differences}", f"repeats: {needed} ({by})"]


def power_lines(found: Sequence[Enough]) -> list[str]:
    """What a study that ran would find, place by place, and what more would."""
    if not found:
        return ["no two losses have finished on two images of the same data set: there is nothing to compare yet"]
    lines = []
    for one in found:
        lines += [f"{_where(one)}: {finds_text(one)}", f"  {components_text(one.components)}"]
        if more := what_more_would_tell(one):
            lines.append(f"  {more}")
    return lines


def what_more_would_tell(one: Enough) -> str:
    """A sentence on what more runs would find; empty where these runs find `TARGET`, or no repeats help."""
    design, components = one.design, one.components
    if not replace(design, runs=2).possible or (design.possible and one.finds <= TARGET):
        return ""
    if one.repeats is not None and design.possible and one.repeats - design.runs <= FEW_REPEATS:
        return (
            f"{_more(one.repeats - design.runs)} would find a difference of {TARGET:g} in {POWER:.0%} of such studies; "
            f"these runs find {one.finds:.3f}."
        )
    further = findable(replace(design, runs=design.runs + 2), components)
    found = f"{_more(2)} would find a difference of {further:.3f} in {POWER:.0%} of such studies"
    if not design.possible:
        return f"{found}{' (by assumed variances)' if components.assumed else ''}."
    return f"{found}, these find {one.finds:.3f}; {repeats_text(one)}."


def _more(repeats: int) -> str:
    words = {1: "One more repeat", 2: "Two more repeats", 3: "Three more repeats"}
    return f"{words.get(repeats, f'{repeats} more repeats')} of each loss"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _where(one: Enough) -> str:
    return f"{one.dataset}, {one.label}" if one.label else one.dataset


def _pooled(losses: Sequence[LossScores]) -> float:
    """The variance of unit × run over all losses."""
    weights = [loss.residual_freedom for loss in losses]
    if not sum(weights):
        return 0.0
    return float(np.average([loss.residual_variance for loss in losses], weights=weights))


def _power(shift: float, freedom: float, level: float) -> float:
    """The power of the two-sided t test at a noncentrality."""
    if math.isinf(freedom) or freedom > 1e5:
        critical = stats.norm.isf(level / 2)
        return float(stats.norm.sf(critical - shift) + stats.norm.cdf(-critical - shift))
    critical = stats.t.isf(level / 2, freedom)
    if shift > 35:
        return 1.0
    upper = float(stats.nct.sf(critical, freedom, shift))
    lower = float(stats.nct.cdf(-critical, freedom, shift)) if shift < 3 else 0.0
    return upper + lower
