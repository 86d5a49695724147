"""The section with the training curves."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.report.blocks import Block, Paragraph
from dashboards.report.registry import Section, SectionDrawings
from dashboards.study_data import StudyData


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section."""
    shown = drawings.take("training")
    yield from shown
    if not shown:
        yield Paragraph("No trial has finished yet.")


TRAINING = Section("training", "Training", 80, content, of_trainings=True)
