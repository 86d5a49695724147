"""From the two frames to every answer, in one call. Pure: it reads and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from sweeper.analysis.chosen import chosen_scores
from sweeper.analysis.claims import Evidence, judge
from sweeper.analysis.comparisons import compare_metrics
from sweeper.analysis.conclusions import chosen_on_validation, three_sentences
from sweeper.analysis.costs import costs, unfinished
from sweeper.analysis.evidence import evidence
from sweeper.analysis.frames import scores_hash
from sweeper.analysis.gamma_differences import gamma_differences
from sweeper.analysis.paper import ranking_agreement
from sweeper.analysis.power import Enough, enough_of
from sweeper.analysis.rankings import Consensus, Ranking, consensus, rank_losses
from sweeper.analysis.ranks import RankSummary, rank_across, rank_within
from sweeper.analysis.scored import scored_metrics
from sweeper.analysis.selection import best_on_validation, best_trials
from sweeper.analysis.significance import pairwise_tests
from sweeper.analysis.sizes import by_size
from sweeper.analysis.stability import curve_runs, gamma_curves, stability
from sweeper.analysis.tables import run_means
from sweeper.analysis.verdicts import MARGIN


@dataclass(frozen=True)
class Answers:
    """Every answer of a sweep, as frames; each frame's columns are documented where it is made.

    `images` holds one score per image at every γ, `selected` those at each variant's chosen γ. `runs` has the means of
    each run that `table` averages, `curve_runs` those that `curves` averages. `significance` has the
    tests over images alone, `comparisons` what may be said of new trainings. `unfit` maps a data set to the reason why
    it tests no claim of the paper. `best` has the row of each data set's loss that is best on validation.
    `counted_scores` are those that everything is computed from, and `absent` the classes that no image of a partition
    shows: they enter nothing (`denominators.counted`). `evidence` says what all this rests on.
    """

    trials: pd.DataFrame
    selection: pd.DataFrame
    best: pd.DataFrame
    images: pd.DataFrame
    selected: pd.DataFrame
    table: pd.DataFrame
    runs: pd.DataFrame
    by_size: pd.DataFrame
    agreement: pd.DataFrame
    significance: pd.DataFrame
    comparisons: pd.DataFrame
    curves: pd.DataFrame
    curve_runs: pd.DataFrame
    gamma_differences: pd.DataFrame
    stability: pd.DataFrame
    rankings: tuple[Ranking, ...]
    consensus: Consensus | None
    enough: tuple[Enough, ...]
    ranks: tuple[RankSummary, ...]
    across: RankSummary | None
    claims: pd.DataFrame
    costs: pd.DataFrame
    unfinished: pd.DataFrame
    unfit: dict[str, str]
    margin: float
    sentences: tuple[str, ...]
    counted_scores: pd.DataFrame
    absent: pd.DataFrame
    evidence: pd.DataFrame
    scores_hash: str

    @property
    def best_models(self) -> dict[str, str]:
        """The hash of each data set's best model: of the loss that is best on validation, the run that is."""
        return best_trials(self.trials, self.best)

    @property
    def chosen(self) -> str:
        """What validation scores alone would choose on each data set; empty where there are none."""
        return chosen_on_validation(self.best)


def analyse(trials: pd.DataFrame, scores: pd.DataFrame, *, rehearsal: bool = False, margin: float = MARGIN) -> Answers:
    """All answers of a sweep.

    Args:
        trials: `frames.trial_frame`.
        scores: `frames.score_frame`.
        rehearsal: whether the sweep was a rehearsal, which tests no claim of the paper.
        margin: the difference of mean scores below which two losses, or two γ of one, count as equal.
    """
    stored, whole = scores_hash(scores), chosen_scores(trials, scores)
    trials, images, per_trial = whole.trials, whole.images, whole.per_trial
    selection, selected, chosen, table = whole.selection, whole.selected, whole.chosen, whole.table
    tests = pairwise_tests(selected)
    pairs = compare_metrics(chosen, scored_metrics(selected))
    curves = gamma_curves(images, per_trial)
    # Masks that were made elsewhere are in the tables and tests; no answer about losses counts them.
    trained = trials[~trials["external"]]
    losses = set(trained["loss"])
    rivals = table[table["loss"].isin(losses)]
    between, compared = tests, pairs
    if trials["external"].any():
        between = pairwise_tests(selected[selected["loss"].isin(losses)])
        compared = compare_metrics(chosen[chosen["loss"].isin(losses)], scored_metrics(selected))
    own = selection[selection["loss"].isin(losses)]
    differences = gamma_differences(per_trial[per_trial["loss"].isin(losses)], own)
    steadiness = stability(differences, curves, own, margin)
    agreement = ranking_agreement(table)
    unfit = unfit_datasets(trials, rehearsal)
    lines = curves[curves["loss"].isin(losses)]
    claims = judge(
        Evidence(rivals, agreement, between, compared, differences, lines, steadiness, trained, unfit, margin)
    )
    runs = chosen[chosen["loss"].isin(losses)].rename(columns={"trial": "run"})
    rankings, could_find = rank_losses(runs), enough_of(runs)
    places = selected[["dataset", "label"]].drop_duplicates().itertuples(index=False)
    return Answers(
        trials=trials,
        selection=selection,
        best=best_on_validation(own),
        images=images,
        selected=selected,
        table=table,
        runs=run_means(chosen, scored_metrics(selected)).reset_index(),
        by_size=by_size(selected),
        agreement=agreement,
        significance=tests,
        comparisons=pairs,
        curves=curves,
        curve_runs=curve_runs(per_trial),
        gamma_differences=differences,
        stability=steadiness,
        rankings=rankings,
        consensus=consensus(rankings),
        enough=could_find,
        ranks=tuple(rank_within(dataset, label, selected, pairs) for dataset, label in places),
        across=None if selected.empty else rank_across(selected),
        claims=claims,
        costs=costs(trained),
        unfinished=unfinished(trials),
        unfit=unfit,
        margin=margin,
        sentences=three_sentences(rivals, compared, rankings, could_find, steadiness, claims),
        counted_scores=whole.scores,
        absent=whole.absent,
        evidence=evidence(trials, selected, chosen, whole.absent),
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
