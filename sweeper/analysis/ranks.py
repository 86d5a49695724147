"""Do the losses differ at all? Friedman's test and mean ranks: per data set with images as blocks, and over data sets.

The mean ranks and the matrix of corrected p values are what a critical-difference diagram draws (Demšar 2006; tests of
pairs with Holm in place of Nemenyi, after Benavoli et al. 2016).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from sweeper.analysis.rank_tests import signed_rank
from sweeper.analysis.significance import holm
from sweeper.analysis.wide import wide

SMALLEST_DATASETS = 6
"""Data sets below which no two-sided signed-rank test over data sets can reach p < 0.05 (2^(1−5) = 0.0625)."""


@dataclass(frozen=True)
class RankSummary:
    """Mean ranks of the losses over blocks (rank 1 is best), and Friedman's test of their being equal.

    `mean_ranks` is indexed by variant, best first. `p` is NaN, and `note` says why, where no test can be made.
    `corrected` is the symmetric matrix of Holm-corrected p values (NaN where untested, 1 on the diagonal): within a
    data set of the comparisons about new trainings, over data sets of the signed-rank test.
    `blocks` is the number of images (or data sets) that every loss has; `left_out` those that one of them lacks.
    """

    name: str
    mean_ranks: Mapping[str, float]
    statistic: float
    p: float
    corrected: pd.DataFrame
    blocks: int
    left_out: int
    note: str = ""
    how: str = "in new trainings"
    """By which comparison `corrected` tells losses apart."""


def rank_within(dataset: str, label: str, images: pd.DataFrame, comparisons: pd.DataFrame) -> RankSummary:
    """Ranks by DSC within one data set and class, with the test images as blocks.

    Args:
        images: `image_scores` at the chosen γ.
        comparisons: `compare_metrics` of the same scores, from which the corrected p values are taken.
    """
    chosen = images[(images["dataset"] == dataset) & (images["label"] == label)]
    table = wide(chosen, "case", "variant", "dsc")
    pairs = comparisons[
        (comparisons["dataset"] == dataset) & (comparisons["class"] == label) & (comparisons["metric"] == "dsc")
    ]
    corrected = _unit_matrix(list(table.columns))
    for first, second, p in pairs[["loss_a", "loss_b", "p_holm"]].itertuples(index=False):
        corrected.loc[first, second] = corrected.loc[second, first] = p
    return _summary(f"{dataset} · {label}", table, corrected, "images")


def rank_across(images: pd.DataFrame) -> RankSummary:
    """Ranks by mean DSC (over classes and images) with the data sets as blocks."""
    means = images.groupby(["dataset", "label", "variant"], observed=True)["dsc"].mean()
    table = means.groupby(["dataset", "variant"], observed=True).mean().unstack("variant")
    complete = table.dropna()
    pairs = [(a, b) for i, a in enumerate(table.columns) for b in table.columns[i + 1 :]]
    p = [signed_rank(complete[a].to_numpy(float), complete[b].to_numpy(float)).p for a, b in pairs]
    corrected = _unit_matrix(list(table.columns))
    for (a, b), value in zip(pairs, holm(np.array(p, dtype=float)), strict=True):
        corrected.loc[a, b] = corrected.loc[b, a] = value
    summary = _summary("all data sets", table, corrected, "data sets")
    summary = replace(summary, how="signed-rank over data sets")
    if summary.blocks >= SMALLEST_DATASETS:
        return summary
    few = (
        f"With {summary.blocks} data set{'' if summary.blocks == 1 else 's'} no pairwise difference between losses can "
        f"be significant: below {SMALLEST_DATASETS} data sets the smallest two-sided signed-rank p is above 0.05."
    )
    return replace(summary, note=f"{summary.note} {few}".strip())


def _summary(name: str, table: pd.DataFrame, corrected: pd.DataFrame, blocks: str) -> RankSummary:
    complete = table.dropna().round(12)
    n, k = complete.shape
    left_out = len(table) - n
    ranks = complete.rank(axis=1, ascending=False).mean().sort_values(kind="stable")
    mean_ranks = {str(v): float(r) for v, r in ranks.items()}
    nan = float("nan")
    if k < 3 or n < 2:
        note = f"Friedman's test needs three losses and two {blocks}; here are {k} and {n}."
        return RankSummary(name, mean_ranks, nan, nan, corrected, n, left_out, note)
    if (complete.nunique(axis=1) == 1).all():
        return RankSummary(name, mean_ranks, 0.0, 1.0, corrected, n, left_out, "All losses score the same.")
    result = stats.friedmanchisquare(*(complete[c].to_numpy(float) for c in complete.columns))
    return RankSummary(name, mean_ranks, float(result.statistic), float(result.pvalue), corrected, n, left_out)


def _unit_matrix(names: list[str]) -> pd.DataFrame:
    matrix = np.full((len(names), len(names)), np.nan)
    np.fill_diagonal(matrix, 1.0)
    return pd.DataFrame(matrix, index=names, columns=names)
