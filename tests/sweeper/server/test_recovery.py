"""Which sweeps a service goes on with, and how often it tries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sweeper.run import unpublished
from sweeper.server.recovery import Recovery, abandoned
from trials.states import SweepState, TrialState


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recovery(served: Any, clock: Clock) -> Iterator[Recovery]:
    return Recovery(served.host, clock)


def starts(served: Any) -> int:
    served.starts.join(120)
    return len(served.recorded.starts)


def test_a_sweep_whose_lease_ran_out_is_resumed(served: Any, recovery: Recovery) -> None:
    lease = served.repository.acquire_lease("demo", "test", 60)
    assert recovery.run_once() == []
    served.repository.renew_lease(lease, -1)
    assert served.repository.lease("demo").holder == "test"
    assert recovery.run_once() == ["demo"]
    assert starts(served) == 1
    assert (served.recorded.starts[0].sweep, served.recorded.starts[0].grid) == ("demo", None)


@pytest.mark.parametrize("state", [SweepState.FINISHED, SweepState.STOPPED, SweepState.BROKEN])
def test_a_sweep_that_ended_is_left_alone(served: Any, recovery: Recovery, state: SweepState) -> None:
    lease = served.repository.acquire_lease("demo", "test", 60)
    served.repository.set_sweep_state(lease, state)
    served.repository.release_lease(lease)
    assert abandoned(served.repository) == []
    assert recovery.run_once() == []


def test_one_that_dies_again_and_again_waits_longer_each_time(served: Any, recovery: Recovery, clock: Clock) -> None:
    resumed = []
    for minute in range(200):
        clock.now = 60.0 * minute
        if recovery.run_once():
            resumed.append(minute)
        served.starts.join(120)
    assert resumed == [0, 1, 3, 7, 15, 31, 63, 123, 183]


def test_one_that_is_held_when_its_wait_is_over_is_resumed(served: Any, recovery: Recovery, clock: Clock) -> None:
    for clock.now in (0.0, 60.0):
        assert recovery.run_once() == ["demo"]
        served.starts.join(120)
    lease = served.repository.acquire_lease("demo", "test", 3600)
    clock.now = 180.0
    assert recovery.run_once() == []
    served.repository.renew_lease(lease, -1)
    clock.now = 181.0
    assert recovery.run_once() == ["demo"]
    served.starts.join(120)


def test_a_sweep_whose_time_is_over_starts_no_trial(served: Any, recovery: Recovery) -> None:
    unpublished.start(served.host.settings, "demo", unpublished.StartedRun(0.0, until=1e9))
    served.repository.renew_lease(served.repository.acquire_lease("demo", "test", 60), -1)
    assert recovery.run_once() == ["demo"]
    assert starts(served) == 1
    assert served.recorded.starts[0].limit == 0


@pytest.mark.parametrize(("begun_at", "limit"), [(0.0, 3), (1e12, 5)])
def test_what_the_lost_coordinator_was_limited_to_its_successor_is(
    served: Any, recovery: Recovery, begun_at: float, limit: int
) -> None:
    """Of those that it began, two trials have ended; a third goes on. A run that began later has ended none."""
    unpublished.start(served.host.settings, "demo", unpublished.StartedRun(begun_at, 5))
    trial = served.repository.trials("demo")[2]
    assert trial.state is TrialState.FAILED
    lease = served.repository.acquire_lease("demo", "test", 60)
    served.repository.retry(lease, [trial.hash])
    served.repository.renew_lease(lease, -1)
    assert recovery.run_once() == ["demo"]
    assert starts(served) == 1
    assert served.recorded.starts[0].limit == limit


def test_servers_that_are_away_are_waited_for(
    served: Any, recovery: Recovery, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = served.host.settings
    monkeypatch.setattr(served.host, "settings", settings.model_copy(update={"ray_address": "127.0.0.1:1"}))
    assert recovery.run_once() == []
    monkeypatch.setattr(served.host, "settings", settings)
    clock.now = 60.0
    assert recovery.run_once() == ["demo"]
    assert starts(served) == 1
