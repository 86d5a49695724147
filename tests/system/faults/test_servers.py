"""One sweep on Postgres with an MLflow server: both crash and come back, coordinators are killed and fall asleep."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.mlflow_server import MlflowServer
from tests.postgres_server import PostgresServer, running_server
from tests.system.faults.scenarios import SHORT, Reference, Sweep, one_by_one
from trials.states import TrialState

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(1800)]

OUTAGE = float(os.environ.get("SWEEPER_TEST_OUTAGE", "8"))
"""Seconds without database and MLflow, longer than the lease; by hand it was two minutes."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow") / "server")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def sweep(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, mlflow_server: MlflowServer
) -> Iterator[Sweep]:
    variables = {"SWEEPER_DATABASE_URL": postgres.new_database(), "MLFLOW_TRACKING_URI": mlflow_server.url}
    made = Sweep(tmp_path_factory.mktemp("servers") / "sweep", variables, grid=one_by_one(SHORT))
    yield made
    made.end()


def test_database_and_mlflow_crash_and_come_back(
    sweep: Sweep, reference: Reference, postgres: PostgresServer, mlflow_server: MlflowServer
) -> None:
    run = sweep.go()
    sweep.hold("mid-epoch", run)
    mlflow_server.kill()
    postgres.kill()
    sweep.arm("result")
    sweep.release_only("mid-epoch")
    time.sleep(OUTAGE)
    assert run.process.poll() is None, run.output()
    postgres.start()
    sweep.held("result", run)
    sweep.arm("mid-epoch")
    sweep.release_only("result")
    sweep.held("mid-epoch", run)
    assert sweep.counts()[TrialState.FINISHED] == 1
    mlflow_server.start()
    # Nobody had to resume, and no attempt was lost.
    assert set(sweep.attempts()) <= {("running", None), ("finished", None)}
    reference.so_far(sweep)
    # Then it falls asleep, and another coordinator takes over.
    sweep.oversleep(run).ends()
    reference.equals(sweep)
