"""Fig. 4 to 6: example segmentations, a figure for each case: the whole, and the same part as each loss segmented it.

Errors are translucent, in colours that colour-blind readers tell apart, and are counted.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from dashboards.figures.registry import ReportFigure
from dashboards.figures.style import ORANGE, PURPLE, SKY, YELLOW, Drawing, draw, short
from sweeper.views.crops import Errors, errors
from sweeper.views.examples import PERCENTILES, Example, Examples, Plane, Segmented, stretched

_COLUMNS = 6
"""Pictures beside one another."""

_WIDTH = 10.0
"""Inches for a row of pictures."""

_PIXELS = 240
"""A whole picture is thinned to about so many pixels a side; the figure stays small enough to mail."""

_STRENGTH = 0.55
"""Of an error's colour over the picture."""

_HOW = (
    "Cases are picked by their test DSC: the mean over the foreground classes, over the runs of each loss at its "
    "chosen γ, and over the losses. The losses disagree most on the case whose DSC differs most between two of them. "
    "The pictures are of the first run of each loss, and so are the DSC and the counts below them: DSC is of the whole "
    "case, the counts of what is shown. {part} Intensities are stretched from the "
    f"{PERCENTILES[0]:g}st to the {PERCENTILES[1]:g}th percentile of each part. Pictures are as the networks see them, "
    "after preprocessing. The CSV file has the errors of the whole case as well."
)
_PARTS = {
    False: "Shown is the part, a third of each side, in which the losses disagree most: at each pixel count the losses "
    "that differ from what most of them say.",
    True: "Shown are the three planes in which the largest connected set of wrong voxels of any loss is largest, and "
    "of them a third of each side, or what that set needs.",
}


def example_figures(examples: Examples) -> list[Drawing]:
    """One figure for each case; none where there is nothing to show."""
    return [example_figure(examples.dataset, example) for example in examples.shown]


def example_figure(dataset: str, example: Example) -> Drawing:
    """The whole case with a box, then the box as each loss segmented it. Of a volume each has three planes."""
    picked, planes = example.picked, example.planes
    volume = len(planes) > 1
    unit = "voxels" if volume else "pixels"
    groups = 1 + len(example.losses)
    rows = math.ceil(groups * len(planes) / _COLUMNS)
    columns = math.ceil(groups / rows) * len(planes)
    side = _WIDTH / max(columns, 4)
    height = max(max(_height(p, p.truth.shape), _height(p, (p.box.height, p.box.width))) for p in planes)
    other = any(segmented.errors.other_class for segmented in example.losses)

    def paint(figure: Figure) -> None:
        panels = figure.subplots(rows, columns, squeeze=False)
        for panel in panels.ravel():
            panel.axis("off")
        cells = panels.reshape(-1, len(planes))
        for panel, plane in zip(cells[0], planes, strict=True):
            _show_whole(panel, plane)
        cells[0][0].set_title("the whole", fontsize=8, loc="center" if not volume else "left")
        for own, segmented in zip(cells[1:], example.losses, strict=False):
            for panel, plane, prediction in zip(own, planes, segmented.predictions, strict=True):
                _show_part(panel, plane, prediction, f"DSC {segmented.dsc:.3f}" if panel is own[0] else "")
            title = "\n".join(textwrap.wrap(short(segmented.variant), 26)[:3])
            own[0].set_title(title, fontsize=8, loc="left" if volume else "center")
        legend = [Patch(color=SKY, alpha=_STRENGTH, label="false negative (FN)"),
                  Patch(color=ORANGE, alpha=_STRENGTH, label="false positive (FP)")]  # fmt: skip
        if other:
            legend.append(Patch(color=PURPLE, alpha=_STRENGTH, label="wrong foreground class (WC)"))
        legend.append(Patch(facecolor="none", edgecolor=YELLOW, label="line: truth"))
        figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), frameon=False, fontsize=8)

    where = ", ".join(f"{p.name} slice {p.at}" for p in planes) if volume else _size(planes[0])
    several = len(example.losses) > 1
    spread = f" over the losses, from {picked.low:.3f} to {picked.high:.3f}" if several else ""
    disputed = f" Of its {unit} {example.disputed} are not the same for all losses." if several else ""
    of_whole = "; ".join(f"{s.variant}: DSC {s.dsc:.3f}, {_counts(s.errors)}" for s in example.losses)
    return draw(
        f"fig4-examples-{dataset}-{picked.role}".replace(" ", "-"),
        f"Example segmentations, {dataset}: {picked.role}",
        f"Test case {picked.case}, mean DSC {picked.mean:.3f}{spread}. Boxed and enlarged: {where}.{disputed}",
        f"Pictures of test case {picked.case} of {dataset} ({picked.role}). Of the whole case, {of_whole}.",
        (0.2 + side * max(columns, 4), 0.5 + rows * (side * height + 0.62)),
        paint,
        data=pd.DataFrame(_rows(dataset, example)),
        how=_HOW.format(part=_PARTS[volume]),
        wide=True,
    )  # fmt: skip


def overlay(
    image: npt.NDArray[np.float32], truth: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    """The image with errors over it: false negatives sky blue, false positives orange, a wrong class purple."""
    shown = image.astype(float).copy()
    for mask, colour in (
        ((truth > 0) & (prediction == 0), SKY),
        ((truth == 0) & (prediction > 0), ORANGE),
        ((truth > 0) & (prediction > 0) & (truth != prediction), PURPLE),
    ):
        shown[mask] = (1 - _STRENGTH) * shown[mask] + _STRENGTH * np.array(_rgb(colour))
    return shown


def _show_whole(panel: Axes, plane: Plane) -> None:
    step = max(1, round(max(plane.truth.shape) / _PIXELS))
    rows, columns = plane.truth.shape
    panel.imshow(
        stretched(plane.image[::step, ::step]), interpolation="none", aspect=plane.aspect,
        extent=(-0.5, columns - 0.5, rows - 0.5, -0.5),
    )  # fmt: skip
    box = plane.box
    panel.add_patch(
        Rectangle((box.left - 0.5, box.top - 0.5), box.width, box.height, fill=False, edgecolor=YELLOW, linewidth=1.2)
    )
    if plane.name:
        panel.text(0.5, -0.03, plane.name, transform=panel.transAxes, ha="center", va="top", fontsize=7)


def _show_part(panel: Axes, plane: Plane, prediction: npt.NDArray[np.uint8], first: str) -> None:
    truth, marked = plane.box.of(plane.truth), plane.box.of(prediction)
    shown = overlay(stretched(plane.box.of(plane.image)), truth, marked)
    panel.imshow(shown, interpolation="none", aspect=plane.aspect)
    if (truth > 0).any() and (truth == 0).any():
        panel.contour(truth > 0, levels=[0.5], colors=YELLOW, linewidths=0.7)
    below = f"{first}\n{_counts(errors(truth, marked))}"
    panel.text(0.5, -0.03, below, transform=panel.transAxes, ha="center", va="top", fontsize=7, linespacing=1.3)


def _counts(found: Errors) -> str:
    other = f" · WC {found.other_class}" if found.other_class else ""
    return f"FP {found.false_positives} · FN {found.false_negatives}{other}"


def _rows(dataset: str, example: Example) -> Iterator[dict[str, object]]:
    for segmented in example.losses:
        for plane, prediction in zip(example.planes, segmented.predictions, strict=True):
            shown = errors(plane.box.of(plane.truth), plane.box.of(prediction))
            yield _row(dataset, example, segmented) | {
                "plane": plane.name, "slice": plane.at, "top": plane.box.top, "left": plane.box.left,
                "height": plane.box.height, "width": plane.box.width, "shown_false_positives": shown.false_positives,
                "shown_false_negatives": shown.false_negatives, "shown_other_class": shown.other_class,
            }  # fmt: skip


def _row(dataset: str, example: Example, segmented: Segmented) -> dict[str, object]:
    return {
        "dataset": dataset, "case": example.picked.case, "role": example.picked.role, "loss": segmented.variant,
        "trial": segmented.trial, "dsc": segmented.dsc, "false_positives": segmented.errors.false_positives,
        "false_negatives": segmented.errors.false_negatives, "other_class": segmented.errors.other_class,
    }  # fmt: skip


def _size(plane: Plane) -> str:
    rows, columns = plane.truth.shape
    return f"{plane.box.width}×{plane.box.height} of {columns}×{rows} pixels"


def _height(plane: Plane, shape: Sequence[int]) -> float:
    """Height over width as it is shown."""
    height: float = plane.aspect * shape[0] / shape[1]
    return height


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


EXAMPLES = ReportFigure(
    "examples", "examples", lambda data: [d for one in data.examples if one.shown for d in example_figures(one)]
)
