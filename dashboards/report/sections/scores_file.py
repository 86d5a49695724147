"""The section on scores that were made elsewhere: what the file holds, since nothing is known of the trainings."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from dashboards.report.blocks import Block, Bullets, Paragraph, Table, table
from dashboards.report.numbers import NONE
from dashboards.report.registry import Section, SectionDrawings
from dashboards.study_data import StudyData
from sweeper.analysis.scored import metric, scored_metrics
from trials.metrics import find


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section; nothing where a sweep made the scores."""
    if not data.source:
        return
    yield Paragraph(
        f"The scores were made elsewhere and read from {data.source}. Settings, data and splits of the trainings are "
        "not known here: whether two losses had the same ones, the file does not say. “The paper” on this page is "
        "Yeung, Sala, Schönlieb and Rundo (Comput. Med. Imaging Graph. 95, 2022, 102026)."
    )
    yield files_table(data)
    yield Bullets(tuple(map(metric_text, scored_metrics(data.answers.selected))))


def files_table(data: StudyData) -> Table:
    """One row per data set: losses, runs of each, folds, classes, cases and groups."""
    rows = []
    scores = data.study.scores
    for dataset, own in data.study.trials.groupby("dataset", sort=False, observed=True):
        there = scores[scores["trial"].isin(own["hash"])]
        runs = own.groupby("loss", observed=True)["repeat"].nunique()
        folds, groups = own.loc[own["fold"] >= 0, "fold"].nunique(), there.loc[there["group"] != "", "group"].nunique()
        rows.append(
            (str(dataset), str(len(runs)), _span(runs), str(folds or NONE), str(there["label"].nunique()),
             str(there["case"].nunique()), str(groups or NONE))
        )  # fmt: skip
    head = ("Data set", "losses", "runs of each loss", "folds", "classes", "cases", "patients or groups")
    return table("What the file holds, per data set", head, rows, text=1)


def metric_text(name: str) -> str:
    """Which way a metric is better, and whether this program knows it."""
    if find(name) is None:
        return f"{name}: no metric that this program knows. A larger value is taken to be better."
    better = "larger" if metric(name).higher_is_better else "smaller"
    return f"{metric(name).heading}: a {better} value is better."


def _span(counts: pd.Series) -> str:
    return str(counts.min()) if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"


SCORES_FILE = Section("scores", "The scores", 10, content)
