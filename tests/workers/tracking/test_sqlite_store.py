"""A store of MLflow is there whole, or not at all."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from workers.tracking import ensure_store
from workers.tracking.client import connect
from workers.tracking.sqlite_store import make_store

KILLED_AFTER = """
import os, signal, sqlite3, sys
from sqlalchemy import Engine, event
from workers.tracking import ensure_store

left = int(sys.argv[2])

@event.listens_for(Engine, "before_cursor_execute")
def count(*arguments):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

ensure_store("sqlite:///" + sys.argv[1], experiment="tests")
"""


@pytest.mark.slow
@pytest.mark.parametrize("statements", [200, 700])
def test_a_first_start_that_is_killed_leaves_nothing_half_made(statements: int, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    done = subprocess.run([sys.executable, "-c", KILLED_AFTER, str(file), str(statements)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not file.exists()
    identity = ensure_store(f"sqlite:///{file}", experiment="tests")
    client = connect(f"sqlite:///{file}")
    assert client.get_run(client.create_run(identity).info.run_id).info.experiment_id == identity


@pytest.mark.slow
def test_a_store_that_an_earlier_version_left_half_made_is_made_anew(empty_store: Path, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    shutil.copy(empty_store, file)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE _alembic_tmp_experiments (experiment_id INTEGER)")
        connection.execute("DELETE FROM experiment_tags")
        connection.execute("DELETE FROM experiments")
        connection.execute("DROP TABLE logged_models")
    identity = ensure_store(f"sqlite:///{file}", experiment="tests")
    assert connect(f"sqlite:///{file}").get_experiment(identity).name == "tests"


def test_a_store_with_runs_is_never_replaced(uri: str) -> None:
    client = connect(uri)
    run = client.create_run(client.get_experiment_by_name("tests").experiment_id)
    make_store(Path(uri.removeprefix("sqlite:///")))
    assert client.get_run(run.info.run_id).info.status == "RUNNING"


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"something else" * 100)
    make_store(file)
    assert file.read_bytes() == b"something else" * 100
