"""A stored sweep as pandas frames, for a notebook and for the report.

    from sweeper import open_study
    study = open_study("nuclei-demo")
    study.comparisons[study.comparisons["p_holm"] < 0.05]

Reads only, except for `keep_significance`, which stores the derived tests where others can read them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from storage.database import open_database
from storage.errors import NotWritableError
from storage.records import Sweep, Trial
from storage.repository import Repository
from sweeper.analysis import Answers, analyse, denominators, score_frame, trial_frame
from sweeper.analysis.chosen import best_losses
from sweeper.analysis.common_units import run_scores
from sweeper.analysis.selection import at_selected_gamma, select_gamma
from sweeper.analysis.stored_tests import records
from sweeper.grids.details import details_of
from sweeper.grids.names import naming_of
from sweeper.grids.schema import AnalysisTable
from sweeper.search.details import SearchDetails
from sweeper.settings import Settings
from sweeper.views.status import tried_points
from trials.metrics import SIZE
from trials.states import TrialState


@dataclass(frozen=True)
class Study:
    """One sweep and everything that follows from it. Answers are computed when first asked for.

    `trials` has one row per trial, `scores` one per trial, image and class (`sweeper.analysis.frames` lists the
    columns); only finished trials of the current results version enter `answers`.
    """

    sweep: Sweep
    trials: pd.DataFrame
    scores: pd.DataFrame

    @cached_property
    def answers(self) -> Answers:
        """Every table, test, curve and claim of the sweep."""
        margin = AnalysisTable.model_validate(self.sweep.grid.get("analysis", {})).margin
        return analyse(self.trials, self.scores, rehearsal=self.sweep.rehearsal, margin=margin)

    @property
    def table(self) -> pd.DataFrame:
        """Mean and 95% intervals per data set, class, loss and metric, the paper's figure beside."""
        return self.answers.table

    @property
    def stability(self) -> pd.DataFrame:
        """How much γ matters, one row per data set and swept loss."""
        return self.answers.stability

    @property
    def comparisons(self) -> pd.DataFrame:
        """The differences of all pairs of losses about new trainings, per metric, data set and class."""
        return self.answers.comparisons

    @property
    def significance(self) -> pd.DataFrame:
        """Every statistical test over images only for all pairs of losses, per data set, class and metric."""
        return self.answers.significance

    @property
    def claims(self) -> pd.DataFrame:
        """The paper's claims: each holds, does not hold, or was not tested, with the numbers."""
        return self.answers.claims


def open_study(name: str, url: str | None = None) -> Study:
    """Reads a sweep's trials and scores.

    Args:
        name: the sweep's name.
        url: the database, `sqlite:///FILE` or `postgresql://…`; None for the one that the settings name.

    Raises:
        UnknownSweepError: there is no such sweep; the message names the nearest.
        DatabaseURLError: there is no such database. (One that may only be read is fine.)
        SchemaMismatchError: the database is of an older or a newer program.
        AnalysisError: a stored score is impossible.
    """
    database = open_database(url or Settings().database, create=False)
    try:
        return read_study(Repository(database), name)
    finally:
        database.close()


def read_study(repository: Repository, name: str) -> Study:
    """`open_study` on a repository that is open already.

    Raises:
        UnknownSweepError: there is no such sweep; the message names the nearest.
        AnalysisError: a stored score is impossible.
    """
    sweep = repository.sweep(name)
    stored = repository.trials(name)
    trials = counted(stored, details_of(sweep).searches)
    return Study(sweep, trial_frame(trials, naming_of(sweep.grid, stored)), score_frame(repository.score_columns(name)))


def read_best_losses(repository: Repository, name: str) -> pd.DataFrame:
    """`Answers.best` of a sweep at a small part of its cost: the loss of each data set that is best on validation.

    Of the scores only those of one trial for each split are read, which tell the classes that its images show; all of
    them where a class is missing.

    Raises:
        UnknownSweepError: there is no such sweep; the message names the nearest.
        AnalysisError: a stored score is impossible.
    """
    trials = _trials(repository, name)
    scores = _of_one_each(repository, name, trials)
    if not _shows_all_classes(scores):
        scores = score_frame(repository.score_columns(name))
    return best_losses(trials, scores)


def read_run_scores(repository: Repository, name: str, datasets: Collection[str] | None = None) -> pd.DataFrame:
    """`run_scores` of a sweep, or of its trials on some data sets. Of a sweep over γ only the scores of trials at the
    chosen γ are read; all of them where a class is missing, or where another trial may know an image's group.

    Raises:
        UnknownSweepError: there is no such sweep; the message names the nearest.
        AnalysisError: a stored score is impossible.
    """
    trials = _trials(repository, name, datasets)
    if _shows_all_classes(_of_one_each(repository, name, trials)):
        selection = select_gamma(trials)
        chosen = at_selected_gamma(trials[trials["current"]], selection)["hash"].tolist()
        if len(chosen) <= min(_FEW, len(trials) // 2):
            scores = score_frame(repository.score_columns(name, chosen))
            if (scores["group"] != "").all() or not repository.knows_groups(name):
                return run_scores(trials, scores, selection)
    whole = denominators.counted(trials, score_frame(repository.score_columns(name)))
    return run_scores(whole.trials, whole.scores, select_gamma(whole.trials))


_FEW = 900
"""Hashes in one statement, of which SQLite may take 999."""


def _trials(repository: Repository, name: str, datasets: Collection[str] | None = None) -> pd.DataFrame:
    sweep = repository.sweep(name)
    stored = repository.trials(name, datasets=datasets)
    return trial_frame(counted(stored, details_of(sweep).searches), naming_of(sweep.grid, stored))


def _of_one_each(repository: Repository, name: str, trials: pd.DataFrame) -> pd.DataFrame:
    """The scores of one trial for each split."""
    one_each = trials[trials["current"]].drop_duplicates(["dataset", "prepared", "split", "fold"])["hash"].tolist()
    return score_frame(repository.score_columns(name, one_each))


def _shows_all_classes(scores: pd.DataFrame) -> bool:
    """Whether the stored sizes tell that the images of each part of each split show every class."""
    told = SIZE in scores and bool(scores[SIZE].notna().all())
    return told and not (scores.groupby(["trial", "partition", "label"], observed=True)[SIZE].max() == 0).any()


def counted(trials: Sequence[Trial], searches: Mapping[str, SearchDetails]) -> list[Trial]:
    """The trials that tables and tests count: all except what a search over more than γ tried and did not choose.

    Of such a search only the point with the highest mean validation DSC counts, as if the grid had listed its values.
    Every other point would appear as a loss of its own.

    Args:
        trials: of the sweep.
        searches: of the sweep, by study.
    """
    left_out: set[str] = set()
    for study, search in searches.items():
        if search.names == ("gamma",):
            continue
        tried = tried_points(study, search, trials)
        means = {
            point: sum(values) / len(values)
            for point, own in tried.items()
            if (values := [t.val_dsc for t in own if t.state is TrialState.FINISHED and t.val_dsc is not None])
        }
        best = max(means, key=lambda point: means[point], default=None)
        left_out |= {t.hash for point, own in tried.items() if best is not None and point != best for t in own}
    return [t for t in trials if t.hash not in left_out]


def keep_significance(repository: Repository, study: Study) -> bool:
    """Stores the tests with the hash of their scores, unless these very tests are stored already.

    In a read-only database nothing is stored: the tests follow from the scores and can be computed at any time.

    Returns:
        Whether anything was written.

    Raises:
        StorageError: the database is unreachable.
    """
    name, answers = study.sweep.name, study.answers
    tests = records(answers)
    if repository.significance(name) == tests:
        return False
    try:
        repository.replace_significance(name, tests)
    except NotWritableError:
        return False
    return True
