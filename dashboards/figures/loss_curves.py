"""Value and slope of one loss, over the probability of the true class and over the overlap of two masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashboards.figures.style import BLUE, VERMILLION, Drawing, draw

Curves = Mapping[str, Sequence[float]]
"""What `workers.losses.curves` computes."""


FLAT = 1e-3
"""Below this share of its size a spread is that of the last digits."""


def loss_figure(name: str, curves: Curves) -> Drawing:
    """Two panels; in each the value and, below it, the slope."""

    def paint(figure: Figure) -> None:
        panels = figure.subplots(2, 2, sharex="col")
        for column, (axis, value, slope, label) in enumerate(
            (
                ("p", "value", "slope", "probability of the true class, in every pixel"),
                ("overlap", "overlap_value", "overlap_slope", "overlap (Dice index of the masks)"),
            )
        ):
            above, below = panels[0][column], panels[1][column]
            above.plot(curves[axis], curves[value], color=BLUE)
            below.plot(curves[axis], curves[slope], color=VERMILLION)
            below.set_xlabel(label)
            for panel, shown in ((above, curves[value]), (below, curves[slope])):
                widen(panel, shown)
        panels[0][0].set_title(f"{name}: over p")
        panels[0][1].set_title("a sure prediction that is shifted")
        panels[0][0].set_ylabel("value")
        panels[1][0].set_ylabel("slope")

    return draw(
        f"loss-{name}",
        f"Value and slope of {name}",
        "Of one image with a square of foreground. Left: every pixel has the same probability of its true class. "
        "Right: the predicted square is shifted aside.",
        f"Line charts of {name} with its defaults: value and slope over the probability of the true class, from 0.01 "
        "to 0.99, and over the overlap of prediction and truth, from 0 to 1.",
        (7.4, 4.8),
        paint,
    )


def widen(panel: Axes, values: Sequence[float]) -> None:
    """A constant is a line through the middle, not an enlarged view of its last digits."""
    low, high = min(values), max(values)
    size = max(abs(low), abs(high), FLAT)
    if high - low < FLAT * size:
        panel.set_ylim(low - size, high + size)
