"""A database with sweeps in every condition, as a running program left them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.board.source import Source
from storage.database import open_database
from storage.repository import Repository
from tests.live_sweeps import mixed, store


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the sweep `demo` in the middle of its run."""
    path = tmp_path_factory.mktemp("board") / "sweeper.db"
    with open_database(f"sqlite:///{path}") as database:
        store(Repository(database), mixed())
    return path


@pytest.fixture
def file(template: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(template, tmp_path))


@pytest.fixture
def repository(file: Path) -> Iterator[Repository]:
    """The writer's side."""
    with open_database(f"sqlite:///{file}") as database:
        yield Repository(database)


@pytest.fixture
def source(repository: Repository, file: Path) -> Iterator[Source]:
    """The board's side."""
    source = Source(f"sqlite:///{file}", rest=0.0)
    yield source
    source.close()
