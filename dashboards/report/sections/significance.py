"""The section on significance: for each data set and class a matrix of p values, mean ranks, and all pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dashboards.figures.style import short
from dashboards.report.blocks import Block, Details, Heading, Paragraph, Table, table
from dashboards.report.numbers import NONE, Row, missing, p_equals, p_text, signed
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
    about = " ".join(test.sentence for test in made_tests(answers))
    yield Paragraph(
        f"{about} Holm corrects within a family: all pairs of losses for one data set, class, metric and test. A "
        "positive effect means that the first loss scores higher; for both Wilcoxon tests it is the rank-biserial "
        "correlation. The difference in the tables of pairs is that of the signed-rank test: the Hodges–Lehmann "
        "estimate of how much higher the first loss scores on an image, and its 95% interval, which holds every "
        "difference that the test does not refuse. Like p and unlike Holm's p it is of one pair alone: it is without 0 "
        "where p is below 0.05. An end that is shown as 0.000 may be a smaller number of either sign, or 0 itself "
        "where many images have equal differences. A dash means that so few images allow no 95% interval."
    )
    for place, summary in summaries:
        title = f"{place[0]}, {place[1]}"
        yield Heading(title)
        if warning := too_few_images(answers, *place):
            yield Paragraph(warning, "banner")
        yield from drawings.take("p-values", place)
        yield Paragraph(friedman_text(summary))
        yield from drawings.take("mean-ranks", place)
        yield Details("All pairs, DSC", (pairs_table(answers, *place),))
    yield Heading("Over data sets")
    if answers.across is not None:
        yield Paragraph(friedman_text(answers.across))
    yield from drawings.take("mean-ranks-across")


def made_tests(answers: Answers) -> list[StatisticalTest]:
    """The tests that were made, in the order of the registry."""
    made = set(answers.significance["test"].unique())
    return [test for test in TESTS.values() if test.name in made]


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
        f"All pairs on DSC, {dataset}, {label}",
        ("First", "Second", *columns, "difference (Hodges–Lehmann)", "95% interval", "images", "left out"),
        [
            (short(first, 60), short(second, 60), *(text for test in tests for text in _cells(by_test.get(test.name))),
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
    verdict = "the losses do not all rank alike" if summary.p < ALPHA else "no significant difference among the losses"
    return (
        f"Friedman χ² = {summary.statistic:.1f}, p {p_equals(summary.p)}, {summary.blocks} blocks{left}: {verdict}. "
        f"{summary.note}"
    ).strip()


def _cells(row: Row | None) -> tuple[str, str, str]:
    """p with its note, corrected p, and effect."""
    if row is None:
        return NONE, NONE, NONE
    note = f" ({row['note']})" if row["note"] else ""
    return p_text(row["p"]) + note, p_text(row["p_holm"]), signed(row["effect"], 2)


def _difference(row: Row) -> tuple[str, str, str, str]:
    return signed(row["median_difference"]), interval_text(row), str(row["n"]), str(row["left_out"])


def interval_text(row: Row) -> str:
    """The 95% interval of a test's difference; a dash where there is none."""
    return NONE if missing(row["low"]) else f"{signed(row['low'])} to {signed(row['high'])}"


SIGNIFICANCE = Section("significance", "Significance", 60, content)
