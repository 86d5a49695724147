"""On which type of GPU a trial starts, in a mixed cluster: with a clock of its own, and what nodes say as numbers."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from storage.records import Attempt, Trial
from sweeper.run.coordinator import Running
from sweeper.run.gpu_types import on_type
from sweeper.run.placement import AGAIN_SECONDS, LOOK_SECONDS, PLACE_SECONDS, Placement, placement_on
from sweeper.timing.schedule import lower_bound
from trials.spec import DataSpec, LossSpec, TrainingSpec, TrialSpec
from trials.states import AttemptState, TrialState

SPEC = TrialSpec(DataSpec("nuclei", ("background", "nucleus"), 2), LossSpec("ce"), training=TrainingSpec(epochs=10))
NODE = {"CPU": 8.0, "GPU": 2.0}
A100, P100 = {**NODE, "accelerator_type:A100": 1.0}, {**NODE, "accelerator_type:P100": 1.0}
ONE_GPU = {"CPU": 1.0, "GPU": 1.0}


def trial(name: str, cost: float) -> Trial:
    return Trial(
        name, 0, TrialState.QUEUED, SPEC, name, "nuclei", "ce", None, 0, 0, 1, None, cost, 0, None, None, None, 0,
        None, None, None, None, None, None, None, None, None, None,
    )  # fmt: skip


def running(one: Trial, started: float | None) -> Running:
    attempt = Attempt(1, one.hash, 1, 1, AttemptState.RUNNING, None, None, None, "h", 1, "GPU 0", 0, 0, 0.0, None)
    return Running(one, attempt, 0.0, started)


class Cluster:
    """A placement in a cluster with places of some speeds, in virtual time."""

    def __init__(self, slots: dict[str, int], speeds: Mapping[str, float]) -> None:
        self.now, self.slots, self.speeds = 0.0, slots, speeds
        self.placement = Placement(lambda: self.slots, speeds, lambda: self.now)
        self.placed: dict[str, tuple[str, float]] = {}

    def start(self, waiting: list[Trial], at_once: int | None = None) -> list[tuple[str, str]]:
        """What starts now, and on which type, until nothing more does."""
        started = []
        while (chosen := self.placement.pick(waiting, at_once)) is not None:
            one = next(one for one in waiting if one.hash == chosen)
            waiting.remove(one)
            gpu_type = self.placement.place(running(one, self.now))
            self.placed[chosen] = gpu_type, self.now + (one.cost or 0.0) / self.speeds[gpu_type]
            started.append((chosen, gpu_type))
        return started

    def run(self, waiting: list[Trial]) -> float:
        while waiting or self.placed:
            self.start(waiting)
            name, (_, end) = min(self.placed.items(), key=lambda item: item[1][1])
            self.now = max(self.now, end)
            del self.placed[name]
            self.placement.ended(name)
        return self.now


def test_the_longest_goes_to_the_fastest_and_a_slow_one_waits_for_what_fits() -> None:
    cluster = Cluster({"P100": 1, "A100": 1}, {"A100": 10.0, "P100": 1.0})
    waiting = [trial("long", 100.0), trial("longer than fits", 60.0), trial("short", 9.0)]
    assert cluster.start(waiting) == [("long", "A100"), ("short", "P100")]
    assert cluster.start(waiting) == []
    cluster.now = 10.0
    cluster.placement.ended("long")
    assert cluster.start(waiting) == [("longer than fits", "A100")]


@pytest.mark.parametrize("slots", [(1, 1), (2, 6), (6, 2), (8, 24), (30, 2)])
def test_all_trials_end_near_the_bound_where_the_speeds_are_known(slots: tuple[int, int]) -> None:
    speeds = {"A100": 5.0, "P100": 1.0}
    costs = [*[3000.0] * 6, *[1000.0] * 12, *(10.0 * n for n in range(1, 60))]
    cluster = Cluster(dict(zip(speeds, slots, strict=True)), speeds)
    waiting = [trial(str(n), cost) for n, cost in enumerate(sorted(costs, reverse=True))]
    bound = lower_bound(costs, [speeds["A100"]] * slots[0] + [speeds["P100"]] * slots[1])
    assert cluster.run(waiting) <= 1.1 * bound


def test_at_most_as_many_as_asked_for_and_then_on_the_fastest() -> None:
    cluster = Cluster({"A100": 2, "P100": 2}, {"A100": 1.2, "P100": 1.0})
    waiting = [trial(str(n), 100.0) for n in range(5)]
    assert [gpu_type for _, gpu_type in cluster.start(waiting, 3)] == ["A100", "A100", "P100"]
    assert cluster.start(waiting, 3) == []


def test_more_than_there_are_places_for_ask_ray_for_a_node() -> None:
    cluster = Cluster({"A100": 1, "P100": 1}, {"A100": 1.2, "P100": 1.0})
    waiting = [trial(str(n), 100.0) for n in range(5)]
    assert [gpu_type for _, gpu_type in cluster.start(waiting, 3)] == ["A100", "P100", "A100"]
    assert cluster.start(waiting) == []
    cluster.now = PLACE_SECONDS  # no further A100 is to be had: next a P100 is asked for
    assert cluster.placement.overdue("2")
    cluster.placement.ended("2")
    assert [gpu_type for _, gpu_type in cluster.start(waiting, 3)] == ["P100"]


def test_epochs_of_running_trials_say_how_fast_their_device_is() -> None:
    cluster = Cluster({"T4": 1, "V100": 1}, {"T4": 1.0, "V100": 1.0})
    placement = Placement(lambda: cluster.slots, {}, lambda: cluster.now)
    one, other = trial("one", 100.0), trial("other", 100.0)
    for claimed in (one, other):
        assert placement.pick([claimed]) == claimed.hash
        live = running(claimed, 0.0)
        gpu_type = placement.place(live)
        live.epoch, live.seconds = 2, 20.0 if gpu_type == "T4" else 5.0
    speeds = placement.speeds()
    assert speeds.devices["V100"] / speeds.devices["T4"] == pytest.approx(4, rel=0.1)
    # 100 s predicted, of ten epochs: another 80 on the T4, another 20 on the V100, which is free first.
    cluster.now = 20.0
    assert placement.pick([trial("next", 100.0)]) is None
    placement.ended("other")
    assert placement.pick([trial("next", 100.0)]) == "next"
    assert placement.speeds().devices["V100"] / placement.speeds().devices["T4"] == pytest.approx(4, rel=0.1)


def test_a_fast_trial_that_is_late_is_not_waited_for_without_end() -> None:
    cluster = Cluster({"A100": 1, "P100": 1}, {"A100": 4.0, "P100": 1.0})
    waiting = [trial("late", 40.0), trial("waits", 40.0)]
    assert cluster.start(waiting) == [("late", "A100")]
    cluster.now = 15.0  # 10 s were predicted
    assert cluster.start(waiting) == []
    cluster.now = 500.0
    assert cluster.start(waiting) == [("waits", "P100")]


def test_a_trial_without_a_place_is_given_to_another_type_and_its_own_is_left_alone() -> None:
    cluster = Cluster({"A100": 1, "P100": 1}, {"A100": 4.0, "P100": 1.0})
    one = trial("one", 40.0)
    assert cluster.start([one]) == [("one", "A100")]
    cluster.now = PLACE_SECONDS - 1
    assert not cluster.placement.overdue("one")
    cluster.now = PLACE_SECONDS
    assert cluster.placement.overdue("one")
    cluster.placement.ended("one")
    assert cluster.start([one]) == [("one", "P100")]
    cluster.now = 2 * PLACE_SECONDS
    cluster.placement.ended("one")
    assert cluster.start([one]) == [("one", "A100")]
    assert not cluster.placement.overdue("unknown")


def test_lost_nodes_are_asked_for_again_and_other_types_go_on() -> None:
    cluster = Cluster({"A100": 1, "P100": 1}, {"A100": 4.0, "P100": 1.0})
    assert cluster.start([trial("one", 40.0)]) == [("one", "A100")]
    cluster.placement.ended("one")
    cluster.slots, cluster.now = {"P100": 1}, LOOK_SECONDS
    assert cluster.start([trial("two", 40.0)]) == [("two", "P100")]
    cluster.slots, cluster.now = {}, 2 * LOOK_SECONDS  # of two places one trial waits for its own, "two"
    assert cluster.start([trial("three", 40.0), trial("four", 40.0)]) == [("three", "A100")]
    cluster.slots, cluster.now = {"T4": 1}, 3 * LOOK_SECONDS + AGAIN_SECONDS
    cluster.speeds = {"T4": 1.0}
    assert cluster.start([trial("four", 40.0)]) == [("four", "T4")]


@pytest.mark.parametrize(
    ("nodes", "resources"),
    [
        ([A100, A100], [ONE_GPU]),
        ([A100, P100], [{"CPU": 1.0, "GPU": 0.0}]),
        ([A100, P100], [{**ONE_GPU, **on_type("A100")}]),
        ([A100, P100], [ONE_GPU, {"CPU": 2.0, "GPU": 1.0}]),
        ([A100, P100, NODE], [ONE_GPU]),
        ([{"CPU": 8.0}], [ONE_GPU]),
    ],
    ids=["one type", "no GPU", "a type is given", "different things", "a type that Ray does not know", "no GPU there"],
)
def test_where_there_is_nothing_to_choose_ray_places_trials_as_ever(
    nodes: list[dict[str, float]], resources: list[dict[str, float]]
) -> None:
    assert placement_on(lambda: nodes, resources, lambda types: {}) is None


def test_a_share_of_a_gpu_is_a_place_on_its_type() -> None:
    asked: list[list[str]] = []
    placement = placement_on(
        lambda: [A100, P100, {"CPU": 4.0}], [{"CPU": 1.0, "GPU": 0.5}], lambda types: asked.append(list(types)) or {}
    )
    assert placement is not None
    assert asked == [["A100", "P100"]]
    waiting = [trial(str(n), 10.0) for n in range(20)]
    types = []
    while (chosen := placement.pick(waiting)) is not None:
        one = next(one for one in waiting if one.hash == chosen)
        waiting.remove(one)
        types.append(placement.place(running(one, time.monotonic())))
    assert types[:4] == ["A100"] * 4
    assert types.count("P100") <= 4
