"""How every figure looks, and how one becomes SVG and PNG: fonts as paths, the same bytes for the same numbers.

Colours are Okabe and Ito's (2008), which colour-blind readers can tell apart, without the yellow, which is too pale on
paper; black is the ink. In the SVG of a page, ink and rules follow the page's light or dark theme.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dashboards.rendering import Renderers, Rendering, drawing_with, render
from trials.spreadsheets import harmless
from workers.files import atomic_write

INK, MUTED, RULE, GROUND = "#1b1c1d", "#5b5c5d", "#d8d9da", "#fefdfc"
BLUE, SKY, GREEN, ORANGE, VERMILLION, PURPLE = "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7"
YELLOW = "#f0e442"
"""For lines on pictures only; too pale on paper."""

PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION)

_THEMED = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    GROUND: "var(--ground)",
    BLUE: "var(--blue)",
    GREEN: "var(--green)",
    VERMILLION: "var(--vermillion)",
}

_LOSS_COLOURS = {
    "ce": MUTED,
    "focal": SKY,
    "dice": GREEN,
    "tversky": ORANGE,
    "focal_tversky": VERMILLION,
    "combo": PURPLE,
    "unified_focal_sym": BLUE,
    "unified_focal_asym": INK,
}
NAME = 48
"""A longer name of a loss is cut, in tables and figures."""

_RC: Any = {
    "svg.fonttype": "path",
    "svg.hashsalt": "sweeper",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.6,
    "figure.facecolor": GROUND,
    "axes.facecolor": "none",
    "path.simplify": True,
    "text.parse_math": False,
}

BESIDE: ContextVar[Renderers | None] = ContextVar("BESIDE", default=None)
"""The processes that render what `draw` draws; None: it is rendered at once."""


@dataclass(frozen=True)
class Drawing:
    """A finished figure.

    Attributes:
        name: of its files.
        title: shown in bold before the caption.
        caption: what it shows, and how to read it.
        alt: what it shows, in words.
        svg: the content of the one file.
        png: the content of the other.
        data: the numbers that are drawn, one row each; None where it shows none.
        how: how they were computed.
        place: the data set and class that it belongs to, where the report has a part for each.
        wide: whether it needs the page's whole width.
        rendering: the files that a process beside makes, while `svg` and `png` are empty.
    """

    name: str
    title: str
    caption: str
    alt: str
    svg: str
    png: bytes
    data: pd.DataFrame | None = None
    how: str = ""
    place: tuple[str, str] | None = None
    wide: bool = False
    rendering: Rendering | None = None

    def complete(self) -> Drawing:
        """The drawing with its files, for which it waits."""
        if self.rendering is None:
            return self
        svg, png = self.rendering.files
        return replace(self, svg=svg, png=png, rendering=None)

    @property
    def csv(self) -> str:
        """The numbers as CSV; empty where there are none."""
        return "" if self.data is None else without_formulas(self.data).to_csv(index=False, lineterminator="\n")

    def inline(self) -> str:
        """The SVG for the inside of a page: ids of its own, colours of the page's theme, its size free."""
        svg = self.svg[self.svg.index("<svg") :]
        svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
        prefix = re.sub(r"\W", "-", self.name)
        svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
        svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}-", svg)
        for colour, variable in _THEMED.items():
            svg = svg.replace(colour, variable)
        width = re.search(r'width="([\d.]+)pt"', svg)
        size = f'style="width:100%;max-width:{float(width.group(1)) * 4 / 3:.0f}px;height:auto"' if width else ""
        svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
        svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', rf"\1 {size}", svg, count=1)
        return svg.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)

    def write(self, folder: Path) -> list[Path]:
        """Writes NAME.svg and NAME.png, and NAME.csv where it has numbers, into the folder and returns their paths."""
        contents = {"svg": self.svg.encode("utf-8"), "png": self.png, "csv": self.csv.encode("utf-8")}
        written = []
        for suffix, content in contents.items():
            if suffix == "csv" and self.data is None:
                continue
            written.append(folder / f"{self.name}.{suffix}")
            with atomic_write(written[-1]) as file:
                file.write(content)
        return written


def draw(
    name: str,
    title: str,
    caption: str,
    alt: str,
    size: tuple[float, float],
    paint: Callable[[Figure], None],
    *,
    data: pd.DataFrame | None = None,
    how: str = "",
    wide: bool = False,
) -> Drawing:
    """Lets `paint` fill a figure of `size` inches and renders it, with no trace of when or by what it was made.

    Where `BESIDE` is set, the drawing gets its files by `complete`.

    The other arguments are those of a `Drawing`.
    """
    with drawing_with(_RC):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure)
        figure.set_facecolor(GROUND)
        beside = BESIDE.get()
        rendering = None if beside is None else beside.submit(_RC, figure)
        svg, png = render(figure) if rendering is None else ("", b"")
    return Drawing(_file_name(name), title, caption, alt, svg, png, data, how, wide=wide, rendering=rendering)


def finished(
    make: Callable[[], Figure | None], *, name: str, title: str, caption: str, alt: str = ""
) -> Drawing | None:
    """Renders the matplotlib figure that `make` returns, in the report's fonts and colours; None where it makes none.

    A figure that a plug-in makes has whatever size and layout it was given there.
    """
    with drawing_with(_RC):
        figure = make()
        if figure is None:
            return None
        figure.set_facecolor(GROUND)
        svg, png = render(figure)
    return Drawing(_file_name(name), title, caption, alt or f"{title}. {caption}", svg, png)


def short(variant: str, limit: int = NAME) -> str:
    """A loss's name as grids, sentences, commands and files have it; a very long one is cut in the middle."""
    return variant if len(variant) <= limit else f"{variant[: limit // 2 - 1]}…{variant[-(limit // 2) :]}"


def loss_colour(variant: str, others: Iterable[str]) -> str:
    """A colour for a variant, the same in every figure of a study whose variants are `others`."""
    if variant in _LOSS_COLOURS:
        return _LOSS_COLOURS[variant]
    free = [v for v in others if v not in _LOSS_COLOURS]
    return PALETTE[free.index(variant) % len(PALETTE)] if variant in free else MUTED


def spread(heights: list[float], gap: float, low: float, high: float) -> list[float]:
    """Moves label heights apart until neighbours are `gap` away, as little as needed, keeping their order.

    All stay between `low` and `high` where there is room for them; otherwise they go beyond `high`.
    """
    order = np.argsort(heights, kind="stable")
    placed = np.array(heights, dtype=float)[order]
    for _ in range(200):
        overlap = gap - np.diff(placed)
        if not (overlap > gap * 1e-3).any():
            break
        push = np.clip(overlap, 0, None) / 2
        placed[:-1] -= push
        placed[1:] += push
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], high if i == len(placed) - 1 else placed[i + 1] - gap)
    for i in range(len(placed)):
        placed[i] = max(placed[i], low if i == 0 else placed[i - 1] + gap)
    result = np.empty_like(placed)
    result[order] = placed
    return [float(v) for v in result]


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with names and texts that no spreadsheet runs: they come from files and from other people's sweeps."""
    texts = frame.select_dtypes(exclude=["number", "bool"]).columns
    changed = {name: frame[name].map(lambda value: harmless(value) if isinstance(value, str) else value).astype(object)
               for name in texts}  # fmt: skip
    return frame.assign(**changed).rename(columns=lambda name: harmless(str(name)))


def label_end(axes: Axes, text: str, at: tuple[float, float], height: float, colour: str) -> None:
    """Names a line to the right of the axes, at `height` in data units, with a thin leader from its end `at`."""
    axes.annotate(
        text, at, (1.03, height), textcoords=("axes fraction", "data"), va="center", annotation_clip=False,
        arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 0,
                    "relpos": (0.0, 0.5)},
    )  # fmt: skip


def _file_name(name: str) -> str:
    """Letters, digits, dots and hyphens only, at most 100: a name for every file system.

    A name that had to be changed gets a hash of the original, and stays unique.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:90]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
