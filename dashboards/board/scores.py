"""The page of a sweep's scores: every stored metric of each loss, at its chosen γ, with its intervals. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dashboards.figures.intervals import IntervalRow, interval_figure
from dashboards.figures.style import Drawing, loss_colour, short
from sweeper.analysis.chosen import ChosenScores
from sweeper.analysis.scored import best, metric, table_metrics

Row = Mapping[Hashable, Any]
"""Of a table of the answers, by its columns."""

HEAD = (
    "dataset", "class", "loss", "gamma", "metric", "mean", "half_width_images", "images", "left_out", "missed", "runs",
    "half_width_runs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScoreText:
    """A cell of the table: the mean with its interval over images, and that over runs (empty where it has none)."""

    text: str
    over_runs: str = ""
    best: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """The scores of a data set and class: a table of text."""

    dataset: str
    label: str
    head: Sequence[str]
    rows: Sequence[tuple[str, str, str, Sequence[ScoreText]]]

    @property
    def name(self) -> str:
        return f"{self.dataset}, {self.label}"


def metrics_of(chosen: ChosenScores) -> list[str]:
    """Every metric with a stored score, in the order of the registry."""
    return table_metrics(chosen.table)


def places(chosen: ChosenScores, by: str, dataset: str = "") -> list[Place]:
    """A table for each data set and class (of one data set where it is named), the best mean of the metric first."""
    found = []
    for (name, label), own in chosen.table.groupby(["dataset", "label"], sort=False, observed=True):
        if dataset in ("", name):
            found.append(_place(str(name), str(label), own, by))
    return found


def rows(chosen: ChosenScores, dataset: str = "") -> list[Sequence[object]]:
    """`HEAD` for each data set, class, loss and metric."""
    return [
        (
            r["dataset"], r["label"], r["variant"], r["gamma"], r["metric"], r["mean"], r["half_width"], r["n"],
            r["left_out"], r["missed"], r["repeats"], r["repeats_half_width"],
        )
        for r in chosen.table.to_dict("records")
        if dataset in ("", r["dataset"])
    ]  # fmt: skip


def figure(chosen: ChosenScores, dataset: str, label: str, name: str) -> Drawing | None:
    """The scores of a data set and class by one metric; None where no loss has one."""
    table = chosen.table
    own = table[(table["dataset"] == dataset) & (table["label"] == label) & (table["metric"] == name)]
    own = _ordered(own[own["mean"].notna()], name)
    if own.empty:
        return None
    per_trial = chosen.chosen
    trials = per_trial[(per_trial["dataset"] == dataset) & (per_trial["label"] == label)]
    runs = trials.groupby(["variant", "repeat"], observed=True)[name].mean().dropna()
    variants = sorted(str(v) for v in table["variant"].unique())
    drawn = [_interval_row(r, runs, variants) for r in own.to_dict("records")]
    heading = metric(name).heading
    return interval_figure(
        drawn,
        name=f"{dataset}-{label}-{name}",
        title=f"Test {heading}, {dataset}, {label}",
        caption="Dots: means over test images and runs. Thick: 95% interval over runs, where there are several. Thin: "
        "95% interval over images. Grey points: single runs.",
        across=f"test {heading}" + ("" if metric(name).higher_is_better else " (smaller is better)"),
    )


def _interval_row(row: Row, runs: pd.Series, variants: Sequence[str]) -> IntervalRow:
    mean, inner, outer = row["mean"], row["repeats_half_width"], row["half_width"]
    variant = str(row["variant"])
    own = runs.xs(variant) if variant in runs.index.get_level_values(0) else pd.Series(dtype=float)
    return IntervalRow(
        _loss(row), mean, mean - inner, mean + inner, loss_colour(variant, variants), mean - outer, mean + outer,
        own[own.abs() < math.inf].tolist() if len(own) > 1 else (),
    )  # fmt: skip


def _place(dataset: str, label: str, own: pd.DataFrame, by: str) -> Place:
    metrics = table_metrics(own)
    leading = {name: best(name, own.loc[own["metric"] == name, "mean"].round(3)) for name in metrics}
    ordered = _ordered(own[own["metric"] == by], by)["variant"].tolist()
    ordered += [v for v in own["variant"].unique() if v not in ordered]
    found = []
    for variant in ordered:
        by_metric = {r["metric"]: r for r in own[own["variant"] == variant].to_dict("records")}
        first = by_metric["dsc"]
        found.append(
            (
                _loss(first),
                str(first["n"]),
                str(first["repeats"]),
                [_score(by_metric.get(name), leading[name]) for name in metrics],
            )
        )
    return Place(dataset, label, [metric(name).heading for name in metrics], found)


def _score(row: Row | None, leading: float) -> ScoreText:
    if row is None or math.isnan(row["mean"]):
        return ScoreText("–")
    half = "" if math.isnan(row["half_width"]) else f" ± {row['half_width']:.3f}"
    left = f" (−{row['left_out']})" if row["left_out"] else ""
    runs = "" if math.isnan(row["repeats_half_width"]) else f"± {row['repeats_half_width']:.3f} over runs"
    return ScoreText(f"{row['mean']:.3f}{half}{left}", runs, round(row["mean"], 3) == leading)


def _ordered(own: pd.DataFrame, name: str) -> pd.DataFrame:
    return own.sort_values("mean", ascending=not metric(name).higher_is_better, kind="stable", na_position="last")


def _loss(row: Row) -> str:
    gamma = row["gamma"]
    return short(str(row["variant"])) + ("" if gamma != gamma else f" · γ {gamma:g}")
