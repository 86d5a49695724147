"""The undisturbed sweep that every disturbed one is compared with."""

from __future__ import annotations

import fcntl
import os
import pickle
from pathlib import Path

import pytest

from tests.system.faults.scenarios import SHORT, Reference, Sweep, one_by_one


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Trained once, also where several processes run the tests: the first one writes down what it gave."""
    own = tmp_path_factory.getbasetemp()
    folder = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with (folder / "undisturbed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        written = folder / "undisturbed.pickle"
        if not written.exists():
            found = _undisturbed(tmp_path_factory.mktemp("undisturbed") / "sweep")
            written.write_bytes(pickle.dumps(found))
        return pickle.loads(written.read_bytes())  # noqa: S301 (written here)


def _undisturbed(folder: Path) -> Reference:
    sweep = Sweep(folder, grid=one_by_one(SHORT))
    sweep.go().ends()
    tables = sweep.tables()
    assert sweep.mlflow() == sweep.expected_in_mlflow()
    assert len(tables["scores"]) > 0
    assert len(tables["stability"]) > 0
    assert len(tables["significance"]) > 0
    return Reference(tables, sweep.trained())
