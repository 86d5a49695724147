"""What the board reads: through read-only connections, one snapshot for every page that is open at that moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from dashboards.board.home import Best
from storage.database import Database, open_database
from storage.errors import DatabaseURLError
from storage.records import Attempt, Lease, Request, SignificanceTest, Sweep, SweepProgress, Trial
from storage.repository import Repository
from sweeper.analysis import AnalysisError
from sweeper.analysis.frames import trial_frame
from sweeper.analysis.selection import means_by_gamma
from sweeper.grids.names import Naming, naming_of, variants
from sweeper.study import read_best_losses
from sweeper.timing.pace import DeviceUse, Pace, device_use, pace
from sweeper.views.heat_map import HeatMap, heat_map
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
        rest: the next snapshot is made at the earliest after this many times the time that the last one took. A large
            sweep that changes all the time then does not keep a processor busy.
    """

    def __init__(self, url: str, *, rest: float = REST) -> None:
        self._url, self._rest = url, rest
        self._lock = threading.Lock()
        self._repository: Repository | None = None
        self._kept: dict[str, tuple[Snapshot, float, float]] = {}
        self._building: dict[str, threading.Lock] = {}
        self._names: dict[tuple[str, ...], _Names] = {}
        self._means: dict[str, pd.DataFrame] = {}
        self._best: dict[int, tuple[tuple[int, int, float], list[Best] | None, float, float]] = {}

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
        version = (one.sweep.id, one.counts.get(TrialState.FINISHED, 0), one.last_end)
        with self._lock:
            computing = self._building.setdefault(f"best {one.sweep.id}", threading.Lock())
        with computing:
            kept = self._best.get(one.sweep.id)
            if kept is not None and (kept[0] == version or time.monotonic() - kept[2] < self._rest * kept[3]):
                return kept[1]
            started = time.monotonic()
            try:
                found = [_best(row) for row in read_best_losses(self._open(), one.sweep.name).to_dict("records")]
            except AnalysisError:
                found = None
            self._best[one.sweep.id] = version, found, time.monotonic(), time.monotonic() - started
            return found

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
        with self._lock:
            building = self._building.setdefault(name, threading.Lock())
        with building:
            kept = self._kept.get(name)
            if kept is not None:
                snapshot, made, took = kept
                if snapshot.version == pulse or time.monotonic() - made < self._rest * took:
                    return snapshot
            started = time.monotonic()
            snapshot = self._read(name, pulse)
            self._kept[name] = (snapshot, time.monotonic(), time.monotonic() - started)
            return snapshot

    def newest(self, name: str) -> Snapshot:
        """What was last made of the sweep, without asking the database; made where there is none yet.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        kept = self._kept.get(name)
        return self.snapshot(name, self.pulse(name)) if kept is None else kept[0]

    def significance(self, name: str) -> list[SignificanceTest]:
        """The tests on DSC that the last report of the sweep stored.

        Raises:
            UnknownSweepError: there is no such sweep.
        """
        return [test for test in self._open().significance(name) if test.metric == "dsc"]

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
