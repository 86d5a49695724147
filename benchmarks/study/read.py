"""An exported sweep as the study uses it: the trials of its whole runs, with their scores."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from storage.database import open_database
from storage.repository import Repository
from storage.transfer import import_sweep
from sweeper.grids.details import details_of
from sweeper.study import read_study
from trials.states import AttemptState, TrialState

ENDED = {str(state) for state in (TrialState.FINISHED, TrialState.FAILED, TrialState.PRUNED)}


@dataclass(frozen=True)
class Exported:
    """A sweep as its folder has it: the trial and score frames, the epochs, the attempts and the pixels of an image."""

    name: str
    trials: pd.DataFrame
    scores: pd.DataFrame
    epochs: pd.DataFrame
    attempts: pd.DataFrame
    pixels: Mapping[str, int]


def read_export(folder: Path) -> Exported:
    """Reads what `sweeper db export` wrote, by `sweeper db import` and `open_study` as anybody would."""
    with tempfile.TemporaryDirectory() as temporary, open_database(f"sqlite:///{temporary}/study.db") as database:
        repository = Repository(database)
        name = import_sweep(repository, folder).sweep
        study = read_study(repository, name)
    epochs = pd.read_parquet(folder / "epoch.parquet")
    attempts = pd.read_parquet(folder / "attempt.parquet")
    pixels = {dataset: one.voxels for dataset, one in details_of(study.sweep).data.items()}
    return Exported(name, study.trials, study.scores, epochs, attempts, pixels)


def whole_runs(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials of those repeats of each data set of which every cell, and every fold of it, has ended.

    A study that is under way has some losses further than others: to count them as they are would compare one loss's
    five runs with another's two. A trial that failed has ended: it is counted and told, and has no scores.
    """
    ended = trials["state"].isin(ENDED)
    whole = ended.groupby([trials["dataset"], trials["repeat"]], observed=True).transform("all")
    return trials[whole]


def runs_of(trials: pd.DataFrame) -> pd.DataFrame:
    """How far each data set is: `whole` runs, and trials `finished`, `failed` and `asked` for."""
    whole = whole_runs(trials).groupby("dataset", observed=True)["repeat"].nunique()
    by = trials.groupby("dataset", sort=False, observed=True)["state"]
    found = pd.DataFrame(
        {
            "finished": by.agg(lambda states: int((states == str(TrialState.FINISHED)).sum())),
            "failed": by.agg(lambda states: int((states == str(TrialState.FAILED)).sum())),
            "asked": by.size(),
        }
    )
    found.insert(0, "whole", whole.reindex(found.index).fillna(0).astype(int))
    return found.reset_index()


@dataclass(frozen=True, slots=True)
class Running:
    """What a sweep took: `hours` of training, the `launches` that trained (each holds a lease of its own), and how many
    attempts ended otherwise than with a result."""

    hours: float
    launches: int
    attempts: int
    lost: int
    stopped: int
    failed: int


def running(exported: Exported) -> Running:
    """How the sweep ran, from its attempts."""
    states = exported.attempts["state"]
    return Running(
        hours=float(exported.trials["train_seconds"].sum()) / 3600,
        launches=int(exported.attempts["fencing"].nunique()),
        attempts=len(states),
        lost=int((states == str(AttemptState.LOST)).sum()),
        stopped=int((states == str(AttemptState.STOPPED)).sum()),
        failed=int((states == str(AttemptState.FAILED)).sum()),
    )
