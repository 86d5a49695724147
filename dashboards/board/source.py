"""What the board reads: through read-only connections, one snapshot for every page that is open at that moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from dashboards.board.home import Best
from dashboards.board.kept import Kept
from dashboards.figures.style import Drawing
from dashboards.study_data import datasets_without_pictures
from storage.database import Database, open_database
from storage.errors import DatabaseURLError
from storage.records import Attempt, Lease, Request, SignificanceTest, Sweep, SweepProgress, Trial
from storage.repository import Repository
from sweeper.analysis import AnalysisError
from sweeper.analysis.chosen import ChosenScores, chosen_scores
from sweeper.analysis.frames import trial_frame
from sweeper.analysis.selection import means_by_gamma
from sweeper.grids.names import Naming, naming_of, variants
from sweeper.run.compared import compare_sweeps
from sweeper.study import read_best_losses, read_study
from sweeper.timing.pace import DeviceUse, Liveness, Pace, device_use, pace
from sweeper.views.heat_map import HeatMap, heat_map
from sweeper.views.objects import ComparedObject
from sweeper.views.result_tables import trial_columns
from sweeper.views.running import running
from trials.results import Epoch
from trials.states import TrialState

RETRY_SECONDS = 2.0
"""How long a page waits for an unreachable database before it says so."""

REST = 2.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A sweep at one moment, `now` by the database's clock. `lease` is None where no living coordinator holds it.

    `means` is what `means_by_gamma` says of the finished trials, and `curves` differs whenever it may.
    """

    version: str
    sweep: Sweep
    trials: Sequence[Trial]
    attempts: Sequence[Attempt]
    newest: Mapping[str, Epoch]
    alive: Mapping[str, Liveness]
    requests: Sequence[Request]
    lease: Lease | None
    now: float
    map: HeatMap
    pace: Pace
    devices: Sequence[DeviceUse]
    means: pd.DataFrame
    curves: str


@dataclass(frozen=True, slots=True)
class _Names:
    """The names of a sweep's trials, which are read again and again."""

    naming: Naming
    labels: list[str]
    variants: list[str]


class Source:
    """Reads sweeps from the database at `url`, which is opened when it is first asked and need not be there before.

    Safe to share between threads. Every method raises `StorageError` if the database is unreachable or has no tables.

    Args:
        url: of the database.
        trials_folder: holds the trials' predictions; None where they are not on this machine.
        prepared_root: holds the prepared data sets, likewise.
        rest: the next snapshot is made at the earliest after this many times the time that the last one took. A large
            sweep that changes all the time then does not keep a processor busy.
    """

    def __init__(
        self, url: str, *, trials_folder: Path | None = None, prepared_root: Path | None = None, rest: float = REST
    ) -> None:
        self._url = url
        self.trials_folder, self.prepared_root = trials_folder, prepared_root
        self._lock = threading.Lock()
        self._repository: Repository | None = None
        self._snapshots = Kept[Snapshot](rest)
        self._names: dict[tuple[str, ...], _Names] = {}
        self._means: dict[str, pd.DataFrame] = {}
        self._best = Kept[list[Best] | None](rest)
        self._chosen = Kept[ChosenScores](rest, most=4)
        self._compared = Kept[ComparedObject](rest, most=8)
        self._drawings = Kept[Drawing | None](0.0, most=64)

    def close(self) -> None:
        """Closes the connections; the next read opens new ones."""
        with self._lock:
            if self._repository is not None:
                self._repository.database.close()
            self._repository = None

    def check(self, name: str) -> None:
        """Makes sure that there is such a sweep.

        Raises:
            UnknownSweepError: there is none; the message names the nearest.
        """
        self._open().sweep(name)

    def progress(self) -> list[SweepProgress]:
        """All sweeps with the counts of their trials, oldest first; none where there is no database yet."""
        try:
            return self._open().progress()
        except DatabaseURLError:
            return []

    def best(self, one: SweepProgress) -> list[Best] | None:
        """The loss of each data set that is best on validation, from the analysis; None where a score is damaged.

        It is computed anew when a trial has ended, and then at the earliest after `rest` times the time that it took.
        """
        version = f"{one.counts.get(TrialState.FINISHED, 0)} {one.last_end}"

        def make() -> list[Best] | None:
            try:
                return [_best(row) for row in read_best_losses(self._open(), one.sweep.name).to_dict("records")]
            except AnalysisError:
                return None

        return self._best.get(f"{one.sweep.id} {one.sweep.name}", version, make)

    def pulse(self, name: str) -> str:
        """See `Repository.pulse`.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        return self._open().pulse(name)

    def snapshot(self, name: str, pulse: str) -> Snapshot:
        """The sweep as it was when, or after, it had this pulse; of a large one, perhaps a little earlier.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        return self._snapshots.get(name, pulse, lambda: self._read(name, pulse))

    def newest(self, name: str) -> Snapshot:
        """What was last made of the sweep, without asking the database; made where there is none yet.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        kept = self._snapshots.peek(name)
        return self.snapshot(name, self.pulse(name)) if kept is None else kept

    def epochs(self, trials: Sequence[str]) -> dict[str, list[Epoch]]:
        """The histories of these trials, by hash."""
        return self._open().epochs_of(trials)

    def trial_columns(self, name: str) -> Mapping[str, Sequence[Any]]:
        """The table of the trials of a sweep, by column.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        return trial_columns(self._open(), name)

    def score_columns(self, name: str) -> Mapping[str, Sequence[Any]]:
        """Every stored score of a sweep, by column.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        return self._open().score_columns(name)

    def chosen(self, name: str) -> ChosenScores:
        """The scores of a sweep, each loss at its chosen γ, from the analysis.

        They are computed anew when a trial has ended or was scored by another metric, and then at the earliest after
        `rest` times the time that it took.

        Raises:
            UnknownSweepError: there is no such sweep.
            AnalysisError: a stored score is impossible.
        """
        repository = self._open()

        def make() -> ChosenScores:
            study = read_study(repository, name)
            return chosen_scores(study.trials, study.scores)

        return self._chosen.get(name, self.scored(name), make)

    def compared(self, names: Sequence[str]) -> ComparedObject:
        """What `sweeper compare` tells of these sweeps.

        Raises:
            GridError: fewer than two different names.
            UnknownSweepError: there is no such sweep.
            AnalysisError: a stored score is impossible.
        """
        repository = self._open()
        version = " ".join(f"{repository.pulse(name)} {self.scored(name)}" for name in names)
        return self._compared.get("\0".join(names), version, lambda: compare_sweeps(repository, names))

    def hidden(self, name: str) -> frozenset[str]:
        """The data sets of a sweep of which no picture may be shown.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        return datasets_without_pictures(self._open().sweep(name).grid)

    def drawing(self, of: str, version: str, draw: Callable[[], Drawing | None]) -> Drawing | None:
        """A drawn figure, which is kept while its version is the same."""
        return self._drawings.get(of, version, draw)

    def scored(self, name: str) -> str:
        """See `Repository.scores_pulse`.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        return self._open().scores_pulse(name)

    def significance(self, name: str, metric: str = "dsc") -> list[SignificanceTest]:
        """The tests on a metric that the last report of the sweep stored.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        return [test for test in self._open().significance(name) if test.metric == metric]

    def _open(self) -> Repository:
        with self._lock:
            if self._repository is None:
                database: Database = open_database(
                    self._url, read_only=True, retry_for=RETRY_SECONDS, open_for=RETRY_SECONDS
                )
                self._repository = Repository(database)
            return self._repository

    def _read(self, name: str, pulse: str) -> Snapshot:
        repository = self._open()
        sweep, trials, newest = repository.sweep(name), repository.trials(name), repository.newest_epochs(name)
        attempts, lease = repository.attempts_of_sweep(name), repository.lease(name)
        now = repository.database.now()
        hashes = tuple(t.hash for t in trials)
        if hashes not in self._names:
            # A trial's spec never changes, so neither does its name.
            naming = naming_of(sweep.grid, trials)
            labels = [t.label for t in naming.labelled(trials)]
            self._names = {hashes: _Names(naming, labels, variants(trials, naming))}
        names = self._names[hashes]
        trials = [replace(trial, label=label) for trial, label in zip(trials, names.labels, strict=True)]
        ended = [t.finished_at for t in trials if t.val_dsc is not None]
        curves = f"{name} {len(ended)} {max((e or 0.0 for e in ended), default=0.0)}"
        if curves not in self._means:
            self._means = {curves: means_by_gamma(trial_frame(trials, names.naming))}
        return Snapshot(
            version=pulse,
            sweep=sweep,
            trials=trials,
            attempts=attempts,
            newest=newest,
            alive=running(repository, trials, attempts, now),
            requests=repository.requests(name),
            lease=lease if lease is not None and lease.expires_at > now else None,
            now=now,
            map=heat_map(trials, newest, names.variants),
            pace=pace(trials, attempts, now),
            devices=device_use(attempts, now),
            means=self._means[curves],
            curves=curves,
        )


def _best(row: Mapping[Hashable, Any]) -> Best:
    gamma = row["gamma"]
    return Best(
        str(row["dataset"]), str(row["variant"]), None if gamma != gamma else gamma, row["val_dsc"], row["repeats"]
    )
