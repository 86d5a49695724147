"""Renaming and deleting a sweep: rows, files and notes together, also when the process ends in the midst."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import open_database
from storage.errors import LeaseHeldError, UnknownSweepError
from storage.records import NewTrial
from storage.repository import Repository
from sweeper.run import unpublished, upkeep
from sweeper.settings import Settings, load_settings
from tests.sweeper.conftest import Command
from tests.sweeper.run.killed_delete import MOMENTS

ROOT = Path(__file__).parents[3]


@pytest.fixture
def settings(stored: Path) -> Settings:
    return load_settings()


@pytest.fixture
def repository(settings: Settings) -> Iterator[Repository]:
    with open_database(settings.database) as database:
        yield Repository(database)


@pytest.fixture
def files(settings: Settings, repository: Repository) -> list[Path]:
    """What the sweep has on disk, and last a trial's folder of nobody."""
    first = repository.trials("demo")[0].hash
    made = [
        settings.trials / first / "model.keras",
        settings.logs / f"{first}.log",
        settings.reports / "demo" / "report.html",
        settings.logs / "demo.coordinator.log",
        settings.trials / ("a" * 16) / "model.keras",
    ]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    unpublished.note(settings, "demo")
    return made


def test_the_files_of_a_sweep_go_with_it(settings: Settings, repository: Repository, files: list[Path]) -> None:
    taken, left = upkeep.delete(settings, repository, "demo")
    assert (len(taken.files), left, repository.sweeps()) == (5, [], [])
    assert [path.exists() for path in files] == [False] * 4 + [True]
    assert unpublished.noted(settings) == []
    assert upkeep.finish_changes(settings, repository) == []


def test_the_files_of_a_sweep_move_with_its_name(settings: Settings, repository: Repository, files: list[Path]) -> None:
    assert upkeep.rename(settings, repository, "demo", "first") == []
    assert (settings.reports / "first" / "report.html").exists()
    assert not (settings.reports / "demo").exists()
    assert files[0].exists()
    assert unpublished.noted(settings) == ["first"]


def test_a_process_that_ends_after_the_database_leaves_the_rest_to_the_next(
    settings: Settings, repository: Repository, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as ended:
        ended.setattr(upkeep, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            upkeep.delete(settings, repository, "demo")
    assert repository.sweeps() == []
    assert files[0].exists()
    assert upkeep.finish_changes(settings, repository) == []
    assert [path.exists() for path in files] == [False] * 4 + [True]


def test_a_process_that_ends_before_the_database_leaves_the_sweep_whole(
    settings: Settings, repository: Repository, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(settings.home, tmp_path / "copy")
    with monkeypatch.context() as ended:
        ended.setattr(upkeep, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            upkeep.delete(settings, repository, "demo")
    (note,) = (settings.home / "changes").glob("[!.]*.json")
    there = settings.model_copy(update={"home": tmp_path / "copy"})
    (there.home / "changes").mkdir()
    shutil.copy(note, there.home / "changes")
    with open_database(there.database) as database:
        assert upkeep.finish_changes(there, Repository(database)) == []
        assert [sweep.name for sweep in Repository(database).sweeps()] == ["demo"]
    assert all((there.home / path.relative_to(settings.home)).exists() for path in files)


@pytest.mark.slow
def test_a_sweep_is_whole_or_gone_whenever_the_process_that_deletes_it_is_killed(
    settings: Settings, repository: Repository, files: list[Path], tmp_path: Path
) -> None:
    homes = {moment: tmp_path / f"killed-{number}" for number, moment in enumerate(MOMENTS)}
    for home in homes.values():
        shutil.copytree(settings.home, home)
    words = [str(word) for pair in homes.items() for word in pair]
    command = [sys.executable, "-m", "tests.sweeper.run.killed_delete", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kept = set()
    for moment, home in homes.items():
        there = settings.model_copy(update={"home": home})
        with open_database(there.database) as database:
            assert upkeep.finish_changes(there, Repository(database)) == []  # as the next command does
            whole = bool(Repository(database).sweeps())
            assert len(Repository(database).trials_by_hash([one.hash for one in repository.trials("demo")])) == (
                18 if whole else 0
            )
        kept |= {moment} if whole else set()
        assert [(home / path.relative_to(settings.home)).exists() for path in files] == [whole] * 4 + [True], moment
        assert not list((home / "changes").glob("[!.]*.json"))
    assert kept == {"noted", "before the database"}


def test_a_trial_that_came_back_keeps_its_files(
    settings: Settings, repository: Repository, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = repository.trials("demo")[0]
    with monkeypatch.context() as ended:
        ended.setattr(upkeep, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            upkeep.delete(settings, repository, "demo")
    again = NewTrial(trial.hash, trial.spec, "l", "nuclei", "ce", None, 0, 0, 1)
    repository.create_sweep("demo", grid={}, trials=[again])
    upkeep.finish_changes(settings, repository)
    assert [path.exists() for path in files] == [True] * 5


def test_a_sweep_that_runs_stays(settings: Settings, repository: Repository, files: list[Path]) -> None:
    repository.acquire_lease("demo", "somebody", 60)
    for change in (
        lambda: upkeep.delete(settings, repository, "demo"),
        lambda: upkeep.rename(settings, repository, "demo", "first"),
    ):
        with pytest.raises(LeaseHeldError, match="sweeper stop demo"):
            change()
    assert upkeep.finish_changes(settings, repository) == []
    assert all(path.exists() for path in files)


@pytest.mark.slow
def test_an_unreachable_mlflow_is_told_later(
    settings: Settings, repository: Repository, files: list[Path], tmp_path: Path
) -> None:
    away = settings.model_copy(update={"mlflow_uri": f"sqlite:///{tmp_path}/damaged.db"})
    (tmp_path / "damaged.db").write_bytes(b"no database" * 100)
    _, left = upkeep.delete(away, repository, "demo")
    assert len(left) == 1
    assert "changed later, by: sweeper gc" in left[0]
    assert not files[0].exists()
    assert upkeep.finish_changes(settings, repository) == []
    assert not list((settings.home / "changes").glob("[!.]*.json"))


def test_the_commands(sweeper: Command, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    answer = sweeper("rename", "demo", "../x")
    assert (answer.status, answer.out) == (2, "")
    assert "should match pattern" in answer.err
    assert "sweeper report first" in sweeper("rename", "demo", "first").out
    assert sweeper("rename", "dmeo", "x").status == 2
    answer = sweeper("delete", "first")  # nobody answers
    assert answer.status == 1
    assert "nothing was deleted" in answer.out
    assert "database: 18 trials" in answer.out
    answer = sweeper("delete", "first", "--yes")
    assert answer.status == 0
    assert answer.out.splitlines()[-1] == "first is deleted"
    assert "no sweep is named 'first'" in sweeper("delete", "first", "--yes").err


def test_unknown(settings: Settings, repository: Repository) -> None:
    with pytest.raises(UnknownSweepError):
        upkeep.foresee(settings, repository, "nothing")
