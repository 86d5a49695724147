"""Fig. 1, which loss is which special case of the unified family, and Fig. 2, how γ suppresses and enhances."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashboards.figures.registry import ReportFigure
from dashboards.figures.style import BLUE, GROUND, INK, MUTED, Drawing, draw, short
from sweeper.analysis.curves import DELTA, modified_focal_term, modified_tversky_term
from workers.losses.family import SPECIAL_CASES, SpecialCase

LEVELS: tuple[tuple[str, ...], ...] = (
    ("unified_focal_asym", "unified_focal_sym"),
    ("combo", "focal", "focal_tversky"),
    ("dice", "ce", "tversky"),
)
"""The paper's family, from the most general losses to the most special."""

_GAMMAS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)


def family_figure() -> Drawing:
    """The graph of `workers.losses.family`: an arrow leads to the special case, its label says at which setting.

    Above the paper's losses; below, in two columns, the arrows of all others, those to one loss beneath each other.
    """
    places = {
        loss: ((i + 0.5) / len(level), float(len(LEVELS) - 1 - row))
        for row, level in enumerate(LEVELS)
        for i, loss in enumerate(level)
    }

    own = [case for case in SPECIAL_CASES if case.parent in places and case.child in places]
    others = [case for case in SPECIAL_CASES if case not in own]

    def paint(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, height_ratios=(1.15, 1))
        _paint_others(below, others)
        axes = above
        axes.axis("off")
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.55, len(LEVELS) - 0.8)
        for case in own:
            start, end = places[case.parent], places[case.child]
            level = start[1] == end[1]
            bend = -0.22 if level else 0.0
            axes.annotate(
                "", end, start, zorder=1,
                arrowprops={"arrowstyle": "-|>", "color": MUTED, "linewidth": 1, "shrinkA": 18, "shrinkB": 18,
                            "connectionstyle": f"arc3,rad={bend}"},
            )  # fmt: skip
            x, y = (a + (b - a) * 0.5 for a, b in zip(start, end, strict=True))
            y -= 0.33 if level else 0.0
            axes.text(x, y, case.condition, ha="center", va="center", fontsize=7.5, color=INK, zorder=2,
                      bbox={"facecolor": GROUND, "edgecolor": "none", "pad": 1.5})  # fmt: skip
        box = {"boxstyle": "round,pad=0.55", "facecolor": GROUND, "edgecolor": BLUE, "linewidth": 1.2}
        for loss, (x, y) in places.items():
            axes.text(x, y, short(loss), ha="center", va="center", zorder=3, bbox=box)

    edges = "; ".join(f"{c.parent} with {c.condition} is {c.child}" for c in SPECIAL_CASES)
    return draw(
        "fig1-family",
        "Fig. 1 · The family of losses",
        "An arrow leads from a loss to its special or limiting case, at the setting on the arrow, up to a constant and "
        "smoothing: above the paper's losses, below all others. λ weighs the focal part, δ rare classes and false "
        "negatives.",
        f"Graph of the losses. {edges}.",
        (7.4, 8.2),
        paint,
        data=pd.DataFrame([{"loss": c.parent, "setting": c.condition, "is": c.child, "for": c.where}
                           for c in SPECIAL_CASES]),
        how="Each arrow is an identity that a test of the program evaluates, in value. `for` in the CSV file says for "
        "which predictions it holds: any, those that are 0 or 1 everywhere, or one image of two classes.",
        wide=True,
    )  # fmt: skip


def _paint_others(axes: Axes, cases: Sequence[SpecialCase]) -> None:
    axes.axis("off")
    groups: dict[str, list[SpecialCase]] = {}
    for case in cases:
        groups.setdefault(case.child, []).append(case)
    columns: list[list[tuple[str, list[SpecialCase]]]] = [[], []]
    for item in sorted(groups.items(), key=lambda item: -len(item[1])):
        min(columns, key=lambda column: sum(len(c) + 0.3 for _, c in column)).append(item)
    axes.set_xlim(0, 2)
    axes.set_ylim(-max(sum(len(c) + 0.3 for _, c in column) for column in columns), 0.6)
    box = {"boxstyle": "round,pad=0.3", "facecolor": GROUND, "edgecolor": MUTED, "linewidth": 0.9}
    for left, column in enumerate(columns):
        y = 0.0
        for child, group in column:
            middle = y - (len(group) - 1) / 2
            end = axes.text(left + 0.97, middle, short(child), ha="right", va="center", fontsize=6.5, zorder=3,
                            bbox={**box, "edgecolor": BLUE})  # fmt: skip
            for case in group:
                label = f"{short(case.parent)}:  {case.condition}"
                start = axes.text(left + 0.02, y, label, va="center", fontsize=6.5, zorder=3, bbox=box)
                axes.annotate(
                    "", (-0.02, 0.5), (1.02, 0.5), xycoords=end, textcoords=start, zorder=1,
                    arrowprops={"arrowstyle": "-|>", "color": MUTED, "linewidth": 0.9, "shrinkA": 3, "shrinkB": 3},
                )  # fmt: skip
                y -= 1.0
            y -= 0.3


def suppression_figure() -> Drawing:
    """The terms of the loss for one pixel and one class, at several γ."""

    p = 1 - np.geomspace(1e-7, 0.98, 400)
    terms = {gamma: (modified_focal_term(p, gamma), modified_tversky_term(p, gamma)) for gamma in _GAMMAS}

    def paint(figure: Figure) -> None:
        focal, tversky = figure.subplots(1, 2)
        colours = mpl.colormaps["viridis"](np.linspace(0.05, 0.8, len(_GAMMAS)))
        for (gamma, (focal_term, tversky_term)), colour in zip(terms.items(), colours, strict=True):
            focal.plot(p, focal_term, color=colour, label=f"γ = {gamma:g}")
            tversky.plot(p, tversky_term, color=colour, label=f"γ = {gamma:g}")
        focal.set_title("Suppression: modified focal term")
        focal.set_xlabel("probability of the true class")
        focal.set_ylabel("δ (1 − p)^γ · (−log p)")
        focal.set_ylim(0, 2)
        tversky.set_title("Enhancement: modified Tversky term")
        tversky.set_xlabel("modified Tversky index")
        tversky.set_ylabel("(1 − mTI)^(1 − γ)")
        focal.legend(frameon=False, fontsize=8)

    return draw(
        "fig2-gamma-on-the-losses",
        "Fig. 2 · How γ suppresses and enhances",
        f"Computed from the project's own losses at δ = {DELTA:g}. In the focal part a larger γ lowers the loss of "
        "pixels that are already right; in the Tversky part it keeps the loss of a class that is nearly right high. "
        "The asymmetric variant suppresses the background alone and enhances the rare classes alone.",
        "Two line charts for γ from 0 to 0.9. Left: the focal term falls faster with the probability of the true class "
        "as γ grows. Right: the Tversky term stays higher near an index of one as γ grows.",
        (8.0, 3.3),
        paint,
        data=pd.DataFrame(
            [{"gamma": g, "x": x, "focal": f, "tversky": t} for g, (focal, tversky) in terms.items()
             for x, f, t in list(zip(p, focal, tversky, strict=True))[::10]]
        ).round(6),
        how="x is the probability of the true class for the focal term, and the modified Tversky index for the other. "
        "The CSV file has every tenth point.",
    )  # fmt: skip


_KEPT: dict[Callable[[], Drawing], Drawing] = {}


def draw_fixed() -> None:
    """Draws the figures that depend on no study, which the reports of this process then have ready."""
    for make in (family_figure, suppression_figure):
        _KEPT[make] = make()


def _drawn(make: Callable[[], Drawing]) -> Drawing:
    return _KEPT.get(make) or make()


FAMILY = ReportFigure("family", "family", lambda data: [_drawn(family_figure)])
SUPPRESSION = ReportFigure("suppression", "family", lambda data: [_drawn(suppression_figure)])
