"""A sweep on a real Ray cluster that asks for a token: its coordinator is a job there, and outlives its terminal."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.system.sweeps import LONG_GRID, ONE_AT_ONCE, Home, some_epoch, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PASSWORD = "hush-hush"

GRID = LONG_GRID.replace(ONE_AT_ONCE, "")  # the cluster has one CPU, whatever the machine has


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """The variables with which a command finds a cluster of one node, which the tests start and stop."""
    gcs, dashboard, agent, client = free_ports(4)
    variables = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ADDRESS": f"127.0.0.1:{gcs}",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
    }
    folder = tempfile.mkdtemp(prefix="ray-")  # pytest's own would be too long for the names of sockets
    command = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        "--num-cpus=1",
        "--num-gpus=0",
    ]
    command += [f"--port={gcs}", f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1"]
    command += [f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}", "--disable-usage-stats"]
    command += [f"--object-store-memory={128 * 2**20}", f"--temp-dir={folder}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with (Path(folder) / "head.log").open("wb") as log:
        head = subprocess.Popen(
            command,
            env={**environment, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": variables["RAY_AUTH_TOKEN"]},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(lambda: all(answers(port) for port in (gcs, dashboard, agent)))
        yield variables
    finally:
        os.killpg(head.pid, signal.SIGKILL)  # told to end, it would wait for half a minute
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


@pytest.fixture
def home(cluster: dict[str, str], tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home", {**cluster, "SWEEPER_LEASE_SECONDS": "10"})
    yield home
    if home.folder.exists():  # a failed test must leave no coordinator behind
        home.run("stop", "long", "--now")


def test_a_wrong_token_is_told_before_anything_is_written(cluster: dict[str, str], tmp_path: Path) -> None:
    home = Home(tmp_path / "home", {**cluster, "RAY_AUTH_TOKEN": "of another cluster"})
    said = home.run("launch", "--grid", home.grid(GRID), code=2)
    assert said.startswith(f"sweeper: the Ray cluster at RAY_ADDRESS={cluster['RAY_ADDRESS']} refuses the token")
    assert "set RAY_AUTH_MODE=token" in said
    assert said.count("\n") == 1
    assert not (home.folder / "sweeper.db").exists()


def test_a_detached_coordinator_is_a_job_that_needs_no_terminal_and_shows_no_password(
    home: Home, cluster: dict[str, str]
) -> None:
    home.variables["MLFLOW_TRACKING_PASSWORD"] = PASSWORD
    terminal = home.start("launch", "--grid", home.grid(GRID, "long.toml"), "--detach")
    said, _ = terminal.communicate(timeout=300)
    assert terminal.returncode == 0, said
    with contextlib.suppress(ProcessLookupError):
        os.killpg(terminal.pid, signal.SIGHUP)  # its terminal is closed
    assert "long runs as job sweeper-long-" in said
    del home.variables["MLFLOW_TRACKING_PASSWORD"]
    wait_for(some_epoch(home, "long"))

    (job,) = ask(cluster, "/api/jobs/")
    name = job["submission_id"]
    assert f"ray job logs {name}" in said
    assert job["metadata"] == {"sweep": "long"}
    assert PASSWORD not in str(job) + str(ask(cluster, f"/api/jobs/{name}/logs"))
    holder = home.json("status", "long")["lease"]["holder"]
    coordinator = psutil.Process(int(holder.partition("pid ")[2].rstrip(")")))
    assert coordinator.environ()["MLFLOW_TRACKING_PASSWORD"] == PASSWORD
    assert not list(home.folder.glob("*.environment.json"))

    assert "is run by" in home.run("launch", "--grid", home.grid(GRID, "long.toml"), "--detach", code=2)
    watching = home.start("attach", "long")
    home.run("stop", "long", "--now")
    out, _ = watching.communicate(timeout=300)
    assert watching.returncode == 0, out
    status = home.json("status", "long")
    assert (status["state"], {t["state"] for t in status["trials"]}) == ("stopped", {"queued"})
    wait_for(lambda: ask(cluster, f"/api/jobs/{name}")["status"] not in ("PENDING", "RUNNING"))
    assert ask(cluster, f"/api/jobs/{name}")["status"] == "SUCCEEDED"


def ask(cluster: dict[str, str], path: str) -> Any:
    """What the cluster's job server tells whoever has the token."""
    headers = {"Authorization": f"Bearer {cluster['RAY_AUTH_TOKEN']}"}
    request = urllib.request.Request(cluster["RAY_API_SERVER_ADDRESS"] + path, headers=headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)
