"""From the two frames to every answer, in one call. Pure: it reads and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from sweeper.analysis.chosen import ChosenScores, chosen_scores
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

SYNTHETIC = "synthetic images"
"""Why a data set of such images tests no claim."""


@dataclass(frozen=True, eq=False)
class Answers:
    """Every answer of a sweep, each computed when it is first asked for; a frame's columns are documented where it is
    made.

    Attributes:
        whole: the scores that all is computed from, at every γ and at the chosen ones.
        unfit: a data set that tests no claim of the paper, and why.
        margin: the difference of mean scores below which two losses, or two γ of one, count as equal.
        scores_hash: of the scores as they were given.
    """

    whole: ChosenScores
    unfit: dict[str, str]
    margin: float
    scores_hash: str

    @property
    def caution(self) -> str:
        """What every conclusion on synthetic images lacks, in a sentence; empty without such images."""
        made = [dataset for dataset, reason in self.unfit.items() if reason == SYNTHETIC]
        return f"Synthetic images: {', '.join(made)}. Their scores say nothing about real images." if made else ""

    @property
    def trials(self) -> pd.DataFrame:
        """The finished trials that count."""
        return self.whole.trials

    @property
    def counted_scores(self) -> pd.DataFrame:
        """The scores that everything is computed from."""
        return self.whole.scores

    @property
    def absent(self) -> pd.DataFrame:
        """The classes that no image of a partition shows; they enter nothing (`denominators.counted`)."""
        return self.whole.absent

    @property
    def selection(self) -> pd.DataFrame:
        """The γ of each loss that validation chose."""
        return self.whole.selection

    @property
    def images(self) -> pd.DataFrame:
        """One score per image at every γ."""
        return self.whole.images

    @property
    def selected(self) -> pd.DataFrame:
        """One score per image at each variant's chosen γ."""
        return self.whole.selected

    @property
    def table(self) -> pd.DataFrame:
        """Means with their intervals over images and over runs (`tables.result_table`)."""
        return self.whole.table

    @cached_property
    def runs(self) -> pd.DataFrame:
        """The means of each run that `table` averages."""
        return run_means(self.whole.chosen, scored_metrics(self.selected)).reset_index()

    @cached_property
    def by_size(self) -> pd.DataFrame:
        """Scores by terciles of the structure's size."""
        return by_size(self.selected)

    @cached_property
    def agreement(self) -> pd.DataFrame:
        """How well the ranking agrees with the paper's."""
        return ranking_agreement(self.table)

    @cached_property
    def significance(self) -> pd.DataFrame:
        """The tests over images alone: the paper's."""
        return pairwise_tests(self.selected)

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """What may be said of new trainings."""
        return compare_metrics(self.whole.chosen, scored_metrics(self.selected))

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Mean scores over γ."""
        return gamma_curves(self.images, self.curve_runs)

    @cached_property
    def curve_runs(self) -> pd.DataFrame:
        """The means of each run that `curves` averages."""
        return curve_runs(self.whole.per_trial)

    @cached_property
    def gamma_differences(self) -> pd.DataFrame:
        """Every γ of a loss against its baseline."""
        return gamma_differences(self._of_losses(self.whole.per_trial), self._own_selection)

    @cached_property
    def stability(self) -> pd.DataFrame:
        """How stable each loss is over γ."""
        return stability(self.gamma_differences, self.curves, self._own_selection, self.margin)

    @cached_property
    def best(self) -> pd.DataFrame:
        """The row of each data set's loss that is best on validation."""
        return best_on_validation(self._own_selection)

    @property
    def best_models(self) -> dict[str, str]:
        """The hash of each data set's best model: of the loss that is best on validation, the run that is."""
        return best_trials(self.trials, self.best)

    @property
    def chosen(self) -> str:
        """What validation scores alone would choose on each data set; empty where there are none."""
        return chosen_on_validation(self.best)

    @cached_property
    def rankings(self) -> tuple[Ranking, ...]:
        """The ranking of the losses on each data set and class, with its stability."""
        return rank_losses(self._trained_runs)

    @cached_property
    def consensus(self) -> Consensus | None:
        """The ranking over several data sets; None for one."""
        return consensus(self.rankings)

    @cached_property
    def enough(self) -> tuple[Enough, ...]:
        """Which differences so many runs and images would find."""
        return enough_of(self._trained_runs)

    @cached_property
    def ranks(self) -> tuple[RankSummary, ...]:
        """Mean ranks over the images of each data set and class."""
        places = self.selected[["dataset", "label"]].drop_duplicates().itertuples(index=False)
        return tuple(rank_within(dataset, label, self.selected, self.comparisons) for dataset, label in places)

    @cached_property
    def across(self) -> RankSummary | None:
        """Mean ranks over data sets; None without scores."""
        return None if self.selected.empty else rank_across(self.selected)

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The paper's claims, each with its verdict."""
        evidence = Evidence(
            self._of_losses(self.table),
            self.agreement,
            self._tests_of_losses,
            self._comparisons_of_losses,
            self.gamma_differences,
            self._of_losses(self.curves),
            self.stability,
            self._trained,
            self.unfit,
            self.margin,
        )
        return judge(evidence)

    @cached_property
    def costs(self) -> pd.DataFrame:
        """What the trials cost."""
        return costs(self._trained)

    @cached_property
    def unfinished(self) -> pd.DataFrame:
        """The trials that did not finish."""
        return unfinished(self.trials)

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """The answer in three sentences."""
        return three_sentences(
            self._of_losses(self.table),
            self._comparisons_of_losses,
            self.rankings,
            self.enough,
            self.stability,
            self.claims,
        )

    @cached_property
    def evidence(self) -> pd.DataFrame:
        """What all this rests on: runs, groups, images."""
        return evidence(self.trials, self.selected, self.whole.chosen, self.absent)

    # Masks that were made elsewhere are in the tables and tests; no answer about losses counts them.

    @cached_property
    def _trained(self) -> pd.DataFrame:
        return self.trials[~self.trials["external"]]

    def _of_losses(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["loss"].isin(set(self._trained["loss"]))]

    @cached_property
    def _own_selection(self) -> pd.DataFrame:
        return self._of_losses(self.selection)

    @cached_property
    def _trained_runs(self) -> pd.DataFrame:
        return self._of_losses(self.whole.chosen).rename(columns={"trial": "run"})

    @cached_property
    def _tests_of_losses(self) -> pd.DataFrame:
        return pairwise_tests(self._of_losses(self.selected)) if self.trials["external"].any() else self.significance

    @cached_property
    def _comparisons_of_losses(self) -> pd.DataFrame:
        if not self.trials["external"].any():
            return self.comparisons
        return compare_metrics(self._of_losses(self.whole.chosen), scored_metrics(self.selected))


def analyse(trials: pd.DataFrame, scores: pd.DataFrame, *, rehearsal: bool = False, margin: float = MARGIN) -> Answers:
    """All answers of a sweep.

    Args:
        trials: `frames.trial_frame`.
        scores: `frames.score_frame`.
        rehearsal: whether the sweep was a rehearsal, which tests no claim of the paper.
        margin: the difference of mean scores below which two losses, or two γ of one, count as equal.
    """
    whole = chosen_scores(trials, scores)
    return Answers(whole, unfit_datasets(whole.trials, rehearsal), margin, scores_hash(scores))


def unfit_datasets(trials: pd.DataFrame, rehearsal: bool) -> dict[str, str]:
    """The data sets whose runs say nothing about the paper, each with the reason."""
    unfit = {}
    for dataset, group in trials.groupby("dataset", sort=False, observed=True):
        if (group["provenance"] == "synthetic").any():
            unfit[str(dataset)] = SYNTHETIC
        elif rehearsal:
            unfit[str(dataset)] = "a rehearsal"
    return unfit
