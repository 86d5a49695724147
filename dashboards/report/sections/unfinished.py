"""The section on the trials that no statistic counts."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.report.blocks import Block, Paragraph, Table, table
from dashboards.report.numbers import first_line
from dashboards.report.registry import Section, SectionDrawings
from dashboards.study_data import StudyData
from sweeper.analysis import Answers


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section."""
    unfinished = unfinished_table(data.answers)
    if not unfinished.rows:
        yield Paragraph("Every trial finished.")
        return
    yield Paragraph("No statistic counts these trials.")
    yield unfinished


def unfinished_table(answers: Answers) -> Table:
    """Every trial that no statistic counts, with its error."""
    return table(
        "Trials without a current result",
        ("Trial", "Hash", "State", "attempts", "Kind", "Error"),
        [
            (r["label"], r["hash"], r["state"], str(r["attempts"]), r["failure"], first_line(r["error"]))
            for r in answers.unfinished.to_dict("records")
        ],
        text=3,
        long=True,
    )


UNFINISHED = Section("failures", "What did not finish", 110, content, of_trainings=True)
