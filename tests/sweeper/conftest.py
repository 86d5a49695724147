"""The command line as a stranger calls it, in this process: words in; status, standard output and error out."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import typer.main

from storage.database import open_database
from storage.repository import Repository
from sweeper.cli import main
from sweeper.data.preparation import KnownDataset
from sweeper.data.resolved import resolve_known
from sweeper.grids.expansion import DataIdentity
from sweeper.grids.files import load_grid
from sweeper.run.launch import new_trials
from sweeper.timing.costs import learn_costs
from tests.results import result, scored
from trials.results import Epoch, TrialResult
from trials.states import FailureKind

NUCLEI = DataIdentity(("background", "nucleus"), 2, "p" * 16, "s" * 16)


_command = cache(typer.main.get_command)
"""The tree of commands, made once: it takes a tenth of a second."""


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit status and what it wrote."""

    status: int
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command may send what is logged to a standard error that ends with its test."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    for handler in root.handlers[:]:
        if type(handler) is logging.StreamHandler:  # pytest's own are of other kinds
            root.removeHandler(handler)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SWEEPER_HOME, which does not exist yet, and no other setting; 80 columns; an empty working folder."""
    for name in [*(n for n in os.environ if n.startswith("SWEEPER_")), "MLFLOW_TRACKING_URI", "RAY_ADDRESS"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.fixture
def sweeper(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`sweeper("plan", "--grid", "demo")`."""

    monkeypatch.setattr(typer.main, "get_command", _command)

    def call(*words: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["sweeper", *words])
        with pytest.raises(SystemExit) as end:
            main()
        written = capsys.readouterr()
        return Answer(int(end.value.code or 0), written.out, written.err)

    return call


@pytest.fixture(scope="session")
def stored_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of `stored`, made once."""
    file = tmp_path_factory.mktemp("stored") / "sweeper.db"
    grid = load_grid("demo", ["training.epochs=2"])
    resolved = resolve_known(grid, {"nuclei": KnownDataset(NUCLEI, None, 38, 128 * 128)})
    specs = resolved.specs
    with open_database(f"sqlite:///{file}") as database:
        repository = Repository(database)
        trials = new_trials(resolved, learn_costs([]))
        repository.create_sweep("demo", grid=grid.to_dict(), trials=trials, description=grid.description)
        lease = repository.acquire_lease("demo", "test", 60)

        def claimed(position: int) -> int:
            attempt = repository.claim(lease, specs[position].hash, host="host-of-test")
            assert attempt is not None
            return attempt.id

        repository.finish(lease, claimed(0), outcome())
        repository.fail(lease, claimed(1), FailureKind.DIVERGED, "the loss became NaN in epoch 1", requeue=False)
        repository.fail(
            lease, claimed(2), FailureKind.LOST, "killed by [red] signal 9", stderr_tail="last words", requeue=False
        )
        repository.release_lease(lease)
    return file


@pytest.fixture
def stored(home: Path, stored_file: Path) -> Path:
    """A home with the demo sweep: first trial finished, second diverged, third lost its worker, the others queued."""
    home.mkdir()
    shutil.copy(stored_file, home)
    return home


def outcome() -> TrialResult:
    """A result with one image in each partition."""
    scores = (scored(p, f"case-{p}", "nucleus", 0.75, 0.6, 0.7, 0.8) for p in ("validation", "test"))
    epochs = (Epoch(n, 0.5 / n, 0.6 / n, 0.7, 0.1, 19, 1.5) for n in (1, 2))
    return result(scores=scores, history=epochs, parameters=1234, train_seconds=12.0)
