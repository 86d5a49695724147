"""The page that compares sweeps: what `sweeper compare` tells, as rows and a figure. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.figures.intervals import IntervalRow, interval_figure
from dashboards.figures.style import BLUE, MUTED, Drawing, short
from sweeper.analysis.scored import metric as known
from sweeper.views.objects import ComparedObject, DifferenceObject
from trials.metrics import in_order

HEAD = (
    "dataset", "class", "metric", "loss", "sweep_a", "sweep_b", "difference", "low", "high", "images", "runs_a",
    "runs_b",
)  # fmt: skip

MOST_SWEEPS = 10
"""Sweeps that are compared at once: each with each other one."""

MOST_ROWS = 40
"""Differences in the figure; the table has all."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row of the table, as text. `clear`: the interval is on one side of 0."""

    place: str
    loss: str
    sweeps: str
    difference: str
    interval: str
    made_of: str
    clear: bool


def metrics_of(found: ComparedObject) -> list[str]:
    """Every metric by which a loss can be compared, in the order of the registry."""
    return in_order([one.metric for one in found.differences])


def rows(found: ComparedObject, metric: str) -> list[Difference]:
    """The differences by one metric, as text."""
    return [
        Difference(
            place=f"{one.dataset}, {one.label}",
            loss=short(one.variant),
            sweeps=f"{one.sweep_a} − {one.sweep_b}",
            difference=_signed(one.difference),
            interval="–" if one.low is None or one.high is None else f"{_signed(one.low)} to {_signed(one.high)}",
            made_of=f"{one.runs_a} and {one.runs_b} runs, {one.images} images",
            clear=one.low is not None and one.high is not None and (one.low > 0 or one.high < 0),
        )
        for one in found.differences
        if one.metric == metric
    ]


def row(one: DifferenceObject) -> Sequence[object]:
    """`HEAD` of a difference."""
    return (
        one.dataset, one.label, one.metric, one.variant, one.sweep_a, one.sweep_b, one.difference, one.low, one.high,
        one.images, one.runs_a, one.runs_b,
    )  # fmt: skip


def figure(found: ComparedObject, metric: str) -> Drawing | None:
    """The differences by one metric with their intervals; None where there is none."""
    several = len(found.sweeps) > 2
    places = len({(one.dataset, one.label) for one in found.differences}) > 1
    drawn = [
        IntervalRow(
            " · ".join(
                [
                    *([f"{one.dataset}, {one.label}"] if places else []),
                    short(one.variant),
                    *([f"{one.sweep_a} − {one.sweep_b}"] if several else []),
                ]
            ),
            one.difference,
            math.nan if one.low is None else one.low,
            math.nan if one.high is None else one.high,
            MUTED if one.low is None else BLUE,
        )
        for one in found.differences
        if one.metric == metric and one.difference is not None
    ][:MOST_ROWS]
    if not drawn:
        return None
    heading = known(metric).heading
    which = f"{found.sweeps[0]} − {found.sweeps[1]}" if not several else "first − second sweep"
    return interval_figure(
        drawn,
        name=f"compare-{'-'.join(found.sweeps)}-{metric}",
        title=f"Differences of test {heading}, {which}",
        caption="Dots: differences of the means of the same loss. Bars: 95% intervals over runs and images. A grey dot "
        "without a bar is about these trained networks: a sweep has one run.",
        across=f"difference of {heading}" + ("" if known(metric).higher_is_better else " (smaller is better)"),
        zero=True,
    )


def _signed(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+.3f}".replace("-", "−")
