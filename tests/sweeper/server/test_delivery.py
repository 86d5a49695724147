"""Which sweeps a service sends MLflow the rest of, when, and that a server that comes back gets all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeper.run import unpublished
from sweeper.server.delivery import Delivery, send_in_process
from tests.mlflow_server import PATIENCE, MlflowServer
from trials.states import SweepState, TrialState
from workers.tracking import Spool


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Sent:
    """Stands where processes would be started: which were, and which of them still run."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.going: set[str] = set()

    def __call__(self, sweep: str, log: Path) -> Callable[[], bool]:
        self.names.append(sweep)
        return lambda: sweep in self.going


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def delivery(served: Any, clock: Clock, sent: Sent) -> Delivery:
    return Delivery(served.host, clock, sent)


def end(served: Any, state: SweepState = SweepState.FINISHED) -> None:
    lease = served.repository.acquire_lease("demo", "test", 60)
    served.repository.set_sweep_state(lease, state)
    served.repository.release_lease(lease)


def settings_of(served: Any) -> Any:
    return served.host.settings


@pytest.mark.parametrize("state", [SweepState.FINISHED, SweepState.STOPPED, SweepState.BROKEN])
def test_a_sweep_that_ended_with_a_note_is_sent_after_a_minute(
    served: Any, delivery: Delivery, clock: Clock, state: SweepState
) -> None:
    unpublished.note(settings_of(served), "demo")
    end(served, state)
    assert delivery.run_once() == []
    clock.now = 59.0
    assert delivery.run_once() == []
    clock.now = 60.0
    assert delivery.run_once() == ["demo"]


def test_without_a_note_nothing_is_sent(served: Any, delivery: Delivery, clock: Clock) -> None:
    end(served)
    for clock.now in (0.0, 60.0):
        assert delivery.run_once() == []


def test_one_that_runs_or_is_held_is_left_to_whoever_has_it(served: Any, delivery: Delivery, clock: Clock) -> None:
    """Its minute begins when it has ended."""
    unpublished.note(settings_of(served), "demo")
    for clock.now in (0.0, 60.0):
        assert delivery.run_once() == []  # abandoned: it will go on
    end(served)
    lease = served.repository.acquire_lease("demo", "test", 60, running=False)
    for clock.now in (120.0, 180.0):
        assert delivery.run_once() == []
    served.repository.release_lease(lease)
    clock.now = 240.0
    assert delivery.run_once() == []
    clock.now = 300.0
    assert delivery.run_once() == ["demo"]


def test_what_fails_is_tried_again_ever_more_rarely_and_never_twice_at_once(
    served: Any, delivery: Delivery, clock: Clock, sent: Sent
) -> None:
    unpublished.note(settings_of(served), "demo")
    end(served)
    minutes = []
    for minute in range(200):
        clock.now = 60.0 * minute
        sent.going = {"demo"} if 3 <= minute < 10 else set()
        if delivery.run_once():
            minutes.append(minute)
    assert minutes == [1, 3, 10, 18, 34, 66, 126, 186]


def test_an_mlflow_that_is_away_is_no_attempt(
    served: Any, delivery: Delivery, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpublished.note(settings_of(served), "demo")
    end(served)
    settings = settings_of(served)
    away = settings.model_copy(update={"mlflow_uri": "http://127.0.0.1:9"})
    monkeypatch.setattr(served.host, "settings", away)
    for minute in range(100):
        clock.now = 60.0 * minute
        assert delivery.run_once() == []
    monkeypatch.setattr(served.host, "settings", settings)
    assert delivery.run_once() == ["demo"]


def test_a_note_of_a_sweep_that_is_not_here_is_left_alone(served: Any, delivery: Delivery, clock: Clock) -> None:
    unpublished.note(settings_of(served), "elsewhere")
    for clock.now in (0.0, 60.0):
        assert delivery.run_once() == []
    assert unpublished.noted(settings_of(served)) == ["elsewhere"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    """Not started yet."""
    server = MlflowServer(tmp_path / "mlflow")
    yield server
    server.kill()


@pytest.mark.slow
def test_a_server_that_comes_back_gets_all_of_it_once(
    served: Any, clock: Clock, server: MlflowServer, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """In processes of their own, as the service does it: one while MLflow is away, one when it is back."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    settings = settings_of(served)
    trial = next(t for t in served.repository.trials("demo") if t.state is TrialState.FINISHED)
    with Spool(settings.trials / trial.hash / "spool.jsonl") as spool:
        spool.start(trial.spec, label=trial.label, sweep="demo", attempt=1)
        spool.stop("for the test")
    unpublished.note(settings, "demo")
    end(served)

    def deliver() -> str:
        delivery = Delivery(served.host, clock, waiting)
        delivery.run_once()
        clock.now += 60.0
        assert delivery.run_once() == ["demo"]
        return (settings.logs / "demo.delivery.log").read_text()

    def waiting(sweep: str, log: Path) -> Callable[[], bool]:
        going = send_in_process(sweep, log)
        deadline = time.monotonic() + PATIENCE
        while going():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        return going

    waiting("demo", log := settings.logs / "demo.delivery.log")
    assert "could not be reached" in log.read_text()
    assert unpublished.noted(settings) == ["demo"]
    server.start()
    assert deliver() == ""
    assert unpublished.noted(settings) == []
    client = mlflow.MlflowClient(server.url)
    (experiment,) = [e.experiment_id for e in client.search_experiments() if e.name == "sweeper"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert len(runs) == 2
    assert runs["demo"].info.status == "FINISHED"
    (sent,) = [run for name, run in runs.items() if name != "demo"]
    assert sent.data.tags["mlflow.parentRunId"] == runs["demo"].info.run_id
    assert served.repository.trial(trial.hash).mlflow_run == sent.info.run_id
