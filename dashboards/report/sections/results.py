"""The section with the scores: tables 2 to 6 of the paper, from our own runs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from dashboards.figures.style import short
from dashboards.report.blocks import Block, Heading, Paragraph, ScoreCell, ScoreTable
from dashboards.report.numbers import NONE, Row, missing, p_equals, plain, signed
from dashboards.report.registry import Section, SectionDrawings
from dashboards.study_data import StudyData
from sweeper.analysis import Answers
from sweeper.analysis.paper import DATASETS, DIFFERENCE_NOTES, LOSSES
from sweeper.analysis.scored import best, metric, table_metrics
from sweeper.analysis.selection import UNIFIED
from sweeper.analysis.significance import ALPHA
from trials.metrics import DIAGONAL, paper_metrics


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section."""
    answers = data.answers
    tables = score_tables(answers)
    yield from map(Paragraph, absent_texts(answers))
    if not tables:
        if answers.absent.empty:
            yield Paragraph("No trial has finished yet.")
        return
    repeated = bool((answers.table["repeats"] > 1).any())
    compared = bool(answers.comparisons["p_holm"].notna().any())
    star = (
        "*: worse than the best mean in new trainings (p < 0.05 after Holm over all pairs of losses)"
        if compared
        else "With one run per loss no difference is marked: it would be one between these trained networks"
    )
    averaged = ", after each image's score was averaged over the repeats" if repeated else ""
    yield Paragraph(
        f"Mean ± half width of Student's 95% interval over test images{averaged}. Bold: the best mean. {star}. Images "
        "whose score is undefined are left out and counted (−)."
    )
    for place, one in tables.items():
        yield Heading(one.name)
        yield one
        yield Paragraph(both_empty_text(answers.table, *place), "muted")
        if note := missed_text(answers, *place):
            yield Paragraph(note, "muted")
        if agreement := agreement_text(answers, *place):
            yield Paragraph(agreement, "muted")
        if note := difference_note(answers, *place):
            yield Paragraph(note, "muted")
        yield from drawings.take("scores", place)


def score_tables(answers: Answers) -> dict[tuple[str, str], ScoreTable]:
    """A table for each data set and class: the paper's data sets first, in its order."""
    groups = [
        ((str(d), str(c)), g) for (d, c), g in answers.table.groupby(["dataset", "label"], sort=False, observed=True)
    ]
    groups.sort(key=lambda item: (DATASETS.get(item[0][0], len(DATASETS) + 2), item[0][0]))
    marks = _marks(answers)
    return {place: _score_table(place, group, marks) for place, group in groups}


def agreement_text(answers: Answers, dataset: str, label: str) -> str:
    """One sentence on how our order of the losses agrees with the paper's; empty where there is nothing to compare."""
    agreement = answers.agreement
    own = agreement[(agreement["dataset"] == dataset) & (agreement["label"] == label) & agreement["tau"].notna()]
    return "".join(
        f"Order of {r['losses']} losses by DSC, compared with the paper's: Kendall's τ = {r['tau']:.2f}, "
        f"p {p_equals(r['p'])}."
        for r in own.to_dict("records")
    )


def absent_texts(answers: Answers) -> list[str]:
    """A sentence for each class that no validation or test image shows."""
    consequences = {
        "test": "It is in no table, mean, test or sentence.",
        "validation": "Validation DSC and the choice of γ do without it.",
    }
    return [
        f"{r['dataset']}: no {r['partition']} image has a pixel of class {r['label']}. {consequences[r['partition']]}"
        for r in answers.absent.to_dict("records")
    ]


def both_empty_text(table: pd.DataFrame, dataset: str, label: str) -> str:
    """How many images have an empty truth and an empty prediction, for each loss of a table."""
    own = table[(table["dataset"] == dataset) & (table["label"] == label) & (table["metric"] == "dsc")]
    counts = own.set_index("variant")["both_empty"]
    if counts.isna().any():
        return (
            "How many images have an empty truth and an empty prediction is not known: these scores do not hold the "
            "sizes of the structures."
        )
    if not counts.any():
        return "No image has both an empty truth and an empty prediction."
    losses = ", ".join(f"{short(str(variant))} {count:.0f}" for variant, count in counts.items())
    return "Images with an empty truth and an empty prediction, which is 1 in every overlap metric: " + (
        f"{counts.iloc[0]:.0f} for every loss." if counts.nunique() == 1 else f"{losses}."
    )


def missed_text(answers: Answers, dataset: str, label: str) -> str:
    """What infinite distances count as, and how many each loss has; empty where there are none."""
    table = answers.table
    own = table[(table["dataset"] == dataset) & (table["label"] == label) & (table["missed"] > 0)]
    if own.empty:
        return ""
    counts = own.groupby("variant", sort=False, observed=True)["missed"].max()
    losses = ", ".join(f"{short(str(variant))} {count}" for variant, count in counts.items())
    headings = ", ".join(metric(m).heading for m in dict.fromkeys(own["metric"]))
    means = (
        "in no mean where the image's diagonal is not stored with the scores (−)"
        if _left_out_of_means(answers, own)
        else "as the image's diagonal in means"
    )
    return (
        f"{headings}: infinite where a structure was missed, or marked where there is none. That counts as the worst "
        f"rank in tests, and {means}. Images: {losses}."
    )


def _left_out_of_means(answers: Answers, missed: pd.DataFrame) -> bool:
    """Whether the diagonal of an image with an infinite value is unknown, or the value is no distance."""
    images = answers.selected
    for name in dict.fromkeys(missed["metric"]):
        own = images[np.isinf(images[name]) & (images["dataset"] == missed["dataset"].iloc[0])]
        if not metric(name).distance or DIAGONAL not in own or own[DIAGONAL].isna().any():
            return True
    return False


def difference_note(answers: Answers, dataset: str, label: str) -> str:
    """What a reader must know of the differences to the paper's figures; empty where none is shown."""
    own = answers.table[(answers.table["dataset"] == dataset) & (answers.table["label"] == label)]
    shown = own[own["loss"].isin(UNIFIED) & own["difference"].notna()]
    return "" if shown.empty else DIFFERENCE_NOTES.get(dataset, "")


def _score_table(place: tuple[str, str], group: pd.DataFrame, marks: set[tuple[str, str, str, str]]) -> ScoreTable:
    dataset, label = place
    metrics = table_metrics(group)
    leading = {m: best(m, group.loc[group["metric"] == m, "mean"].round(3)) for m in metrics}
    order = {name: i for i, name in enumerate(LOSSES)}
    variants = sorted(group["variant"].unique(), key=lambda v: (order.get(v.partition(" (")[0], len(order)), v))
    rows = []
    for variant in variants:
        own = {r["metric"]: r for r in group[group["variant"] == variant].to_dict("records")}
        scores = tuple(_score(own[m], leading[m], (dataset, label, m, variant) in marks) for m in metrics)
        n, left = own["dsc"]["n"], max(own[m]["left_out"] for m in paper_metrics() if m in own)
        images = f"{n}" + (f" (−{left})" if left else "")
        rows.append((short(variant), plain(own["dsc"]["gamma"]), images, scores))
    number = f"Table {DATASETS[dataset]} · " if dataset in DATASETS else ""
    return ScoreTable(f"{number}{dataset}, {label}", tuple(metric(m).heading for m in metrics), tuple(rows))


def _score(row: Row, column_best: float, differs: bool) -> ScoreCell:
    if missing(row["mean"]):
        return ScoreCell(NONE)
    left = f" (−{row['left_out']})" if row["left_out"] and row["metric"] not in paper_metrics() else ""
    half = "" if missing(row["half_width"]) else f" ± {row['half_width']:.3f}"
    repeats = ""
    if row["repeats"] > 1 and not missing(row["repeats_half_width"]):
        repeats = f"± {row['repeats_half_width']:.3f} over {row['repeats']} repeats"
    paper = ""
    if not missing(row["paper_mean"]):
        paper = f"paper {row['paper_mean']:.3f} ± {row['paper_half_width']:.3f} ({signed(row['difference'])})"
    return ScoreCell(
        f"{row['mean']:.3f}{half}{left}", round(row["mean"], 3) == column_best, "*" if differs else "", repeats, paper
    )


def _marks(answers: Answers) -> set[tuple[str, str, str, str]]:
    """(data set, class, metric, variant) of what is worse than the best mean of its column in new trainings."""
    known = answers.table.dropna(subset=["mean"])
    worse = known["mean"].where(known["metric"].map(_lower_is_better).astype(bool), -known["mean"])
    ranked = known.assign(worse=worse).sort_values("worse", kind="stable")
    winners = ranked.drop_duplicates(["dataset", "label", "metric"]).set_index(["dataset", "label", "metric"])
    marks = set()
    for r in answers.comparisons[answers.comparisons["p_holm"] < ALPHA].to_dict("records"):
        place = (r["dataset"], r["class"], r["metric"])
        pair = {r["loss_a"], r["loss_b"]}
        if (winner := winners["variant"].get(place)) in pair:
            (other,) = pair - {winner}
            marks.add((*place, other))
    return marks


def _lower_is_better(name: str) -> bool:
    return not metric(name).higher_is_better


RESULTS = Section("tables", "Results per data set", 20, content)
