"""From the two frames to every answer, in one call. Pure: it reads and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from sweeper.analysis.claims import Evidence, judge
from sweeper.analysis.conclusions import three_sentences
from sweeper.analysis.costs import costs, unfinished
from sweeper.analysis.denominators import counted
from sweeper.analysis.frames import scores_hash
from sweeper.analysis.paper import ranking_agreement, side_by_side
from sweeper.analysis.ranks import RankSummary, rank_across, rank_within
from sweeper.analysis.selection import at_selected_gamma, image_scores, select_gamma, trial_scores
from sweeper.analysis.significance import pairwise_tests
from sweeper.analysis.sizes import by_size
from sweeper.analysis.stability import gamma_curves, stability
from sweeper.analysis.tables import result_table


@dataclass(frozen=True)
class Answers:
    """Every answer of a sweep, as frames; each frame's columns are documented where it is made.

    `images` holds one score per image at every γ, `selected` those at each variant's chosen γ. `unfit` maps a data set
    to the reason why it tests no claim of the paper. `counted_scores` are those that everything is computed from, and
    `absent` the classes that no image of a partition shows: they enter nothing (`denominators.counted`).
    """

    trials: pd.DataFrame
    selection: pd.DataFrame
    images: pd.DataFrame
    selected: pd.DataFrame
    table: pd.DataFrame
    by_size: pd.DataFrame
    agreement: pd.DataFrame
    significance: pd.DataFrame
    curves: pd.DataFrame
    stability: pd.DataFrame
    ranks: tuple[RankSummary, ...]
    across: RankSummary | None
    claims: pd.DataFrame
    costs: pd.DataFrame
    unfinished: pd.DataFrame
    unfit: dict[str, str]
    sentences: tuple[str, ...]
    counted_scores: pd.DataFrame
    absent: pd.DataFrame
    scores_hash: str


def analyse(trials: pd.DataFrame, scores: pd.DataFrame, *, rehearsal: bool = False) -> Answers:
    """All answers of a sweep.

    Args:
        trials: `frames.trial_frame`.
        scores: `frames.score_frame`.
        rehearsal: whether the sweep was a rehearsal, which tests no claim of the paper.
    """
    stored, whole = scores_hash(scores), counted(trials, scores)
    trials, scores = whole.trials, whole.scores
    images = image_scores(trials, scores)
    per_trial = trial_scores(trials, scores)
    selection = select_gamma(trials)
    selected = at_selected_gamma(images, selection)
    table = side_by_side(result_table(selected, at_selected_gamma(per_trial, selection)))
    tests = pairwise_tests(selected)
    curves = gamma_curves(images, per_trial)
    # Masks that were made elsewhere are in the tables and tests; no answer about losses counts them.
    trained = trials[~trials["external"]]
    losses = set(trained["loss"])
    rivals = table[table["loss"].isin(losses)]
    between = pairwise_tests(selected[selected["loss"].isin(losses)]) if trials["external"].any() else tests
    steadiness = stability(images, curves, selection[selection["loss"].isin(losses)])
    agreement = ranking_agreement(table)
    unfit = unfit_datasets(trials, rehearsal)
    lines = curves[curves["loss"].isin(losses)]
    claims = judge(Evidence(rivals, agreement, between, lines, steadiness, trained, unfit))
    places = selected[["dataset", "label"]].drop_duplicates().itertuples(index=False)
    return Answers(
        trials=trials,
        selection=selection,
        images=images,
        selected=selected,
        table=table,
        by_size=by_size(selected),
        agreement=agreement,
        significance=tests,
        curves=curves,
        stability=steadiness,
        ranks=tuple(rank_within(dataset, label, selected, tests) for dataset, label in places),
        across=None if selected.empty else rank_across(selected),
        claims=claims,
        costs=costs(trained),
        unfinished=unfinished(trials),
        unfit=unfit,
        sentences=three_sentences(rivals, between, steadiness, claims),
        counted_scores=scores,
        absent=whole.absent,
        scores_hash=stored,
    )


def unfit_datasets(trials: pd.DataFrame, rehearsal: bool) -> dict[str, str]:
    """The data sets whose runs say nothing about the paper, each with the reason."""
    unfit = {}
    for dataset, group in trials.groupby("dataset", sort=False, observed=True):
        if (group["provenance"] == "synthetic").any():
            unfit[str(dataset)] = "synthetic images"
        elif rehearsal:
            unfit[str(dataset)] = "a rehearsal"
    return unfit
