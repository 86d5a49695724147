"""The section on the losses themselves: figures 1 and 2, which are the same in every report."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.report.blocks import Block
from dashboards.report.registry import Section, SectionDrawings
from dashboards.study_data import StudyData


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section."""
    yield from drawings.take()


FAMILY = Section("family", "The losses", 30, content, of_trainings=True)
