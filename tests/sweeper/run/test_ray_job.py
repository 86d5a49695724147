"""A coordinator as a job of a Ray cluster, without one; with one in `tests/system/test_cluster.py`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from storage.database import open_database
from storage.repository import Repository
from sweeper.errors import RayUnavailableError
from sweeper.run.ray_job import in_cluster, start_job, write_environment
from sweeper.settings import Settings, load_settings


@pytest.mark.parametrize(("address", "expected"), [("", False), ("local", False), ("auto", True), ("head:6379", True)])
def test_a_cluster_is_what_outlives_the_command(monkeypatch: pytest.MonkeyPatch, address: str, expected: bool) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert in_cluster(load_settings()) is expected


def test_a_cluster_without_a_job_server_is_told(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", f"http://127.0.0.1:{free.getsockname()[1]}")
        monkeypatch.setenv("RAY_ADDRESS", "head:6379")
        told = pytest.raises(RayUnavailableError, match=r"RAY_ADDRESS=head:6379 takes no jobs .*include-dashboard")
        with open_database(f"sqlite:///{stored / 'sweeper.db'}") as database, told:
            start_job(load_settings(), Repository(database), "demo")
    assert not list(stored.glob("*.json"))


def test_only_the_owner_may_read_what_the_job_is_given(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hush")
    monkeypatch.setenv("UNRELATED", "x")
    path = write_environment(load_settings(data=home), "job")
    assert path.stat().st_mode & 0o777 == 0o600
    given = json.loads(path.read_text())
    assert given["MLFLOW_TRACKING_PASSWORD"] == "hush"
    assert (given["SWEEPER_HOME"], given["SWEEPER_DATA"]) == (str(home), str(home))
    assert {name.partition("_")[0] for name in given} == {"SWEEPER", "MLFLOW"}


@pytest.mark.slow
def test_the_job_runs_the_command_with_what_it_was_given_and_removes_it(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    path = write_environment(Settings(home=other), "job")
    command = [sys.executable, "-m", "sweeper.run.ray_job", str(path), "resume", "demo"]
    for said in (f"no sweep was launched yet in {other}", f"{path} cannot be read on {socket.gethostname()}"):
        done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert done.stderr.startswith(f"sweeper: {said}")
        assert not path.exists()
