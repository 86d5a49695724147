"""The report's sections by name: what a section is, and the drawings that it may place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dashboards.figures.style import Drawing
from dashboards.report.blocks import Block
from dashboards.study_data import StudyData
from trials.registry import Registry


class SectionDrawings:
    """The drawings of a section's figures. What its content does not take is shown at the end of the section.

    Args:
        drawings: by the name of the figure.
    """

    def __init__(self, drawings: Mapping[str, Sequence[Drawing]]) -> None:
        self._left = [(name, drawing) for name, own in drawings.items() for drawing in own]

    def take(self, figure: str | None = None, place: tuple[str, str] | None = None) -> list[Drawing]:
        """Takes the drawings of a figure (None for every figure) that belong to a place (None for any)."""
        taken: list[Drawing] = []
        left: list[tuple[str, Drawing]] = []
        for name, drawing in self._left:
            if figure in (None, name) and (place is None or drawing.place == place):
                taken.append(drawing)
            else:
                left.append((name, drawing))
        self._left = left
        return taken


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the report.

    Attributes:
        name: its name in the registry and its anchor on the page: letters, digits and hyphens.
        title: its heading.
        order: sections are shown in ascending order; ours have 10, 20, 30 …
        content: what it shows of a study; a section without content is left out.
        of_trainings: whether it is about how networks were trained, so that it is left out where scores are from a
            file.
    """

    name: str
    title: str
    order: int
    content: Callable[[StudyData, SectionDrawings], Iterable[Block]]
    of_trainings: bool = False


SECTIONS: Registry[Section] = Registry("section", "sweeper.sections")
"""The sections of the report."""
