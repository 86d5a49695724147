"""How sure the ranking is: for each loss a dot at each rank, as large as its share of the resampled rankings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dashboards.figures.registry import ReportFigure
from dashboards.figures.style import INK, MUTED, RULE, Drawing, draw, loss_colour, short
from dashboards.study_data import StudyData
from sweeper.analysis.comparisons import NEW_TRAININGS
from sweeper.analysis.intervals import RESAMPLES
from sweeper.analysis.rankings import Consensus, Ranking, chance

_LARGEST = 250.0
"""Area of a dot whose share is 1, in square points."""

_SMALLEST_SHARE = 0.005


def blob_figure(ranking: Ranking | Consensus, variants: list[str], name: str, title: str) -> Drawing:
    """Losses from the best mean down, ranks from left to right; beside each loss its probability of being best.

    Args:
        ranking: of one data set and class, or over data sets.
        variants: all variants of the study, for the colours.
        name: of the file.
        title: its title.
    """
    shares = ranking.rank_shares
    size = len(ranking.losses)
    cumulative = shares.cumsum(axis=1)
    medians = (cumulative < 0.5).sum(axis=1) + 1
    low, high = (cumulative < 0.025).sum(axis=1) + 1, (cumulative < 0.975).sum(axis=1) + 1

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.grid(visible=False)
        axes.grid(visible=True, axis="x")
        for row, loss in enumerate(ranking.losses):
            colour = loss_colour(loss, variants)
            axes.plot([low[row], high[row]], [row, row], color=colour, linewidth=1, alpha=0.6, zorder=1)
            ranks = np.flatnonzero(shares[row] >= _SMALLEST_SHARE)
            axes.scatter(
                ranks + 1,
                np.full(ranks.size, row),
                s=_LARGEST * shares[row, ranks],
                color=colour,
                linewidths=0,
                zorder=2,
            )
            axes.plot([medians[row]], [row], marker="|", color=INK, markersize=20, markeredgewidth=1.3, zorder=1.5)
            axes.annotate(
                chance(ranking.best_probability[loss]), (1.02, row), xycoords=("axes fraction", "data"), va="center",
                color=INK, annotation_clip=False,
            )  # fmt: skip
        axes.annotate(
            "best with\nprobability", (1.02, -0.75), xycoords=("axes fraction", "data"), va="bottom", fontsize=8,
            color=MUTED, annotation_clip=False,
        )  # fmt: skip
        axes.set_yticks(range(size), [short(loss) for loss in ranking.losses])
        axes.set_ylim(size - 0.4, -0.6)
        axes.set_xlim(0.5, size + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
        axes.set_xlabel("rank (1 is best)")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_color(RULE)

    listed = "; ".join(
        f"{loss} {chance(ranking.best_probability[loss])} (median rank {medians[row]}, 95% {low[row]} to {high[row]})"
        for row, loss in enumerate(ranking.losses)
    )
    drawn = "images and trainings were" if ranking.about == NEW_TRAININGS else "images (the networks stay) were"
    return draw(
        name,
        title,
        f"The area of a dot is the share of resamples in which the loss has this rank, when {drawn} drawn again. The "
        "upright stroke is the median rank, the line holds 95% of the ranks, and the number is the share in which the "
        "loss is best.",
        f"Dots by loss and rank. Probability of being best: {listed}.",
        (6.2, 1.2 + 0.3 * size),
        paint,
        data=pd.DataFrame(shares, columns=[f"rank_{rank}" for rank in range(1, size + 1)]).assign(
            loss=ranking.losses, best_with_probability=[ranking.best_probability[loss] for loss in ranking.losses]
        ),
        how=f"{RESAMPLES:,} resamples: images (or patients, where they are known) are drawn with replacement, and each "
        "loss gets the effect of new trainings, as large as its runs differ. The CSV file has the share of each rank.",
    )


def _blobs(data: StudyData) -> Iterator[Drawing]:
    for ranking in data.answers.rankings:
        place = ranking.dataset, ranking.label
        drawing = blob_figure(
            ranking,
            data.variants,
            f"ranking-{place[0]}-{place[1]}",
            f"Ranking and how sure it is, {place[0]} ({place[1]})",
        )
        yield replace(drawing, place=place)


def _consensus_blobs(data: StudyData) -> Iterator[Drawing]:
    if data.answers.consensus is not None:
        yield blob_figure(
            data.answers.consensus, data.variants, "ranking-all-data-sets",
            f"Consensus ranking over {len(data.answers.consensus.datasets)} data sets",
        )  # fmt: skip


RANKINGS = ReportFigure("rankings", "ranking", _blobs)
CONSENSUS = ReportFigure("consensus", "ranking", _consensus_blobs)
