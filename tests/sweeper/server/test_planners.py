"""Plans that others ask for: made apart, two at once, and never longer than they may take."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sweeper.errors import GridError
from sweeper.server.app import API
from sweeper.server.planners import Planners
from sweeper.settings import load_settings
from sweeper.verbs.grids import planned_here
from sweeper.verbs.requests import PlanRequest

DEMO = PlanRequest(grid="demo")


def test_a_service_that_plans_already_says_when_to_ask_again(served: Any) -> None:
    served.host.planners = Planners(at_once=0)
    answer = served.read.post(f"{API}/plan", json={"grid": "demo"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "ask again in some seconds" in answer.json()["detail"]


HELD = """
import os, pathlib, sys, time

if "sweeper.server.planners" in sys.orig_argv:
    folder = pathlib.Path(__file__).parent
    (folder / f"held.{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.05)
"""
"""What Python imports first in the process of a plan: it waits there until the test says so."""


@pytest.mark.slow
def test_the_service_answers_while_as_many_plans_run_as_may_run(
    served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = tmp_path / "held"
    held.mkdir()
    (held / "sitecustomize.py").write_text(HELD)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(held), os.environ.get("PYTHONPATH")])))
    # One client for all, so that all requests meet in one loop, as in a service.
    with Planners(at_once=2) as planners, served.read as client, ThreadPoolExecutor(2) as pool:
        served.host.planners = planners

        def plan() -> Any:
            return client.post(f"{API}/plan", json={"grid": "demo"})

        answers = [pool.submit(plan) for _ in range(2)]
        try:
            while len(list(held.glob("held.*"))) < 2:
                assert not any(answer.done() for answer in answers)
                time.sleep(0.05)
            assert client.get("/healthz").status_code == 200
            assert plan().status_code == 503
        finally:
            (held / "go").touch()
        assert [answer.result().status_code for answer in answers] == [200, 200]


@pytest.mark.slow
class TestProcesses:
    @pytest.fixture
    def planners(self) -> Iterator[Planners]:
        with Planners(at_once=1) as made:
            yield made

    def test_a_plan_is_that_of_this_process_and_a_mistake_has_its_kind(self, stored: Path, planners: Planners) -> None:
        here = planned_here(DEMO, load_settings())
        there = planners.planned(DEMO)
        kept = {"predicted_finish", "free_bytes"}
        assert there.model_dump(exclude=kept) == here.model_dump(exclude=kept)
        with pytest.raises(GridError, match="is no shipped grid"):
            planners.planned(PlanRequest(toml='extends = "other"'))
        assert planners.planned(DEMO).grid == here.grid

    def test_one_that_takes_too_long_is_ended_and_the_next_one_is_made(self, stored: Path) -> None:
        with Planners(at_once=1, seconds=0.0) as planners:
            with pytest.raises(GridError, match="takes longer than 0 s; make it smaller"):
                planners.planned(DEMO)
            with pytest.raises(GridError, match="takes longer than 0 s"):
                planners.planned(DEMO)
