"""The mean of each loss with its interval over images, and its single runs as points, per data set and class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dashboards.figures.registry import ReportFigure
from dashboards.figures.style import RULE, Drawing, draw, loss_colour, short
from dashboards.study_data import StudyData

_BESIDE = 0.24
"""How far below its mean a single run is shown, in rows."""


def scores_figure(dataset: str, label: str, table: pd.DataFrame, runs: pd.DataFrame, variants: list[str]) -> Drawing:
    """Losses from the best mean DSC down.

    Args:
        dataset: the data set.
        label: the class.
        table: `tables.result_table` of the study.
        runs: `tables.run_means` of the study, with its keys as columns.
        variants: all variants of the study, for the colours.
    """
    own = table[(table["dataset"] == dataset) & (table["label"] == label) & (table["metric"] == "dsc")]
    own = own.dropna(subset=["mean"]).sort_values("mean", ascending=False, kind="stable")
    single = runs[(runs["dataset"] == dataset) & (runs["label"] == label)]
    names = [str(v) for v in own["variant"]]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.grid(visible=False)
        axes.grid(visible=True, axis="x")
        for row, (name, mean, half) in enumerate(zip(names, own["mean"], own["half_width"], strict=True)):
            colour = loss_colour(name, variants)
            axes.errorbar(mean, row, xerr=np.nan_to_num(half), fmt="D", color=colour, markersize=5, elinewidth=1.4)
            points = single.loc[single["variant"] == name, "dsc"]
            axes.plot(points, np.full(len(points), row + _BESIDE), "o", color=colour, markersize=3.5, alpha=0.7)
        axes.set_yticks(range(len(names)), [short(name) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel("test DSC")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_color(RULE)

    listed = "; ".join(f"{name} {mean:.3f}" for name, mean in zip(names, own["mean"], strict=True))
    rows = own[["dataset", "label", "variant", "gamma", "mean", "half_width", "n", "repeats", "repeats_half_width"]]
    each = single[["dataset", "label", "variant", "gamma", "repeat", "dsc"]].rename(columns={"dsc": "mean"})
    return draw(
        f"scores-{dataset}-{label}",
        f"Test DSC of each loss, {dataset} ({label})",
        "Diamond: the mean over test images with Student's 95% interval over them; below it each run is a point.",
        f"Dots of the mean test DSC by loss on {dataset}, class {label}: {listed}.",
        (6.2, 0.8 + 0.27 * len(names)),
        paint,
        data=pd.concat([rows, each]),
        how="The mean and its interval are those of the table: over the test images, after each image's score was "
        "averaged over the runs. A point is the mean over the images of one run; in the CSV file it has a repeat. "
        "Intervals of two losses may overlap although they differ: the same images are hard for both.",
    )


def _drawings(data: StudyData) -> Iterator[Drawing]:
    for dataset, label in data.places:
        if data.ordered_variants(dataset, label):
            yield replace(
                scores_figure(dataset, label, data.answers.table, data.answers.runs, data.variants),
                place=(dataset, label),
            )


SCORES = ReportFigure("scores", "tables", _drawings)
