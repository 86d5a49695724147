"""The metrics by which segmentations are scored: names, headings, ranges, and which way is better.

Pure data: a metric names the function that computes it, which is imported where masks are scored
(`workers.scoring.masks`). A new metric is one function and one line here, or one `register` call in a plug-in.
Scores are stored by a metric's name, so that a new one needs no migration.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trials.errors import InputError
from trials.registry import Registry

OVERLAP = "overlap"
"""The group of metrics that every trial is scored by."""

SURFACE_DISTANCES = "surface_distances"
"""The group of metrics that the evaluation's setting of this name adds."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of one class in one image.

    Attributes:
        name: what scores are stored under, and what a grid calls it.
        heading: what tables and figures show.
        function: `f(masks) -> float | None`, or where it is, as `"package.module:function"`. It gets a
            `workers.scoring.masks.Masks`; None is an undefined value.
        doc: one sentence: what it measures, and its source.
        low: the smallest possible value.
        high: the largest possible value; infinity for a distance, which may be infinite itself.
        higher_is_better: whether a larger value is the better one.
        undefined_when: when the value is None, in words; empty where it never is.
        group: `overlap` metrics are computed always, `surface_distances` where the evaluation asks for them.
        paper: whether the paper's tables have it (section 3.1.6).
    """

    name: str
    heading: str
    function: Callable[..., float | None] | str
    doc: str = ""
    low: float = 0.0
    high: float = 1.0
    higher_is_better: bool = True
    undefined_when: str = ""
    group: str = OVERLAP
    paper: bool = False

    def load(self) -> Callable[..., float | None]:
        """The function itself, imported where it was given by name."""
        if callable(self.function):
            return self.function
        module, _, attribute = self.function.partition(":")
        function: Callable[..., float | None] = getattr(importlib.import_module(module), attribute)
        return function

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value, as `expected …`; None where it may stand.

        A value is a number in the metric's range or None. NaN and truth values are neither.
        """
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, bool | str) or not self.low <= number <= self.high:
            return f"expected {self.range}, or None where it is undefined"
        return None

    @property
    def range(self) -> str:
        """The range in words."""
        if math.isinf(self.high):
            return f"a number of at least {self.low:g}, or infinity"
        return f"a number in [{self.low:g}, {self.high:g}]"


METRICS: Registry[Metric] = Registry("metric", "sweeper.metrics")


RESERVED = ("trial", "partition", "case", "label", "group")
"""What is stored of a score beside its metrics: no metric has such a name."""


def register(metric: Metric) -> None:
    """Adds a metric.

    Raises:
        InputError: another metric has this name, or it is one of `RESERVED`.
    """
    if metric.name in RESERVED:
        raise InputError(f"no metric can be named {metric.name!r}: a score has a column of this name; choose another")
    METRICS.register(metric.name, metric)


def paper_metrics() -> tuple[str, ...]:
    """The paper's four metrics in the order of its tables."""
    return tuple(metric.name for metric in METRICS.values() if metric.paper)


def names(group: str | None = None) -> tuple[str, ...]:
    """Every registered metric, or those of a group, in the order in which they were registered."""
    return tuple(metric.name for metric in METRICS.values() if group in (None, metric.group))


_WHERE = "workers.scoring.masks"
for _metric in (
    Metric("dsc", "DSC", f"{_WHERE}:dsc", "Dice similarity coefficient, 2 tp / (2 tp + fp + fn).", paper=True),
    Metric("iou", "IoU", f"{_WHERE}:iou", "Intersection over union, tp / (tp + fp + fn).", paper=True),
    Metric("precision", "Precision", f"{_WHERE}:precision", "The share of marked pixels that are right.", paper=True),
    Metric(
        "recall", "Recall", f"{_WHERE}:recall", "The share of the class's pixels that are marked.",
        undefined_when="the class is not in the image, but something was marked", paper=True,
    ),
    Metric(
        "hd95", "HD95", f"{_WHERE}:hd95", "95% Hausdorff distance, in the unit of the spacing (mm for volumes).",
        high=math.inf, higher_is_better=False, group=SURFACE_DISTANCES,
    ),
    Metric(
        "asd", "ASD", f"{_WHERE}:asd", "Average symmetric surface distance, in the unit of the spacing.",
        high=math.inf, higher_is_better=False, group=SURFACE_DISTANCES,
    ),
):  # fmt: skip
    register(_metric)
