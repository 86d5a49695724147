"""The board's pages that need no script: what they say, and what is wrong with an address."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from flask.testing import FlaskClient

from dashboards.board.app import make_app
from dashboards.board.source import Source
from storage.repository import Repository
from tests.live_sweeps import Planned, store
from trials.states import SweepState, TrialState


@pytest.fixture
def client(source: Source) -> FlaskClient:
    client: FlaskClient = make_app(source, host="127.0.0.1").server.test_client()
    client.environ_base["HTTP_HOST"] = "127.0.0.1:8050"
    return client


def rows(answer: Any) -> list[dict[str, str]]:
    assert answer.headers["Content-Disposition"].endswith(".csv")
    return list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))


def test_home_has_every_sweep_with_state_progress_and_best_loss(client: FlaskClient, repository: Repository) -> None:
    lease = store(repository, [Planned(loss="combo", repeat=1, state=TrialState.FAILED)], "=cmd", rehearsal=True)
    repository.set_sweep_state(lease, SweepState.BROKEN, "too many")
    text = client.get("/").get_data(as_text=True)
    assert text.index("=cmd") < text.index(">demo<")  # the newest first
    assert "6 of 15 trials finished, 2 running, 2 failed, 1 pruned, 1 stopped" in text
    assert "ce on drive, 0.750 over 2 runs; ce on nuclei, 0.761 over 1 run" in text
    assert "rehearsal" in text
    only = client.get("/?state=broken").get_data(as_text=True)
    assert "1 of 2 sweeps" in only
    assert ">demo<" not in only
    found = rows(client.get("/sweeps.csv?show=DEMO"))
    assert [(r["sweep"], r["finished"], r["dataset"], r["best_loss"]) for r in found] == [
        ("demo", "6", "drive", "ce"),
        ("demo", "6", "nuclei", "ce"),
    ]
    assert rows(client.get("/sweeps.csv?state=broken"))[0]["sweep"] == "'=cmd"  # which no spreadsheet runs


def test_a_sweep_that_nobody_runs_is_told_from_one_that_runs(client: FlaskClient, repository: Repository) -> None:
    repository.set_sweep_state(store(repository, [Planned(repeat=3)], "run"), SweepState.RUNNING)
    lease = store(repository, [Planned(repeat=2)], "left")
    repository.set_sweep_state(lease, SweepState.RUNNING)
    repository.release_lease(lease)
    assert [r["sweep"] for r in rows(client.get("/sweeps.csv?state=not+running"))] == ["left"]


def test_home_is_sent_again_only_when_something_changed(client: FlaskClient, repository: Repository) -> None:
    seen = {"If-None-Match": client.get("/").headers["ETag"]}
    assert client.get("/", headers=seen).status_code == 304
    store(repository, [Planned(loss="combo", repeat=1)], "another")
    assert client.get("/", headers=seen).status_code == 200


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/?sweep=dem", 404, "did you mean &#39;demo&#39;"),
        ("/?sweep=demo&state=runing", 404, "did you mean &#39;running&#39;"),
        ("/?state=odd", 404, "no state of a sweep is named &#39;odd&#39;"),
        ("/nothing", 404, "no page &#39;/nothing&#39;"),
        ("/?sweep=%00%F0", 404, "no sweep is named"),
        ("/?sweep=<script>", 404, "&lt;script&gt;"),
    ],
)
def test_a_wrong_address_is_a_page_that_says_what_is_wrong(
    client: FlaskClient, address: str, status: int, words: str
) -> None:
    answer = client.get(address)
    assert answer.status_code == status
    text = answer.get_data(as_text=True)
    assert words in text
    assert 'role="alert"' in text
    assert "Traceback" not in text
