"""A store of MLflow for each test that asks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from workers.tracking import ensure_store


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
