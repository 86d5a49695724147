"""Databases for the tests: a new SQLite file, and a new database on a real Postgres, for each test that asks."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.database import Database, open_database
from storage.models import Base
from storage.repository import Repository
from storage.schema import VERSION_TABLE

# Tests are no package: helpers beside them are found by their folder.
sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent)]

from postgres_server import PostgresServer, running_server  # noqa: E402

BACKENDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]

LONG_ON_POSTGRES = {"added_trials", "older_demo", "removal", "schema", "studies", "transfer"}
"""The modules `test_…` of whole sweeps. What they do on a server takes a twelfth of all fast tests, and is slow."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before `-m` chooses."""
    for item in items:
        if item.get_closest_marker("postgres") and item.path.stem.removeprefix("test_") in LONG_ON_POSTGRES:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running server, stopped at the end."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """Name of a database with our tables, which is copied faster than it is made."""
    url = postgres.new_database()
    open_database(url).close()
    return url.rsplit("/", 1)[1]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with our tables, which is copied faster than it is made."""
    file = tmp_path_factory.mktemp("template") / "sweeper.db"
    open_database(f"sqlite:///{file}").close()
    return file


@pytest.fixture(params=BACKENDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without our tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'sweeper.db'}"
        return
    server = request.getfixturevalue("postgres")
    url = server.new_database()
    yield url
    server.drop_database(url)


@pytest.fixture(scope="session")
def emptied_urls() -> list[str]:
    """Databases on Postgres with our tables, emptied after use: that takes a third of the time of a new one."""
    return []


@pytest.fixture(params=BACKENDS)
def new_url(
    request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path, emptied_urls: list[str]
) -> Iterator[Callable[[], str]]:
    """Makes URLs of new databases that have our tables."""
    if request.param == "sqlite":
        numbers = iter(range(1000))
        yield lambda: f"sqlite:///{shutil.copy(sqlite_template, tmp_path / f'sweeper-{next(numbers)}.db')}"
        return
    server, template = request.getfixturevalue("postgres"), request.getfixturevalue("postgres_template")
    made: list[str] = []

    def make() -> str:
        made.append(emptied_urls.pop() if emptied_urls else server.new_database(template))
        return made[-1]

    yield make
    for url in made:
        server.empty_database(url, Base.metadata.tables.keys(), untouched=[VERSION_TABLE])
        emptied_urls.append(url)


@pytest.fixture
def postgres_url(postgres: PostgresServer, postgres_template: str) -> Iterator[str]:
    """URL of one new database with our tables, on Postgres."""
    url = postgres.new_database(postgres_template)
    yield url
    postgres.drop_database(url)


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """URL of one new database."""
    return new_url()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """One new database, open."""
    with open_database(url, retry_for=20) as opened:
        yield opened


@pytest.fixture
def repository(database: Database) -> Repository:
    """The repository of one new database."""
    return Repository(database)
