"""The section on significance: for each data set and class what is shown of new trainings, and the tests on images.

The paper's tests take images alone. They stand beside the comparisons of trainings, and are called what they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from dashboards.figures.style import short
from dashboards.report.blocks import Block, Details, Heading, Paragraph, Table, table
from dashboards.report.numbers import NONE, Row, interval, p_equals, p_text, signed
from dashboards.report.registry import Section, SectionDrawings
from dashboards.study_data import StudyData
from sweeper.analysis import Answers
from sweeper.analysis.ranks import RankSummary
from sweeper.analysis.significance import ALPHA, SIGNED_RANK
from sweeper.analysis.statistical_tests import TESTS, StatisticalTest


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section."""
    answers = data.answers
    summaries = [
        (place, summary)
        for place, summary in zip(data.places, answers.ranks, strict=True)
        if len(data.ordered_variants(*place)) > 1
    ]
    if not summaries:
        yield Paragraph("No two losses have finished on the same data set.")
        return
    yield Paragraph(
        "Two losses differ where they do so on new images and in new trainings: images (or patients, where they are "
        "known) and training runs are both chance. With one run of a loss nothing is said. Holm corrects over all "
        "pairs of losses for one data set, class and metric."
    )
    about = " ".join(test.sentence for test in made_tests(answers))
    yield Paragraph(
        f"Beside that stand the tests over images only, runs ignored: they say something of these trained networks. "
        f"{about} Each is corrected over the same pairs. A positive effect means that the first loss scores higher; "
        "for both Wilcoxon tests it is the rank-biserial correlation. The difference in the tables of pairs is that of "
        "the signed-rank test: the Hodges–Lehmann estimate of how much higher the first loss scores on an image, and "
        "its 95% interval, which holds every difference that the test does not refuse. Like p and unlike Holm's p it "
        "is of one pair alone: it is without 0 where p is below 0.05. An end that is shown as 0.000 may be a smaller "
        "number of either sign, or 0 itself where many images have equal differences. A dash means that so few images "
        "allow no 95% interval."
    )
    for place, summary in summaries:
        title = f"{place[0]}, {place[1]}"
        yield Heading(title)
        yield Paragraph(friedman_text(summary))
        yield from drawings.take("mean-ranks", place)
        yield from drawings.take("p-values", place)
        pairs = comparisons_table(answers, *place)
        tested = bool(_of_place(answers.comparisons, *place)["p"].notna().any())
        yield pairs if tested else Details("Differences of all pairs on DSC, of these trained networks", (pairs,))
        warning = too_few_images(answers, *place)
        yield Details(
            "The tests over images only, DSC",
            (*([Paragraph(warning, "muted")] if warning else []), pairs_table(answers, *place)),
        )
    yield Heading("Over data sets")
    if answers.across is not None:
        yield Paragraph(friedman_text(answers.across))
    yield from drawings.take("mean-ranks-across")


def made_tests(answers: Answers) -> list[StatisticalTest]:
    """The tests that were made, in the order of the registry."""
    made = set(answers.significance["test"].unique())
    return [test for test in TESTS.values() if test.name in made]


def comparisons_table(answers: Answers, dataset: str, label: str) -> Table:
    """All pairs of a data set and class on DSC: the difference in new trainings."""
    own = _of_place(answers.comparisons, dataset, label)
    return table(
        f"Differences on DSC, {dataset}, {label}",
        ("First", "Second", "About", "difference", "95% interval", "p", "Holm", "images", "patients or groups", "runs"),
        [
            (short(r["loss_a"]), short(r["loss_b"]), r["warrants"], signed(r["difference"]),
             interval(r["low"], r["high"]), p_text(r["p"]), p_text(r["p_holm"]), str(r["images"]),
             str(r["groups"] or NONE), f"{r['runs_a']} and {r['runs_b']}")
            for r in own.to_dict("records")
        ],
        text=3,
        long=True,
    )  # fmt: skip


def pairs_table(answers: Answers, dataset: str, label: str) -> Table:
    """All pairs of a data set and class on DSC: every test side by side."""
    tests = made_tests(answers)
    own = answers.significance
    own = own[(own["dataset"] == dataset) & (own["label"] == label) & (own["metric"] == "dsc")]
    pairs: dict[tuple[str, str], dict[str, Row]] = {}
    for row in own.to_dict("records"):
        pairs.setdefault((row["first"], row["second"]), {})[row["test"]] = row
    columns = [heading for test in tests for heading in (f"{test.heading} p", "Holm", "effect")]
    return table(
        f"Tests over images only on DSC, {dataset}, {label}",
        ("First", "Second", *columns, "difference (Hodges–Lehmann)", "95% interval", "images", "left out"),
        [
            (short(first), short(second), *(text for test in tests for text in _cells(by_test.get(test.name))),
             *_difference(by_test[SIGNED_RANK]))
            for (first, second), by_test in pairs.items()
        ],
        text=2,
    )  # fmt: skip


def too_few_images(answers: Answers, dataset: str, label: str) -> str:
    """A sentence where no corrected p can be significant at this number of images; empty otherwise."""
    own = answers.significance
    own = own[(own["dataset"] == dataset) & (own["label"] == label) & (own["metric"] == "dsc") & (own["warning"] != "")]
    if own.empty:
        return ""
    n, size, p = int(own["n"].min()), int(own["family_size"].max()), float(own["smallest_p_holm"].max())
    return (
        f"With {n} images and {size} comparisons the smallest corrected p that any scores could give is {p:.3f}: the "
        f"absence of a significant difference here says nothing."
    )


def friedman_text(summary: RankSummary) -> str:
    """One sentence on Friedman's test."""
    if math.isnan(summary.p):
        return summary.note
    left = f" ({summary.left_out} left out, since a loss lacks them)" if summary.left_out else ""
    verdict = "they do not all rank alike" if summary.p < ALPHA else "no significant difference among them"
    return (
        f"Ranks of these trained networks: Friedman χ² = {summary.statistic:.1f}, p {p_equals(summary.p)}, "
        f"{summary.blocks} blocks{left}: {verdict}. "
        f"{summary.note}"
    ).strip()


def _of_place(pairs: pd.DataFrame, dataset: str, label: str) -> pd.DataFrame:
    return pairs[(pairs["dataset"] == dataset) & (pairs["class"] == label) & (pairs["metric"] == "dsc")]


def _cells(row: Row | None) -> tuple[str, str, str]:
    """p with its note, corrected p, and effect."""
    if row is None:
        return NONE, NONE, NONE
    note = f" ({row['note']})" if row["note"] else ""
    return p_text(row["p"]) + note, p_text(row["p_holm"]), signed(row["effect"], 2)


def _difference(row: Row) -> tuple[str, str, str, str]:
    return signed(row["median_difference"]), interval(row["low"], row["high"]), str(row["n"]), str(row["left_out"])


SIGNIFICANCE = Section("significance", "Significance", 60, content)
