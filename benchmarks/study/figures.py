"""The figures of the page: the gain on rarity, DSC against γ, and the pilot's curves. In the fonts of the report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.study import pilot
from benchmarks.study.study import BASELINES, Study
from dashboards.figures.gamma import gamma_figure
from dashboards.figures.style import BLUE, INK, ORANGE, VERMILLION, Drawing, draw, spread
from sweeper.analysis.selection import UNIFIED

STYLES = {"ce": ("-", "cross entropy"), "dice": ("--", "Dice")}


def write(study: Study, folder: Path) -> None:
    """Writes each figure as NAME.png into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for drawing in _drawings(study):
        (folder / f"{drawing.name}.png").write_bytes(drawing.png)


def _drawings(study: Study) -> Iterator[Drawing]:
    if study.gains["dataset"].nunique() > 1:
        yield gain_figure(study.gains, study.shares)
    answers = study.answers
    for dataset in dict.fromkeys(answers.stability["dataset"]):
        whole = gamma_figure(dataset, answers.curves, answers.selection, answers.curve_runs)
        yield Drawing(f"gamma-{dataset}", whole.title, whole.caption, whole.alt, whole.svg, whole.png)
    if study.pilots:
        yield pilot_figure(pilot.curves(study.pilots))


def gain_figure(gains: pd.DataFrame, shares: pd.DataFrame) -> Drawing:
    """The gain of both unified losses over each baseline, a point for each set with its 95% interval."""
    share = shares.groupby("dataset", observed=True)["share"].mean().loc[list(dict.fromkeys(gains["dataset"]))]
    rarity = -np.log10(share.to_numpy(float))
    width = float(np.ptp(rarity))
    # Sets of nearly the same share stand beside each other.
    places = pd.Series(spread(rarity.tolist(), 0.06 * width, rarity.min(), rarity.max()), share.index)
    names = [f"{name} {100 * value:.2g}%" for name, value in share.items()]

    def paint(figure: Figure) -> None:
        panels = figure.subplots(1, len(BASELINES), sharey=True, squeeze=False)[0]
        for axes, over in zip(panels, BASELINES, strict=True):
            for loss, colour, shift in zip(UNIFIED, (BLUE, INK), (0.012, -0.012), strict=True):
                own = gains[(gains["loss"] == loss) & (gains["over"] == over)]
                x = places.loc[own["dataset"]].to_numpy(float) + shift * width
                gain = own["gain"].to_numpy(float)
                axes.plot(x, gain, "o", color=colour, markersize=4, label=loss)
                ends = np.abs(np.nan_to_num(own[["low", "high"]].to_numpy(float).T - gain))
                axes.errorbar(x, gain, ends, fmt="none", ecolor=colour, elinewidth=0.8)
            axes.axhline(0, color=INK, linewidth=0.8)
            axes.set_xticks(places.to_numpy(float), names, rotation=90, fontsize=7)
            axes.set_title(f"over {over}")
            axes.set_xlabel("foreground (rarer to the right, logarithmic)")
        panels[0].set_ylabel("gain in mean DSC")
        panels[0].legend(fontsize=7, frameon=False)

    title = "The gain of the unified losses as the foreground gets rarer"
    caption = (
        "A point is a data set; bars are 95% intervals about new images and new trainings, where there are two runs."
    )
    return draw("gain", title, caption, f"{title}: the numbers are in the table.", (8.0, 3.6), paint, wide=True)


def pilot_figure(curves: pd.DataFrame) -> Drawing:
    """The validation curves of the pilot, a panel for each set."""
    names = list(dict.fromkeys(curves["dataset"]))
    rates = sorted(curves["rate"].unique())
    colours = dict(zip(rates, (BLUE, ORANGE, VERMILLION, INK), strict=False))

    def paint(figure: Figure) -> None:
        rows = -(-len(names) // 4)
        panels = figure.subplots(rows, 4, squeeze=False).reshape(-1)
        for axes, name in zip(panels, names, strict=False):
            for (loss, rate), own in curves[curves["dataset"] == name].groupby(["loss", "rate"], observed=True):
                axes.plot(own["epoch"], own["val_dsc"], STYLES[str(loss)][0], color=colours[rate], linewidth=1.1)
            axes.set_title(name, fontsize=8)
            axes.tick_params(labelsize=7)
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        for rate in rates:
            panels[0].plot([], [], color=colours[rate], label=f"rate {rate:g}")
        for style, loss in STYLES.values():
            panels[0].plot([], [], style, color=INK, linewidth=0.8, label=loss)
        panels[0].legend(fontsize=6, frameon=False)

    title = "Validation DSC of the pilot over its epochs"
    caption = "Solid: cross entropy. Dashed: Dice."
    return draw("pilot", title, caption, title, (9.0, 2.2 * -(-len(names) // 4)), paint, wide=True)
