"""The report's figures by name: what a figure is, and how one is added."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from matplotlib.figure import Figure

from dashboards.figures.style import Drawing, finished
from dashboards.study_data import StudyData
from trials.registry import Registry


@dataclass(frozen=True, slots=True)
class ReportFigure:
    """A figure of the report, drawn once or once for each data set.

    Attributes:
        name: its name in the registry.
        section: the name of the section of the report that shows it.
        drawings: what it shows of a study; empty where there is nothing to show.
    """

    name: str
    section: str
    drawings: Callable[[StudyData], Iterable[Drawing]]


FIGURES: Registry[ReportFigure] = Registry("figure", "sweeper.figures")
"""The figures in the order in which their files are written. `study_figure` and `dataset_figure` make entries."""


class PaintsStudy(Protocol):
    """Draws a figure of a whole study; None where there is nothing to show."""

    def __call__(self, data: StudyData, /) -> Figure | None:
        """Draws."""


class PaintsDataset(Protocol):
    """Draws a figure of one data set; None where there is nothing to show."""

    def __call__(self, data: StudyData, dataset: str, /) -> Figure | None:
        """Draws."""


def study_figure(
    name: str, function: PaintsStudy, *, title: str, caption: str, section: str, alt: str = ""
) -> ReportFigure:
    """A figure that is drawn once.

    Args:
        name: its name, and that of its files.
        function: makes a matplotlib figure, in the report's fonts and colours.
        title: shown in bold before the caption.
        caption: what the figure shows and how to read it.
        section: the name of the section that shows it.
        alt: what it shows, for readers who do not see it; the title and the caption unless given.
    """

    def drawings(data: StudyData) -> Iterator[Drawing]:
        drawing = finished(partial(function, data), name=name, title=title, caption=caption, alt=alt)
        if drawing is not None:
            yield drawing

    return ReportFigure(name, section, drawings)


def dataset_figure(
    name: str, function: PaintsDataset, *, title: str, caption: str, section: str, alt: str = ""
) -> ReportFigure:
    """A figure that is drawn for each data set with a result, whose name follows the title. Arguments as above."""

    def drawings(data: StudyData) -> Iterator[Drawing]:
        for dataset in data.datasets:
            drawing = finished(
                partial(function, data, dataset),
                name=f"{name}-{dataset}", title=f"{title}, {dataset}", caption=caption, alt=alt,
            )  # fmt: skip
            if drawing is not None:
                yield drawing

    return ReportFigure(name, section, drawings)
