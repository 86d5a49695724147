"""The undisturbed sweep that every disturbed one is compared with."""

from __future__ import annotations

import pytest

from tests.system.faults.scenarios import Reference, Sweep


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    sweep = Sweep(tmp_path_factory.mktemp("undisturbed") / "sweep")
    sweep.go().ends()
    tables = sweep.tables()
    assert sweep.mlflow() == sweep.expected_in_mlflow()
    assert len(tables["scores"]) > 0
    assert len(tables["stability"]) > 0
    assert len(tables["significance"]) > 0
    return Reference(tables, sweep.trained())
