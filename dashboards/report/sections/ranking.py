"""The section on the ranking: who may be best on each data set and class, with what probability, and over data sets."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.figures.style import short
from dashboards.report.blocks import Block, Details, Heading, Paragraph, Table, table
from dashboards.report.numbers import fixed
from dashboards.report.registry import Section, SectionDrawings
from dashboards.study_data import StudyData
from sweeper.analysis.comparisons import THESE_NETWORKS
from sweeper.analysis.intervals import RESAMPLES
from sweeper.analysis.power import Enough, components_text, finds_text, what_more_would_tell
from sweeper.analysis.rankings import Consensus, Ranking, chance, who_may_be_best


def content(data: StudyData, drawings: SectionDrawings) -> Iterator[Block]:
    """The whole section."""
    if not data.answers.rankings:
        return
    yield Paragraph(
        f"The losses are ranked by mean test DSC in {RESAMPLES:,} resamples. In each, the images (or patients, where "
        "they are known) are drawn with replacement, and each loss gets the effect of new trainings, as large as its "
        "runs differ. The share of resamples in which a loss comes first is its probability of being best."
    )
    enough = {(one.dataset, one.label): one for one in data.answers.enough}
    for ranking in data.answers.rankings:
        yield Heading(f"{ranking.dataset}, {ranking.label}")
        yield Paragraph(ranking_text(ranking))
        yield from drawings.take("rankings", (ranking.dataset, ranking.label))
        if (found := enough.get((ranking.dataset, ranking.label))) is not None:
            yield Paragraph(enough_text(found))
        yield Details("Ranks of all losses", (ranks_table(ranking),))
    if data.answers.consensus is not None:
        yield Heading("Over data sets")
        yield Paragraph(consensus_text(data.answers.consensus))
        yield from drawings.take("consensus")


def ranking_text(ranking: Ranking) -> str:
    """Who may be best, how much the resampled rankings agree, and what they were made of."""
    text = who_may_be_best(ranking)
    parts = [f"{text[:1].upper()}{text[1:]}.", _agreement(ranking)]
    fewest, most = min(ranking.runs.values()), max(ranking.runs.values())
    runs = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    parts.append(
        f"Made of {ranking.units} {ranking.unit} and {runs} run{'' if most == 1 else 's'} of each loss"
        + (f"; {ranking.left_out} images that a loss lacks are left out." if ranking.left_out else ".")
    )
    if ranking.about == THESE_NETWORKS:
        parts.append("With one run of each loss nothing is said about new trainings.")
    if ranking.single:
        named = ", ".join(short(loss) for loss in ranking.single)
        parts.append(f"Not ranked, with one run only: {named}.")
    return " ".join(parts)


def enough_text(enough: Enough) -> str:
    """Which difference such a study finds, and what more runs would."""
    found = finds_text(enough)
    return (
        f"{found[:1].upper()}{found[1:]} ({components_text(enough.components)}). {what_more_would_tell(enough)}".strip()
    )


def consensus_text(ranking: Consensus) -> str:
    """The same over data sets."""
    text = who_may_be_best(ranking)
    parts = [
        f"By mean rank over {', '.join(ranking.datasets)}, each with one say: {text}.",
        _agreement(ranking),
        "This is about these data sets, not about others.",
    ]
    if ranking.missing:
        parts.append(f"Left out, since a data set lacks them: {', '.join(short(m) for m in ranking.missing)}.")
    return " ".join(parts)


def ranks_table(ranking: Ranking) -> Table:
    """The mean of each loss, its probability of being best, and the share of each rank."""
    ranks = range(1, len(ranking.losses) + 1)
    return table(
        f"Share of resamples by rank, {ranking.dataset}, {ranking.label}",
        ("Loss", "runs", "mean DSC", "best with probability", *(f"rank {rank}" for rank in ranks)),
        [
            (short(loss), str(ranking.runs[loss]), fixed(mean), chance(ranking.best_probability[loss]),
             *(fixed(share, 2) for share in shares))
            for loss, mean, shares in zip(ranking.losses, ranking.means, ranking.rank_shares, strict=True)
        ],
        text=1,
    )  # fmt: skip


def _agreement(ranking: Ranking | Consensus) -> str:
    tau = ranking.tau
    return (
        f"Kendall's τ between resampled rankings and this one: {tau.mean:.2f} on average, 95% of them from "
        f"{tau.low:.2f} to {tau.high:.2f}."
    ).replace("-", "−")


RANKING = Section("ranking", "Ranking, and how sure it is", 55, content)
