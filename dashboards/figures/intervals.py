"""Values with their intervals, one below the other: the scores of losses, or differences between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from dashboards.figures.style import INK, MUTED, Drawing, draw, short


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """A row of the figure.

    Attributes:
        name: what it is of.
        value: the mean or the difference.
        low, high: the interval that counts, drawn thick; NaN where there is none.
        colour: of the row.
        outer_low, outer_high: another interval, drawn thin; NaN where there is none.
        points: what the mean is of, such as single runs.
    """

    name: str
    value: float
    low: float
    high: float
    colour: str
    outer_low: float = math.nan
    outer_high: float = math.nan
    points: Sequence[float] = field(default=())


def interval_figure(
    rows: Sequence[IntervalRow], *, name: str, title: str, caption: str, across: str, zero: bool = False
) -> Drawing:
    """Rows from the first down, values from left to right.

    Args:
        rows: of the figure; at least one.
        name: of the file.
        title: its title.
        caption: what the intervals and points are.
        across: what the axis shows.
        zero: whether a line stands at 0.
    """

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.grid(visible=False)
        axes.grid(visible=True, axis="x")
        for place, row in enumerate(rows):
            if math.isfinite(row.outer_low):
                axes.plot([row.outer_low, row.outer_high], [place, place], color=row.colour, linewidth=1, zorder=2)
            if math.isfinite(row.low):
                axes.plot([row.low, row.high], [place, place], color=row.colour, linewidth=3.5, alpha=0.55, zorder=2)
            axes.plot(row.points, [place + 0.22] * len(row.points), ".", color=MUTED, markersize=4, zorder=2)
            axes.plot([row.value], [place], "o", color=row.colour, markersize=6, zorder=3)
        if zero:
            axes.axvline(0, color=INK, linewidth=1, zorder=1)
        axes.set_yticks(range(len(rows)), [short(row.name) for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(across)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)

    told = "; ".join(
        f"{row.name} {row.value:.3f}" + (f" ({row.low:.3f} to {row.high:.3f})" if math.isfinite(row.low) else "")
        for row in rows
    )
    return draw(name, title, caption, f"{title}. {told}.", (7.2, 0.9 + 0.34 * len(rows)), paint)
