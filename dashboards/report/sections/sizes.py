"""The section with the scores by the size of the structure."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from dashboards.figures.style import short
from dashboards.report.blocks import Block, Details, Heading, Paragraph, Table, table
from dashboards.report.numbers import NONE, Row, missing, plain
from dashboards.report.registry import Section, SectionDrawings
from dashboards.study_data import StudyData
from sweeper.analysis import Answers
from sweeper.analysis.scored import metric, table_metrics
from sweeper.analysis.sizes import THIRDS, Sizes, sizes_of
from trials.metrics import SIZE


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section."""
    answers = data.answers
    if answers.selected.empty or (data.source and not answers.selected.get(SIZE, pd.Series(dtype=float)).notna().any()):
        return
    dimensions = answers.trials.groupby("dataset", observed=True)["dimensions"].max()
    yield Paragraph(
        "The test images of each data set and class in thirds by the size of the structure in the truth. Mean ± half "
        "width of Student's 95% interval over the images of the third. Nothing is tested here: with so few images in "
        "each third a difference may be chance."
    )
    for (dataset, label), images in answers.selected.groupby(["dataset", "label"], sort=True, observed=True):
        yield Heading(f"{dataset}, {label}")
        sizes = sizes_of(images)
        unit = "voxels" if dimensions[str(dataset)] == 3 else "pixels"
        if text := left_out_text(sizes, data.source):
            yield Paragraph(text, "muted")
        if len(sizes.thirds):
            yield dsc_table(answers, str(dataset), str(label), unit)
            yield Details("All metrics, by size", (size_table(answers, str(dataset), str(label), unit),))


def left_out_text(sizes: Sizes, source: str = "") -> str:
    """How many images are in no third, and why; empty where all are in one.

    Args:
        sizes: of a data set and class.
        source: the file that the scores are from; empty for a sweep.
    """
    parts = []
    if sizes.unknown:
        why = (
            "they have no `size`"
            if source
            else "scores of an older version do not hold it; `sweeper score` adds it from kept predictions"
        )
        parts.append(f"Of {sizes.unknown} of {len(sizes.pixels)} images the structure's size is unknown, since {why}.")
    if sizes.absent:
        parts.append(f"Images without the class: {sizes.absent}.")
    if sizes.thirds.empty and not sizes.unknown:
        parts.append("Fewer than three sizes differ: no thirds.")
    return " ".join(parts)


def dsc_table(answers: Answers, dataset: str, label: str, unit: str) -> Table:
    """DSC by loss, with a column for each third."""
    rows = answers.by_size[(answers.by_size["dataset"] == dataset) & (answers.by_size["label"] == label)]
    dsc = rows[rows["metric"] == "dsc"]
    heads = [
        f"{third}: {plain(own['smallest'].min())} to {plain(own['largest'].max())} {unit}"
        for third in THIRDS
        if len(own := dsc[dsc["third"] == third])
    ]
    lines = [
        (
            short(str(variant)),
            *(_score(row) for third in THIRDS for row in own[own["third"] == third].to_dict("records")),
        )
        for variant, own in dsc.groupby("variant", sort=True, observed=True)
    ]
    return table(f"{dataset}, {label}: DSC by size", ("Loss", *heads), lines, text=1)


def size_table(answers: Answers, dataset: str, label: str, unit: str) -> Table:
    """The scores of each third, the small structures first, by loss."""
    rows = answers.by_size[(answers.by_size["dataset"] == dataset) & (answers.by_size["label"] == label)]
    metrics = table_metrics(rows)
    lines = []
    for third in THIRDS:
        for variant, own in rows[rows["third"] == third].groupby("variant", sort=True, observed=True):
            cells: dict[str, Row] = {r["metric"]: r for r in own.to_dict("records")}
            first = cells["dsc"]
            images = str(first["n"] + first["left_out"])
            size = f"{third}: {plain(first['smallest'])} to {plain(first['largest'])} {unit}"
            lines.append((size, short(str(variant)), plain(first["gamma"]), images, *_scores(cells, metrics)))
    head = ("Size", "Loss", "γ", "images", *(metric(m).heading for m in metrics))
    return table(f"{dataset}, {label}: scores by size", head, lines, text=2)


def _scores(cells: dict[str, Row], metrics: list[str]) -> tuple[str, ...]:
    return tuple(_score(cells[m]) if m in cells else NONE for m in metrics)


def _score(row: Row) -> str:
    if missing(row["mean"]):
        return NONE
    half = "" if missing(row["half_width"]) else f" ± {row['half_width']:.3f}"
    left = f" (−{row['left_out']})" if row["left_out"] else ""
    return f"{row['mean']:.3f}{half}{left}"


SIZES = Section("sizes", "Scores by the size of the structure", 25, content)
