"""What Tune is given to run next, on a real database and without Ray: as many as fit, or as many as were asked for."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.database import open_database
from storage.records import Trial
from storage.repository import Repository
from storage.studies import Studies
from sweeper.run.coordinator import Coordinator, Running, Work
from sweeper.run.gpu_types import on_type
from sweeper.run.lease import LeaseKeeper
from sweeper.run.placement import PLACE_SECONDS, Placement
from sweeper.run.ray_tune import InOrder, QueueSearcher
from trials.messages import Tracking, read_task

from ray.tune.experiment import Trial as RayTrial  # isort: skip (sweeper.run.ray_tune says to Ray what is to be left out)
from ray.tune.schedulers import FIFOScheduler  # isort: skip


class Silent:
    """An observer that wants to know nothing."""

    def changed(self, trials: Sequence[Trial], running: Mapping[str, Running]) -> None: ...

    def say(self, line: str) -> None: ...


@pytest.fixture
def coordinator(stored: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Coordinator]:
    """On the demo sweep, of which 13 trials are queued."""
    monkeypatch.setattr("sweeper.run.coordinator.POLL_SECONDS", 0.0)
    with open_database(f"sqlite:///{stored / 'sweeper.db'}") as database, Studies(database) as studies:
        repository = Repository(database)
        with LeaseKeeper(repository, "demo", 30.0) as keeper:
            yield Coordinator(
                repository,
                repository.sweep("demo"),
                keeper,
                studies=studies,
                work=Work(stored, stored),
                observer=Silent(),
            )


def searcher(coordinator: Coordinator, folder: Path, gpu: float = 0.0) -> QueueSearcher:
    return QueueSearcher(coordinator, Tracking("", "", ""), 3, folder, {"nuclei": {"CPU": 1.0, "GPU": gpu}})


def test_as_many_as_fit_and_after_a_request_as_many_as_it_says(coordinator: Coordinator, tmp_path: Path) -> None:
    tune = searcher(coordinator, tmp_path)
    assert all(isinstance(tune.suggest(name), dict) for name in ("a", "b", "c"))
    assert tune.suggest("d") is None
    assert len(coordinator.running) == 3

    coordinator.repository.add_request("demo", "scale", {"concurrency": 1})
    for ended, left in (("a", 2), ("b", 1)):
        assert tune.suggest("d") is None  # what runs goes on, and nothing starts in the place of what ends
        tune.on_trial_complete(ended, error=True)
        assert len(coordinator.running) == left
    assert tune.suggest("d") is None
    tune.on_trial_complete("c", error=True)
    assert isinstance(tune.suggest("d"), dict)
    assert tune.suggest("e") is None

    coordinator.repository.add_request("demo", "scale", {"concurrency": 2})
    tune.suggest("e")
    assert isinstance(tune.suggest("f"), dict)
    assert len(coordinator.running) == 2


@pytest.mark.parametrize(("gpu", "share"), [(0.0, None), (0.25, 0.25), (1.0, None), (2.0, None)])
def test_a_part_of_a_gpu_is_that_part_of_its_memory(
    coordinator: Coordinator, tmp_path: Path, gpu: float, share: float | None
) -> None:
    suggested = searcher(coordinator, tmp_path, gpu).suggest("a")
    assert isinstance(suggested, dict)
    assert suggested["resources"] == {"CPU": 1.0, "GPU": gpu}
    assert read_task(suggested["task"]).memory_share == share


def test_a_trial_that_got_no_place_is_queued_again_and_counts_for_nothing(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    tune = searcher(coordinator, tmp_path)
    coordinator.limit = 1
    first = tune.suggest("a")
    assert isinstance(first, dict)
    tune.on_trial_complete("a")  # as Tune tells of a trial that is stopped before it has run
    assert not coordinator.running
    again = tune.suggest("b")
    assert isinstance(again, dict)
    assert again["hash"] == first["hash"]


def test_a_trial_is_placed_on_a_type_and_an_overdue_one_is_given_back(coordinator: Coordinator, tmp_path: Path) -> None:
    now = [0.0]
    placement = Placement(lambda: {"A100": 1, "P100": 1}, {"A100": 9.0, "P100": 1.0}, lambda: now[0])
    resources = {"nuclei": {"CPU": 1.0, "GPU": 1.0}}
    tune = QueueSearcher(coordinator, Tracking("", "", ""), 2, tmp_path, resources, placement=placement)
    scheduler = InOrder(placement.overdue)
    first = tune.suggest("a")
    assert isinstance(first, dict)
    assert first["resources"] == {"CPU": 1.0, "GPU": 1.0, **on_type("A100")}
    live: Any = SimpleNamespace(trial_id="a", status=RayTrial.PENDING, config=first)
    stopped: list[object] = []
    controller: Any = SimpleNamespace(
        stop_trial=lambda one: (stopped.append(one), tune.on_trial_complete(one.trial_id)),
        _unstage_trial_with_resources=lambda one: None,
    )
    scheduler.on_trial_add(controller, live)
    assert scheduler.choose_trial_to_run(controller) is live
    now[0] = PLACE_SECONDS
    assert scheduler.choose_trial_to_run(controller) is None
    assert stopped == [live]
    again = tune.suggest("b")
    assert isinstance(again, dict)
    assert (again["hash"], again["resources"]) == (first["hash"], {"CPU": 1.0, "GPU": 1.0, **on_type("P100")})


@given(st.lists(st.sampled_from(("add", "start", "complete", "error", "remove")), max_size=40), st.randoms())
def test_the_scheduler_chooses_what_tunes_own_would(events: list[str], draw: random.Random) -> None:
    ours, tunes = InOrder(), FIFOScheduler()
    trials: list[Any] = []
    tune = SimpleNamespace(get_trials=lambda: trials)
    for event in events:
        if event == "add":
            trials.append(SimpleNamespace(trial_id=str(len(trials)), status=RayTrial.PENDING))
            ours.on_trial_add(tune, trials[-1])
        elif live := [t for t in trials if t.status in (RayTrial.PENDING, RayTrial.RUNNING)]:
            one = draw.choice(live)
            one.status = {"start": RayTrial.RUNNING, "error": RayTrial.ERROR}.get(event, RayTrial.TERMINATED)
            if event == "complete":
                ours.on_trial_complete(tune, one, {})
            elif event != "start":
                (ours.on_trial_error if event == "error" else ours.on_trial_remove)(tune, one)
        assert ours.choose_trial_to_run(tune) is tunes.choose_trial_to_run(tune)
