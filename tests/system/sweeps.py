"""Runs the `sweeper` command in a home of its own, with real Ray and real training. Not a test module."""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from storage.database import open_database
from storage.errors import StorageError
from storage.repository import Repository
from sweeper.cli import main
from workers.tracking.sqlite_store import make_store

PLAIN_REPORT = Path(__file__).parent / "plain_report"
"""Before all else on PYTHONPATH, it makes each report one line: to draw it takes as long as a tiny sweep trains."""

# A second training process imports TensorFlow and traces everything again, which takes longer than a tiny sweep.
ONE_AT_ONCE = f"""
[resources]
cpus = {max(1.0, 0.75 * len(os.sched_getaffinity(0)))}
"""

TINY_GRID = (
    """
name = "tiny"

[[datasets]]
name = "nuclei"
options = { size = [32, 32] }

[[losses]]
name = "ce"

[[losses]]
name = "unified_focal_asym"
gamma = [0.3, 0.6]

[model]
base_filters = 4
depth = 2

[training]
epochs = 2
"""
    + ONE_AT_ONCE
)

# Longer than any test waits: neither its epochs nor a plateau may end it.
LONG_GRID = TINY_GRID.replace("epochs = 2", "epochs = 1000000\nearly_stopping_patience = 1000000").replace(
    '"tiny"', '"long"'
)


def python_path(*folders: Path) -> str:
    """PYTHONPATH with these folders before what it has."""
    return os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])


@cache
def _mlflow_store() -> Path:
    """An MLflow store without runs: its tables take seconds to make, and each home needs them."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    make_store(folder / "mlflow.db")
    return folder / "mlflow.db"


@dataclass
class Home:
    """A SWEEPER_HOME and the command in it. The first launch finds MLflow's tables made."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """This process's own, without where Sweeper and MLflow keep things: `mlflow.set_tracking_uri` sets a variable,
        and a command would then write into another test's store."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("SWEEPER_", "MLFLOW_TRACKING_"))}
        # Ray would start a worker for each core, none of which a trial then uses.
        own = {"SWEEPER_HOME": str(self.folder), "COLUMNS": "100", "RAY_prestart_worker_first_driver": "0"}
        return {**inherited, **own, **self.variables}

    def grid(self, text: str = TINY_GRID, name: str = "tiny.toml") -> str:
        path = self.folder.parent / f"{self.folder.name}-{name}"
        path.write_text(text)
        return str(path)

    def before(self, command: str) -> None:
        """What `start` and `run` do before a command."""
        if command == "launch" and not (self.folder / "mlflow.db").exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copy(_mlflow_store(), self.folder / "mlflow.db")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        self.before(arguments[0])
        return subprocess.Popen(
            [sys.executable, "-m", "sweeper", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, code: int = 0, seconds: float = 800) -> str:
        self.before(arguments[0])
        done = subprocess.run(
            [sys.executable, "-m", "sweeper", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def ask(self, *words: str, code: int = 0) -> str:
        """What a command writes that starts no process and reads no code of a user's: it runs in this process, which
        has imported everything."""
        return "".join(self._here(words, code))

    def json(self, *words: str) -> Any:
        """The JSON that a command writes, as by `ask`."""
        return json.loads(self._here((*words, "--json"), 0)[0])

    def _here(self, words: Sequence[str], code: int) -> tuple[str, str]:
        """Standard output and standard error of a command in this process."""
        root = logging.getLogger()
        level, handlers = root.level, root.handlers[:]
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            for name in os.environ.keys() - self.environment.keys():
                patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["sweeper", *words])
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
                main()
        root.setLevel(level)
        root.handlers[:] = handlers  # what is logged later must not go to a stream that is no more
        assert (end.value.code or 0) == code, f"{words}: {end.value}\n{out.getvalue()}\n{err.getvalue()}"
        return out.getvalue(), err.getvalue()

    @contextmanager
    def repository(self) -> Iterator[Repository]:
        """The home's database, without the seconds that a command takes to start."""
        with open_database(f"sqlite:///{self.folder / 'sweeper.db'}", create=False) as database:
            yield Repository(database)

    def states(self, sweep: str) -> dict[str, str]:
        """Trial hash to state."""
        with self.repository() as repository:
            return {t.hash: t.state.value for t in repository.trials(sweep)}

    def attempts(self, sweep: str) -> dict[str, int]:
        """Trial hash to the number of its attempts."""
        with self.repository() as repository:
            return {t.hash: t.attempts for t in repository.trials(sweep)}


def wait_for(what: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.5)


def some_epoch(home: Home, sweep: str) -> Callable[[], bool]:
    """Whether a running trial of the sweep has ended an epoch since it was started the last time."""

    def found() -> bool:
        with suppress(StorageError), home.repository() as repository:
            return bool(repository.newest_epochs(sweep))
        return False  # there is no such database or sweep yet

    return found
