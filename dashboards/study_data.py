"""What the report's figures and sections are made from: a study, and what was read beside it. Only reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from storage.records import Sweep, Trial
from storage.repository import Repository
from sweeper.analysis import Answers
from sweeper.analysis.selection import at_selected_gamma
from sweeper.analysis.verdicts import UNTESTED
from sweeper.grids.details import details_of
from sweeper.search.details import SearchDetails
from sweeper.study import Study
from sweeper.views.examples import Examples, load_examples
from sweeper.views.status import tried_points
from trials.spec import TrialSpec
from trials.states import TrialState

Json = Mapping[str, Any]
"""An object of JSON as storage keeps it, such as a grid."""

HISTORY_COLUMNS = ["trial", "epoch", "loss", "val_loss", "val_dsc", "dataset", "variant"]


@dataclass(frozen=True)
class SearchedTrials:
    """What one search tried.

    Attributes:
        study: the name of its Optuna study.
        search: what the sweep remembers of it.
        points: its trials by the values that were chosen, in the order of suggestion.
        pruned_scores: of each pruned trial, by hash, the validation DSC after each of its epochs.
    """

    study: str
    search: SearchDetails
    points: Mapping[tuple[float, ...], Sequence[Trial]]
    pruned_scores: Mapping[str, Sequence[float]]

    @property
    def trials(self) -> list[Trial]:
        """Its trials in the order of suggestion."""
        return [trial for own in self.points.values() for trial in own]


@dataclass(frozen=True)
class StudyData:
    """A study, and what was read beside it for the report.

    Attributes:
        study: the sweep, its frames and its answers.
        history: the epochs of the current trials at each variant's chosen γ (`HISTORY_COLUMNS` and others).
        examples: the example segmentations of each data set.
        environments: versions, devices and revisions by the hash that trials name them by.
        searches: what each search of the sweep tried.
        specs: of the trials that were trained here and count, or of all that shall be while none has finished.
        source: the name of the file that the scores are from; empty where a sweep made them.
    """

    study: Study
    history: pd.DataFrame
    examples: Sequence[Examples]
    environments: Mapping[str, Mapping[str, str]]
    searches: Sequence[SearchedTrials]
    specs: Sequence[TrialSpec] = ()
    source: str = ""

    @property
    def sweep(self) -> Sweep:
        """The sweep as it is stored."""
        return self.study.sweep

    @property
    def answers(self) -> Answers:
        """Every table, test, curve and claim."""
        return self.study.answers

    @property
    def sentences(self) -> tuple[str, ...]:
        """The answer; of scores from a file without the questions that no row of it is about."""
        which, *others = self.answers.sentences
        if self.source:
            tested = (self.answers.claims["verdict"] != UNTESTED) & self.answers.claims["in_paper"]
            others = others[1:] if tested.any() else []
        return (which, *others)

    @property
    def datasets(self) -> list[str]:
        """The data sets with a result, in the order of the tables."""
        return [str(d) for d in self.answers.selection["dataset"].unique()]

    @property
    def places(self) -> list[tuple[str, str]]:
        """Data set and class of everything that was tested."""
        pairs = self.answers.selected[["dataset", "label"]].drop_duplicates()
        return [(str(d), str(label)) for d, label in pairs.itertuples(index=False)]

    @property
    def variants(self) -> list[str]:
        """Every variant with a result: what gives each its colour."""
        return sorted(str(v) for v in self.answers.selection["variant"].unique())

    @property
    def searched_variants(self) -> set[str]:
        """The variants whose γ a search chose."""
        hashes = {t.hash for one in self.searches for t in one.trials}
        trials = self.answers.trials
        return {str(v) for v in trials.loc[trials["hash"].isin(hashes), "variant"]}

    def ordered_variants(self, dataset: str, label: str) -> list[str]:
        """The variants of a data set and class, highest mean DSC first."""
        table = self.answers.table
        own = table[(table["dataset"] == dataset) & (table["label"] == label) & (table["metric"] == "dsc")]
        return [str(v) for v in own.sort_values("mean", ascending=False, kind="stable")["variant"]]


def read_study_data(
    repository: Repository, study: Study, trials_folder: Path | None = None, prepared_root: Path | None = None
) -> StudyData:
    """Reads what the report shows beside a study's answers.

    Args:
        repository: where the sweep is stored.
        study: the sweep's.
        trials_folder: holds the trials' predictions, for the example segmentations.
        prepared_root: holds the prepared data sets, for the same.
    """
    stored = repository.trials(study.sweep.name)
    return StudyData(
        study=study,
        history=_history(repository, study),
        examples=load_examples(
            study.answers, trials_folder, prepared_root, hidden=datasets_without_pictures(study.sweep.grid)
        ),
        environments=repository.environments(),
        searches=_searches(repository, study.sweep, stored),
        specs=_specs(study.answers, stored),
    )


def data_of_scores(study: Study, source: str) -> StudyData:
    """The same for scores from a file: there is nothing beside them.

    Args:
        study: `sweeper.score_files.study_of`.
        source: the file's name.
    """
    return StudyData(study, pd.DataFrame(columns=HISTORY_COLUMNS), (), {}, (), source=source)


def datasets_without_pictures(grid: Json) -> frozenset[str]:
    """The data sets of which the grid wants no picture shown."""
    return frozenset(d["name"] for d in grid.get("datasets", []) if d.get("pictures") is False)


def _history(repository: Repository, study: Study) -> pd.DataFrame:
    answers = study.answers
    chosen = at_selected_gamma(answers.trials[answers.trials["current"]], answers.selection)
    epochs = pd.DataFrame(repository.epoch_columns(study.sweep.name))
    if epochs.empty or chosen.empty:
        return pd.DataFrame(columns=HISTORY_COLUMNS)
    keys = chosen[["hash", "dataset", "variant"]].rename(columns={"hash": "trial"})
    return epochs.merge(keys, on="trial")


def _specs(answers: Answers, stored: Sequence[Trial]) -> list[TrialSpec]:
    trained = answers.trials[~answers.trials["external"]]
    counted = set(trained.loc[trained["current"], "hash"]) or set(trained["hash"])
    return [trial.spec for trial in stored if trial.hash in counted]


def _searches(repository: Repository, sweep: Sweep, trials: Sequence[Trial]) -> list[SearchedTrials]:
    searches = details_of(sweep).searches
    found = []
    for study, search in searches.items():
        points = tried_points(study, search, trials)
        pruned = [t for own in points.values() for t in own if t.state is TrialState.PRUNED]
        scores = {t.hash: [e.val_dsc for e in repository.epochs(t.hash)] for t in pruned}
        if points:
            found.append(SearchedTrials(study, search, points, scores))
    return found
