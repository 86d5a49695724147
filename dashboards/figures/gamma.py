"""Fig. 3: test DSC against γ for each loss that ran with several γ, with the other losses as reference lines."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dashboards.figures.registry import ReportFigure
from dashboards.figures.style import GROUND, Drawing, draw, label_end, loss_colour, short, spread
from dashboards.study_data import StudyData

_MARKERS = ("o", "s", "D", "^", "v", "P")
_BESIDE = 0.006
"""How far beside its mean a single run is shown, in γ."""

_KEYS = ["dataset", "variant", "loss", "gamma"]
_NUMBERS = ["dsc", "half_width", "repeats_half_width", "n", "repeats"]


def gamma_figure(
    dataset: str,
    curves: pd.DataFrame,
    selection: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    searched: Collection[str] = (),
) -> Drawing:
    """One panel: bands are the 95% interval of the mean over images, bars that over repeats where there are several,
    beside which each run is a point; a ring marks the γ chosen on validation.

    Args:
        curves: `stability.gamma_curves` of the study.
        selection: `selection.select_gamma` of the study.
        runs: `stability.curve_runs` of the study; None shows no single run.
        searched: variants whose γ a search chose: their curve is dotted, since it is not a full grid.
    """
    own = curves[curves["dataset"] == dataset].dropna(subset=["dsc"])
    counts = own.dropna(subset=["gamma"]).groupby("variant")["gamma"].nunique()
    swept = [v for v in own["variant"].unique() if counts.get(v, 0) > 1]
    lines = own[~own["variant"].isin(swept)]
    variants = sorted(own["variant"].unique())
    repeated = own["repeats_half_width"].notna() & own["variant"].isin(swept)
    single = curves.iloc[:0] if runs is None or not repeated.any() else runs[runs["dataset"] == dataset]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        ends: list[tuple[str, float | None, float, str]] = []
        for i, variant in enumerate(swept):
            curve = own[own["variant"] == variant].sort_values("gamma")
            gamma, scores = curve["gamma"].to_numpy(float), curve["dsc"].to_numpy(float)
            half = np.nan_to_num(curve["half_width"].to_numpy(float))
            colour = loss_colour(variant, variants)
            axes.fill_between(gamma, scores - half, scores + half, color=colour, alpha=0.12, linewidth=0)
            repeats = curve["repeats_half_width"].to_numpy(float)
            if np.isfinite(repeats).any():
                axes.errorbar(
                    gamma, scores, np.nan_to_num(repeats), fmt="none", ecolor=colour, capsize=4, elinewidth=1.2
                )
            points = single[single["variant"] == variant]
            axes.plot(points["gamma"] + _BESIDE, points["dsc"], ".", color=colour, markersize=4, alpha=0.6, zorder=2)
            line = ":" if variant in searched else "-"
            axes.plot(gamma, scores, line, color=colour, marker=_MARKERS[i % len(_MARKERS)], markersize=5, zorder=3)
            chosen = selection[(selection["dataset"] == dataset) & (selection["variant"] == variant)]
            for value in chosen["gamma"]:
                at = float(np.interp(value, gamma, scores))
                axes.plot([value], [at], "o", markersize=12, markerfacecolor="none", markeredgecolor=colour, zorder=4)
            ends.append((variant, float(gamma[-1]), float(scores[-1]), colour))
        for variant, dsc in zip(lines["variant"], lines["dsc"], strict=True):
            colour = loss_colour(variant, variants)
            axes.axhline(dsc, color=colour, linestyle=(0, (5, 3)), linewidth=1.1, zorder=1)
            ends.append((variant, None, float(dsc), colour))
        low, high = axes.get_ylim()
        axes.set_ylim(low, high)
        right = axes.get_xlim()[1]
        axes.set_xlim(right=right)
        heights = spread([end[2] for end in ends], 0.055 * (high - low), low, high)
        for (variant, gamma_end, height, colour), label in zip(ends, heights, strict=True):
            label_end(axes, short(variant), (right if gamma_end is None else gamma_end, height), label, colour)
        axes.set_xlabel("γ")
        axes.set_ylabel("mean test DSC")
        axes.set_title(dataset if len(dataset) < 60 else f"{dataset[:57]}…")
        axes.patch.set_facecolor(GROUND)

    shown = "; ".join(
        f"{v}: {own.loc[own['variant'] == v, 'dsc'].min():.3f} to {own.loc[own['variant'] == v, 'dsc'].max():.3f}"
        for v in swept
    )
    chosen = [v for v in swept if v in searched]
    bars = "bars that over runs, beside which each run is a point; " if repeated.any() else ""
    references = "; ".join(f"{v} {d:.3f}" for v, d in zip(lines["variant"], lines["dsc"], strict=True))
    return draw(
        f"fig3-gamma-{dataset}",
        f"Fig. 3 · Test DSC against γ, {dataset}",
        f"Mean over test images (and foreground classes); bands are the 95% interval over images; {bars}dashed lines "
        "are the losses without a sweep over γ; a ring marks the γ chosen on validation."
        + (f" Dotted is not a full grid: a search chose the γ of {', '.join(chosen)} on validation." if chosen else ""),
        f"Line chart of mean test DSC against γ on {dataset}. {shown}. Reference lines: {references or 'none'}.",
        (6.2, 3.6),
        paint,
        data=pd.concat([own.assign(repeat="mean"), single])[[*_KEYS, "repeat", *_NUMBERS]] if len(single) else own,
        how="DSC is the mean over the foreground classes of a test image. A point of a curve is its mean over the "
        "images, after each image's score was averaged over the runs. Bands and bars are Student's 95% intervals: over "
        "the images, and over the means of the runs. Rows of the CSV file with a repeat are single runs.",
    )


def _drawings(data: StudyData) -> Iterator[Drawing]:
    swept = set(data.answers.stability["dataset"])
    for dataset in data.datasets:
        if dataset in swept:
            yield gamma_figure(
                dataset, data.answers.curves, data.answers.selection, data.answers.curve_runs, data.searched_variants
            )


GAMMA = ReportFigure("gamma", "gamma", _drawings)
