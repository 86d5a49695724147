"""The section on cost: training time per data set and loss."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.figures.style import short
from dashboards.report.blocks import Block, Paragraph, Table, table
from dashboards.report.numbers import fixed
from dashboards.report.registry import Section, SectionDrawings
from dashboards.study_data import StudyData
from sweeper.analysis import Answers


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section."""
    costs = cost_table(data.answers)
    yield costs if costs.rows else Paragraph("No trial has finished yet.")


def cost_table(answers: Answers) -> Table:
    """Training time per data set and loss, and of all together."""
    rows = [
        (r["dataset"], short(r["loss"]), str(r["trials"]), f"{r['hours']:.2f}", fixed(r["mean_seconds"], 0),
         fixed(r["mean_epochs"], 1))
        for r in answers.costs.to_dict("records")
    ]  # fmt: skip
    if rows:
        rows.append(("all", "", str(answers.costs["trials"].sum()), f"{answers.costs['hours'].sum():.2f}", "", ""))
    head = ("Data set", "Loss", "trials", "device hours", "seconds per trial", "epochs")
    return table("Training time of the finished trials", head, rows, text=2)


COST = Section("cost", "Cost", 100, content, of_trainings=True)
