"""Plans that others ask for: made apart, two at once, and never longer than they may take."""

from __future__ import annotations

from collections.abc import Iterator
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
    assert served.client(None).get("/healthz").status_code == 200


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
