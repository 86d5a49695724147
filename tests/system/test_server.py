"""A real study through the service: submitted, watched, stopped, resumed, fetched; a killed coordinator is replaced."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from sweeper.server.client import Client
from sweeper.verbs import status
from sweeper.verbs.requests import StatusRequest
from tests.system.sweeps import TINY_GRID, Home

pytestmark = pytest.mark.slow
SECONDS = 240.0
GRID = TINY_GRID.replace("gamma = [0.3, 0.6]", "gamma = 0.5").replace("epochs = 2", "epochs = 1")


@contextmanager
def serving(home: Home, end: signal.Signals, *options: str) -> Iterator[str]:
    """The address of `sweeper serve` in a home, which is ended by that signal."""
    log = home.folder.parent / f"{home.folder.name}-serve.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "sweeper", "serve", "--port", "0", *options],
            env=home.environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield until(lambda: re.search(r"http://127\.0\.0\.1:\d+", log.read_text()), process)[0]
    finally:
        process.send_signal(end)
        assert process.wait(60) in (0, -end), log.read_text()


def until(look: Callable[[], Any], process: subprocess.Popen[Any] | None = None) -> Any:
    """Looks again and again until something is there."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if found := look():
            return found
        assert process is None or process.poll() is None, "the service ended"
        time.sleep(0.2)
    raise AssertionError("it did not come about in time")


def token(home: Home) -> str:
    """What the service made for itself."""
    return (home.folder / "server-token").read_text().strip()


def client(home: Home, url: str) -> Client:
    """Asks as the command does, without its start-up."""
    return Client(url, token(home))


def expired(home: Home) -> bool:
    """Whether the sweep's coordinator is known to be lost."""
    with home.repository() as repository:
        lease = repository.lease("tiny")
        return lease is not None and lease.expires_at <= repository.database.now()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    variables = {"SWEEPER_LEASE_SECONDS": "6", "SWEEPER_LOG_FORMAT": "json"}
    return Home(tmp_path_factory.mktemp("served") / "home", variables)


@pytest.fixture(scope="module")
def address(home: Home) -> Iterator[str]:
    """A service with a tiny study, which was submitted to an earlier one; both that one and the coordinator were
    killed in the first trial, so that this one has gone on with it."""
    with serving(home, signal.SIGKILL) as url:
        said = home.run("--server", url, "launch", "--grid", home.grid(GRID))
        assert said == "tiny is being started; see: sweeper status tiny\n"
        assert home.json("--server", url, "status", "tiny")["state"] in ("starting", "queued", "running")

        with client(home, url) as asked:

            def claimed() -> Any:
                found = status(asked, "tiny", StatusRequest())
                return found.counts.running and found.lease

            holder = until(claimed).holder
        os.kill(int(re.search(r"pid (\d+)", holder)[1]), signal.SIGKILL)
    until(lambda: expired(home))
    with serving(home, signal.SIGTERM, "--resume") as url, client(home, url) as asked:
        until(lambda: status(asked, "tiny", StatusRequest()).state == "finished")
        until(lambda: (home.folder / "reports" / "tiny" / "report.html").is_file())
        yield url


def test_a_killed_coordinator_was_replaced_and_all_is_finished(home: Home, address: str) -> None:
    status = home.json("status", "tiny")
    assert status["counts"]["finished"] == 2
    with sqlite3.connect(home.folder / "sweeper.db") as database:
        (fencing,) = database.execute("SELECT fencing FROM lease").fetchone()
    assert fencing >= 2
    assert list((home.folder / "starts").glob("*.json")) == []


def test_results_over_http_are_those_of_the_local_export(home: Home, address: str, tmp_path: Path) -> None:
    home.run("db", "export", "tiny", "--to", str(tmp_path / "export"))
    key = ("trial", "partition", "case", "label")
    rows = pq.read_table(tmp_path / "export" / "score.parquet").to_pylist()
    stored = [{**row, **json.loads(row["metrics"])} for row in rows]
    headers = {"Authorization": f"Bearer {token(home)}"}
    with httpx.Client(base_url=f"{address}/api/v1", headers=headers, timeout=60) as client:
        over_json = client.get("/sweeps/tiny/results").json()
        over_parquet = client.get("/sweeps/tiny/results?format=parquet").content
        page = client.get("/sweeps/tiny/report").text
        log = client.get("/sweeps/tiny/log").text
    shown = home.run("--server", address, "status", "tiny")
    for found in (over_json["scores"], pq.read_table(io.BytesIO(over_parquet)).to_pylist()):
        assert sorted(found, key=lambda row: [row[k] for k in key]) == [
            {name: row.get(name) for name in found[0]} for row in sorted(stored, key=lambda row: [row[k] for k in key])
        ]
    trials = {row["hash"]: row["test_dsc"] for row in pq.read_table(tmp_path / "export" / "trial.parquet").to_pylist()}
    assert {row["hash"]: row["test_dsc"] for row in over_json["trials"]} == trials
    assert shown == home.run("status", "tiny")
    assert page == (home.folder / "reports" / "tiny" / "report.html").read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert any(line["message"].startswith("finished ") and line["sweep"] == "tiny" for line in lines)


def test_a_start_that_fails_behind_the_answer_is_told(home: Home, address: str) -> None:
    """The files are there and well named, so that only preparing them finds out that they are no images."""
    for kind in ("images", "masks"):
        folder = home.folder / "data" / "broken" / kind
        folder.mkdir(parents=True)
        for number in range(3):
            (folder / f"{number}.png").write_bytes(b"no image")
    text = 'name = "broken"\nlosses = [{ name = "ce" }]\n[[datasets]]\nname = "broken"\nreader = "image-folder"\n'
    home.run("--server", address, "launch", "--grid", home.grid(text, "broken.toml"))

    with client(home, address) as asked:

        def failed() -> Any:
            found = status(asked, "broken", StatusRequest())
            return found.state == "failed" and found

        reason = until(failed).reason
    assert "could not be started" in reason
    assert "0.png" in reason
