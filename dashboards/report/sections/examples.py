"""The section with example segmentations."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.report.blocks import Block, Paragraph
from dashboards.report.registry import Section, SectionDrawings
from dashboards.study_data import StudyData


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section."""
    shown = drawings.take("examples")
    problems = [f"{e.dataset}: {'; '.join(e.problems)}." for e in data.examples if e.problems]
    if shown:
        yield Paragraph(
            "The same test cases for every loss: of each data set the one of median, best and worst mean DSC, and the "
            "one on which the losses disagree most. The box in the whole is the part that stands enlarged beside it. "
            "There the line is the truth, false positives and false negatives are coloured and, below, counted."
        )
    yield from shown
    yield from (Paragraph(text, "muted") for text in problems)
    if not shown and not problems:
        yield Paragraph("No trial has finished yet.")


EXAMPLES = Section("examples", "Example segmentations", 70, content, of_trainings=True)
