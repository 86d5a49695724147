"""One sweep on Postgres with an MLflow server: both crash and come back, coordinators are killed and fall asleep."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import open_database
from storage.errors import DatabaseFullError
from storage.repository import Repository
from tests.mlflow_server import MlflowServer
from tests.postgres_server import PostgresServer, running_server
from tests.system.faults.scenarios import SHORT, Reference, Sweep, fill, one_by_one, small_disk
from trials.states import TrialState

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(1800)]

OUTAGE = float(os.environ.get("SWEEPER_TEST_OUTAGE", "8"))
"""Seconds without database and MLflow, longer than the lease; by hand it was two minutes."""


POSTGRES_DISK = 192 * 2**20


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


def test_a_full_disk_under_postgres_is_told_at_once_and_keeps_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as after:
        place = Path(tempfile.mkdtemp(prefix="sweeper-disk-", dir="/tmp"))  # which Postgres' own user can reach
        after.callback(place.rmdir)
        place.chmod(0o755)
        if not small_disk(place, POSTGRES_DISK):
            pytest.skip("this user may not mount a small disk")
        after.callback(subprocess.run, ["umount", "--lazy", place], check=True)
        monkeypatch.setattr(tempfile, "tempdir", str(place))
        server = PostgresServer()
        after.callback(server.stop)
        repository = Repository(after.enter_context(open_database(server.new_database())))
        repository.create_sweep("before", grid={"name": "before"}, trials=[])
        fill(place / "ballast")
        with pytest.raises(DatabaseFullError, match="No space left on device"):
            _grow(repository)
        assert "before" in [one.name for one in repository.sweeps()]
        (place / "ballast").unlink()
        repository.create_sweep("after", grid={"name": "after"}, trials=[])


def _grow(repository: Repository) -> None:
    """Writes what does not shrink, until a table has to grow."""
    for number in range(500):
        repository.create_sweep(f"sweep-{number}", grid={"name": secrets.token_hex(50_000)}, trials=[])
