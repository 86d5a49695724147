"""Fig. 4 to 6: example segmentations, one column per loss, errors in colours that colour-blind readers tell apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from dashboards.figures.registry import ReportFigure
from dashboards.figures.style import BLUE, ORANGE, PURPLE, YELLOW, Drawing, draw, short
from sweeper.views.examples import Example, Examples, Plane

_COLUMNS = {True: 8, False: 4}
"""Losses beside one another, for volumes with their three planes and for flat images."""

_WIDTH = 10.0
"""Inches for a row of pictures."""

_PIXELS = 200
"""Pictures are thinned to about so many pixels a side; the figure stays small enough to mail."""

_STRENGTH = 0.75


def example_figures(examples: Examples) -> list[Drawing]:
    """One figure for each four losses, for each eight of volumes; none where there is nothing to show."""
    variants = sorted({e.variant for e in examples.shown})
    columns = _COLUMNS[any(len(e.planes) > 1 for e in examples.shown)]
    blocks = [variants[i : i + columns] for i in range(0, len(variants), columns)]
    return [_figure(examples, block, i, _WIDTH / columns) for i, block in enumerate(blocks)]


def _figure(examples: Examples, variants: list[str], block: int, side: float) -> Drawing:
    cells = {(e.role, p.name, e.variant): (e, p) for e in examples.shown for p in e.planes if e.variant in variants}
    rows = list(dict.fromkeys((role, plane) for role, plane, _ in cells))
    heights = [max(_height(p) for (*row, _), (_, p) in cells.items() if tuple(row) == r) for r in rows]
    classes = max(int(max(p.truth.max(), p.prediction.max())) for _, p in cells.values())

    def paint(figure: Figure) -> None:
        panels = figure.subplots(len(rows), len(variants), squeeze=False, height_ratios=heights)
        for i, (role, plane) in enumerate(rows):
            for j, variant in enumerate(variants):
                panel = panels[i, j]
                panel.set_xticks([])
                panel.set_yticks([])
                for spine in panel.spines.values():
                    spine.set_visible(False)
                if (cell := cells.get((role, plane, variant))) is not None:
                    _show(panel, *cell)
                if j == 0:
                    panel.set_ylabel(f"{role}\n{plane}" if plane else role, fontsize=8)
                if i == 0:
                    panel.set_title(short(variant, 22), fontsize=8, loc="center")
        legend = [Patch(color=BLUE, label="false negative"), Patch(color=ORANGE, label="false positive")]
        if classes > 1:
            legend.append(Patch(color=PURPLE, label="wrong foreground class"))
        legend.append(Patch(facecolor="none", edgecolor=YELLOW, label="outline: truth"))
        figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), frameon=False, fontsize=8)

    cases = ", ".join(f"{role} {case}" for role, case in {e.role: e.case for e in examples.shown}.items())
    dsc = "; ".join(f"{e.variant}, {e.role}: DSC {e.dsc:.2f}" for e in examples.shown if e.variant in variants)
    return draw(
        f"fig4-examples-{examples.dataset}{f'-{block + 1}' if block else ''}",
        f"Example segmentations, {examples.dataset}",
        f"The same test cases for each loss, picked by mean DSC over the losses ({cases}); the number is the DSC "
        "of the case. The yellow line is the truth.",
        f"Pictures of example segmentations of {examples.dataset}. {dsc}.",
        (0.4 + side * max(3, len(variants)), 0.9 + sum(side * h + 0.2 for h in heights)),
        paint,
    )


def _height(plane: Plane) -> float:
    """Height over width as it is shown."""
    rows, columns = plane.truth.shape
    height: float = plane.aspect * rows / columns
    return height


def _show(panel: Axes, example: Example, plane: Plane) -> None:
    step = max(1, round(max(plane.truth.shape) / _PIXELS))
    truth, prediction = plane.truth[::step, ::step], plane.prediction[::step, ::step]
    panel.imshow(overlay(plane.image[::step, ::step], truth, prediction), interpolation="none", aspect=plane.aspect)
    if (truth > 0).any() and (truth == 0).any():
        panel.contour(truth > 0, levels=[0.5], colors=YELLOW, linewidths=0.5)
    panel.set_xlabel(f"{example.dsc:.3f}", fontsize=7, labelpad=2)


def overlay(
    image: npt.NDArray[np.float32], truth: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    """The image with false negatives blue, false positives orange, and wrong foreground classes purple."""
    shown = image.astype(float).copy()
    for mask, colour in (
        ((truth > 0) & (prediction == 0), BLUE),
        ((truth == 0) & (prediction > 0), ORANGE),
        ((truth > 0) & (prediction > 0) & (truth != prediction), PURPLE),
    ):
        shown[mask] = (1 - _STRENGTH) * shown[mask] + _STRENGTH * np.array(_rgb(colour))
    return shown


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


EXAMPLES = ReportFigure(
    "examples", "examples", lambda data: [d for one in data.examples if one.shown for d in example_figures(one)]
)
