"""A store of MLflow for each test that asks."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from workers.tracking import ensure_store


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """What would be lost if the machine lost its power is no matter here, and MLflow commits hundreds of times."""

    def hurry(connection: object, record: object) -> None:
        if isinstance(connection, sqlite3.Connection):  # a test of storage may run in the same process, on Postgres
            connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", hurry)
    yield
    event.remove(Engine, "connect", hurry)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables take two seconds to make; every test copies them."""
    folder = tmp_path_factory.mktemp("mlflow")
    ensure_store(f"sqlite:///{folder}/mlflow.db", experiment="untouched")
    return folder / "mlflow.db"


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path) -> str:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    address = f"sqlite:///{tmp_path}/mlflow.db"
    ensure_store(address, experiment="tests", artifact_root=tmp_path / "artifacts")
    return address
