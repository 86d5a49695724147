"""A small sweep of real training that suffers faults at defined moments, and what is compared afterwards.

Not a test module. Moments are break points in the sweep's processes (`points/sitecustomize.py`), or what the database
and the output show; nothing waits for a time to pass in the hope that something has happened.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import psutil
import pytest
from sqlalchemy import update

from storage.database import open_database
from storage.errors import StorageError
from storage.models import LeaseRow
from storage.repository import Repository
from storage.studies import Studies
from sweeper.study import read_study
from tests.system.sweeps import PLAIN_REPORT, Home, python_path
from trials.states import TrialState

POINTS = Path(__file__).parent / "points"
PATIENCE = 900.0
"""Seconds until something that must happen counts as not happening; how long it takes decides nothing."""

EPOCHS = 8
GAMMAS = "[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]"
CPUS = os.cpu_count() or 2
GRID = f"""
name = "faults"

[[datasets]]
name = "nuclei"
options = {{ size = [32, 32] }}

[[losses]]
name = "ce"

[[losses]]
name = "unified_focal_asym"
gamma = {GAMMAS}

[model]
base_filters = 4
depth = 2

[training]
epochs = {EPOCHS}
early_stopping_patience = 100

[resources]
cpus = {CPUS / 2}
"""
"""Ten trials, two at a time whatever the machine: for `soak`."""

SHORT = GRID.replace(GAMMAS, "[0.1, 0.3, 0.5, 0.7, 0.9]").replace(f"epochs = {EPOCHS}", "epochs = 5")
"""Six trials: what the faults at defined moments need, each of which may end one or two. To start takes most of the
time, not to train."""

SWEEP = "faults"


def one_by_one(grid: str) -> str:
    """The grid with one training process, whose start is the longest part of a sweep's, and without pictures. It moves
    no number."""
    return grid.replace(f"cpus = {CPUS / 2}", f"cpus = {CPUS}").replace("options =", "pictures = false\noptions =")


def wait_for(what: Callable[[], Any], described: str, *, alive: Run | None = None) -> Any:
    """The first true value of `what()`; fails when `alive` ends before, or nothing comes of it."""
    deadline = time.monotonic() + PATIENCE
    while not (value := what()):
        assert alive is None or alive.process.poll() is None, f"{described}: it ended before\n{alive.output()}"
        assert time.monotonic() < deadline, f"{described}: did not happen\n{alive.output() if alive else ''}"
        time.sleep(0.2)  # to look at all processes takes as long as some of them need to end
    return value


def small_disk(folder: Path, size: int) -> bool:
    """Mounts a disk of so many bytes, where this user may. Only this process sees it, and those that it starts: it goes
    with them, however they end."""
    namespace = 0x00020000  # of mounts; `os.unshare` is there from Python 3.12 on
    if ctypes.CDLL(None).unshare(namespace) != 0:
        return False
    private = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, check=False)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return private.returncode == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


def fill(ballast: Path) -> None:
    """Takes all the space that is left."""
    with ballast.open("ab", buffering=0) as file:
        for size in (2**16, 2**12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


@dataclass
class Run:
    """A `sweeper` command in a session of its own; what it prints goes to a file."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, words: str) -> None:
        wait_for(lambda: words in self.output(), f"saying {words!r}", alive=self)

    def ends(self, code: int | None = 0) -> str:
        """Waits for the end; what was printed. `code` None: however it ends."""
        self.process.wait(timeout=PATIENCE)
        assert code is None or self.process.returncode == code, f"exit {self.process.returncode}\n{self.output()}"
        return self.output()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=60)


@dataclass
class Sweep:
    """One sweep in a home of its own.

    Args:
        folder: holds the home, the break points and what the commands print.
        variables: of the environment, besides.
        grid: what is launched.
    """

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    grid: str = GRID

    def __post_init__(self) -> None:
        self.points = self.folder / "points"
        self.points.mkdir(parents=True)
        own = {
            "SWEEPER_LEASE_SECONDS": "4",
            "SWEEPER_TEST_POINTS": str(self.points),
            "PYTHONPATH": python_path(POINTS, PLAIN_REPORT),
            "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
        }
        self.home = Home(self.folder / "home", {**own, **self.variables})
        self.retrained = Counter[str]()
        """Steps that had to be made twice, by the trial's label: those of epochs whose checkpoints were damaged."""
        self.lost_folders = set[str]()
        """The labels of trials whose folders were removed: they are trained anew."""
        self._commands = 0

    # Commands.

    def start(self, *arguments: str) -> Run:
        self._commands += 1
        self.home.before(arguments[0])
        log = self.folder / f"{self._commands}-{arguments[0]}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "sweeper", *arguments],
                env=self.home.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Run(process, log)

    def go(self) -> Run:
        """Launches the sweep, or resumes it where it was launched before."""
        known = self._commands > 0
        return self.start("resume", SWEEP) if known else self.start("launch", "--grid", self.home.grid(self.grid))

    def oversleep(self, sleeper: Run) -> Run:
        """A coordinator is paused past its lease, and another one takes over; woken up, it says so and ends.

        Returns:
            The other one, which goes on.
        """
        sleeper.process.send_signal(signal.SIGSTOP)
        self.release()
        self.free()
        other = self.go()
        # Not before: a lease that nobody took would be renewed.
        wait_for(lambda: self.holder() == other.pid, "taking the lease", alive=other)
        sleeper.process.send_signal(signal.SIGCONT)
        assert "lease" in sleeper.ends(2)
        self.release()
        return other

    def page(self) -> str:
        """The page of the report that a user gets, drawn now: each end of the sweep writes a line (`PLAIN_REPORT`)."""
        path = self.home.variables["PYTHONPATH"].replace(f"{os.pathsep}{PLAIN_REPORT}", "")
        Home(self.home.folder, {**self.home.variables, "PYTHONPATH": path}).run("report", SWEEP)
        return (self.home.folder / "reports" / SWEEP / "report.html").read_text(encoding="utf-8")

    # Break points.

    def arm(self, *points: str) -> None:
        for point in points:
            (self.points / f"{point}.armed").touch()

    def held(self, point: str, run: Run) -> int:
        """Waits until a process has come to an armed point; its pid."""

        def find() -> list[Path]:
            return list(self.points.glob(f"{point}.held.*"))

        (path,) = wait_for(find, f"holding at {point}", alive=run)
        return int(path.suffix[1:])

    def hold(self, point: str, run: Run) -> int:
        """Arms a point and waits until a process has come there; its pid."""
        self.arm(point)
        return self.held(point, run)

    def release(self) -> None:
        """Lets whoever is held go on, and disarms every point."""
        for path in self.points.iterdir():
            path.unlink()

    def release_only(self, point: str) -> None:
        """Lets whoever is held there go on."""
        for path in self.points.glob(f"{point}.*"):
            path.unlink()

    # Processes.

    def processes(self) -> list[psutil.Process]:
        """Everything that runs in this home, Ray's processes included."""
        mine = f"SWEEPER_HOME={self.home.folder}"
        found = []
        for process in psutil.process_iter():
            try:
                if mine in Path(f"/proc/{process.pid}/environ").read_bytes().decode(errors="replace").split("\0"):
                    found.append(process)
            except OSError:
                continue
        return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    def named(self, name: str) -> list[psutil.Process]:
        """The processes of this home whose program is called so."""
        return [p for p in self.processes() if p.name().startswith(name)]

    def alone(self) -> None:
        """Waits until nothing of a killed coordinator runs any more, and its lease has run out."""
        self.release()
        wait_for(lambda: not self.processes(), "the end of the coordinator's processes")
        self.free()

    def lose_power(self, run: Run) -> None:
        """Kills everything at once, those that are held at a point too: no trial gets further. The lease runs out."""
        run.kill()
        while left := self.processes():
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=5)
        self.release()
        self.free()

    def free(self) -> None:
        """Waits until the lease has run out or was given back."""

        def expired() -> bool:
            try:
                with self.repository() as repository:
                    lease = repository.lease(SWEEP)
                    return lease is None or lease.expires_at <= repository.database.now()
            except StorageError:  # it was killed before there was anything to hold
                return True

        wait_for(expired, "the end of the lease")

    def holder(self) -> int | None:
        """The process number of the coordinator that holds the lease, or held it last; None after it was given back."""
        with self.repository() as repository:
            lease = repository.lease(SWEEP)
        return None if lease is None else int(lease.holder.partition("pid ")[2].rstrip(")"))

    def set_clock_back(self, seconds: float) -> None:
        """As if the sweep's lease were held from another machine, and the clock set back since: what is left of it."""
        later = update(LeaseRow).values(expires_at=LeaseRow.expires_at + seconds, process="")
        with self.repository() as repository:
            repository.database.write(lambda connection: connection.execute(later))

    def end(self) -> None:
        """Ends whatever a failed test has left."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
                process.kill()

    # Checkpoints.

    def damage(self) -> tuple[int, int] | None:
        """Truncates the newest checkpoint of a trial that has two; the epochs of the older and the newer one.

        None where no trial has two. The steps of the newer one's epoch, if it was written down, are then made twice.
        """
        for folder in sorted((self.home.folder / "trials").glob("*")):
            found = sorted(folder.glob("epoch-*.npz"))
            if len(found) < 2 or (folder / "result.json").exists():
                continue
            before, newest = (int(path.stem.partition("-")[2]) for path in found)
            os.truncate(found[-1], found[-1].stat().st_size // 2)
            with self.repository() as repository:
                reported = {e.epoch: e.steps for e in repository.epochs(folder.name)}
                self.retrained[repository.trial(folder.name).label] += reported.get(newest, 0)
            return before, newest
        return None

    def lose_folder(self, random: Random) -> bool:
        """Removes the folder of a trial that has begun and has no result; whether there is one."""
        begun = [f for f in sorted((self.home.folder / "trials").glob("*")) if any(f.glob("epoch-*.npz"))]
        begun = [f for f in begun if not (f / "result.json").exists()]
        if begun:
            folder = random.choice(begun)
            shutil.rmtree(folder, ignore_errors=True)
            with self.repository() as repository:
                self.lost_folders.add(repository.trial(folder.name).label)
        return bool(begun)

    # What is stored.

    @contextmanager
    def repository(self) -> Iterator[Repository]:
        url = self.home.variables.get("SWEEPER_DATABASE_URL") or f"sqlite:///{self.home.folder / 'sweeper.db'}"
        with open_database(url, create=False) as database:
            yield Repository(database)

    def counts(self) -> Counter[TrialState]:
        with self.repository() as repository:
            return Counter(repository.counts(SWEEP))

    def state(self) -> str:
        with self.repository() as repository:
            return repository.sweep(SWEEP).state.value

    def attempts(self) -> Counter[tuple[str, str | None]]:
        """How many attempts ended in each state and for each kind of failure."""
        with self.repository() as repository:
            return Counter((a.state.value, a.kind and a.kind.value) for a in repository.attempts_of_sweep(SWEEP))

    def trained(self) -> dict[str, int]:
        """Optimiser steps of all attempts of each trial, by its label."""
        with self.repository() as repository:
            labels = {t.hash: t.label for t in repository.trials(SWEEP)}
            steps = Counter[str]()
            for attempt in repository.attempts_of_sweep(SWEEP):
                steps[labels[attempt.trial]] += attempt.steps
            return dict(steps)

    def epochs(self) -> dict[tuple[str, int], str]:
        """Every epoch that is written down, by trial and number: all but how long it took and waited."""
        with self.repository() as repository:
            columns = repository.epoch_columns(SWEEP)
        rows = pd.DataFrame(dict(columns)).drop(columns=["seconds", "waited"])
        return {(str(row["trial"]), int(row["epoch"])): _exact(row) for row in rows.to_dict("records")}

    def tables(self) -> dict[str, Any]:
        """Everything that a sweep answers; times and hosts aside."""
        with self.repository() as repository:
            study, trials = read_study(repository, SWEEP), repository.trials(SWEEP)
            with Studies(repository.database) as studies:
                optuna = {name: studies.values(name) for name in sorted({t.study for t in trials if t.study})}
            scores = pd.DataFrame(dict(repository.score_columns(SWEEP)))
        return {
            "trials": [
                (t.label, t.state.value, t.epochs, t.best_epoch, t.val_loss, t.val_dsc, t.test_dsc, t.parameters)
                for t in trials
            ],
            "epochs": self.epochs(),
            "optuna": {name: sorted(values.items()) for name, values in optuna.items()},
            "scores": [_exact(row) for row in scores.to_dict("records")],
            "table": [_exact(row) for row in study.table.to_dict("records")],
            "stability": [_exact(row) for row in study.stability.to_dict("records")],
            "significance": [_exact(row) for row in study.significance.to_dict("records")],
        }

    def mlflow(self) -> dict[str, Any]:
        """What MLflow knows of each trial, by its hash: the run, its state, each epoch's value, the final score."""
        import mlflow

        uri = self.home.variables.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.home.folder / 'mlflow.db'}"
        client = mlflow.MlflowClient(uri)
        experiment = client.get_experiment_by_name("sweeper")
        assert experiment is not None
        runs = [
            r for r in client.search_runs([experiment.experiment_id], max_results=100) if "sweeper.trial" in r.data.tags
        ]
        assert len(runs) == len({r.data.tags["sweeper.trial"] for r in runs}), "a trial has two runs"
        return {
            r.data.tags["sweeper.trial"]: (
                r.info.run_id,
                r.info.status,
                sorted((m.step, m.value) for m in client.get_metric_history(r.info.run_id, "val_dsc")),
                r.data.metrics.get("test_dsc"),
            )
            for r in runs
        }

    def expected_in_mlflow(self) -> dict[str, Any]:
        """The same, by the database."""
        with self.repository() as repository:
            return {
                t.hash: (
                    t.mlflow_run,
                    "FINISHED",
                    [(e.epoch, e.val_dsc) for e in repository.epochs(t.hash)],
                    pytest.approx(t.test_dsc, abs=1e-12),
                )
                for t in repository.trials(SWEEP)
            }


def _exact(row: Any) -> str:
    """A row as text that tells any two floats apart, and takes NaN for NaN."""
    return repr(sorted((str(key), repr(value)) for key, value in row.items()))


@dataclass(frozen=True)
class Reference:
    """What the undisturbed sweep gave."""

    tables: dict[str, Any]
    trained: dict[str, int]

    def so_far(self, sweep: Sweep) -> None:
        """Whatever a disturbed sweep has written down until now stands in the undisturbed one, too."""
        epochs = sweep.epochs()
        assert epochs.items() <= self.tables["epochs"].items()

    def equals(self, sweep: Sweep) -> None:
        """The disturbed sweep gives the same answers, to the last bit."""
        tables = sweep.tables()
        for name, expected in self.tables.items():
            assert tables[name] == expected, name
        # No finished trial was trained twice: but for damaged epochs, exactly as many steps were made.
        trained = sweep.trained()
        assert all(trained[label] >= self.trained[label] for label in sweep.lost_folders)
        kept = self.trained.keys() - sweep.lost_folders
        assert {label: trained[label] for label in kept} == {n: self.trained[n] + sweep.retrained[n] for n in kept}
        assert trained.keys() == self.trained.keys()
        assert sweep.state() == "finished"
        assert sweep.mlflow() == sweep.expected_in_mlflow()
