"""The section on how it ran: environment, settings, and the grid."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath

from dashboards.report.blocks import Block, Details, Paragraph, Table, Text, table
from dashboards.report.registry import Section, SectionDrawings
from dashboards.report.settings_table import settings_table
from dashboards.study_data import Json, StudyData
from sweeper.analysis import Answers

_ABOUT_SETTINGS = (
    "As the trials' specs have them, whether the grid named them or left them out. What the paper does not state is a "
    "choice of this project, and so is the learning rate, whose digits are lost in the copy of the paper that the "
    "project was written from. docs/paper.md lists what is known to differ from the paper and from its software. The "
    "losses and their parameters are what is compared; they are in the tables above and in the grid."
)


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section."""
    environment = environment_table(data.answers, data.environments)
    if environment.rows:
        yield Details("Environment", (environment,))
    settings = settings_table(data.specs)
    if settings.rows:
        yield Details("Settings", (Paragraph(_ABOUT_SETTINGS), settings))
    yield Details("The grid", (Text("The grid", grid_text(data.sweep.grid)),))


def grid_text(grid: Json) -> str:
    """The grid as JSON. Of a data set's folder only the last part is shown: a report does not tell where files are."""
    shown = dict(grid)
    if "datasets" in shown:
        shown["datasets"] = [
            {k: PurePath(v).name if k == "folder" and v else v for k, v in d.items()} for d in shown["datasets"]
        ]
    return json.dumps(shown, indent=2, ensure_ascii=False, default=str)


def environment_table(answers: Answers, environments: Mapping[str, Mapping[str, str]]) -> Table:
    """The versions, devices and revisions of the finished trials; each distinct value once."""
    used = [environments[e] for e in answers.trials["environment"].unique() if e in environments]
    keys = dict.fromkeys(key for environment in used for key in environment)
    rows = [(str(k), ", ".join(dict.fromkeys(str(e[k]) for e in used if k in e))) for k in keys]
    return table("Environment of the finished trials", ("What", "Value"), rows, text=2, long=True)


RAN = Section("ran", "How it ran", 110, content, of_trainings=True)
