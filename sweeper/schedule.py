"""What runs next, and how long it will take. Pure functions of specs and of what earlier trials took."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FIRST_GUESS = (3.0, 0.02)
"""Seconds of overhead of a trial, above all tracing its graph, and seconds per GFLOP: 50 GFLOP/s of useful
convolution, which is about one CPU core."""

DOUBT = (3.0, 0.2)
"""Standard deviations of the first guess. Trials with hardly any work, such as a rehearsal's, thus teach the overhead,
and large ones the speed."""

NOISE = 0.2
"""Relative standard deviation of a trial's time about what its work would take."""

EXPECTED_SHARE_OF_EPOCHS = 0.25
"""Early stopping ends most trials of the paper's settings long before 1,000 epochs; until measured, a quarter."""


MULTIFIT_ROUNDS = 12
"""Halvings of the gap between bound and schedule: its last digit is then a few thousandths."""


Line = tuple[float, float]
"""Overhead in seconds, and seconds per GFLOP."""


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds = overhead + work × seconds per GFLOP.

    `groups` maps a (data set, network) key to the line of its finished trials; `overall` serves the others. `error` is
    the mean relative error of leave-one-out predictions of the finished trials, None with fewer than two of a group.
    """

    groups: Mapping[str, Line]
    overall: Line
    error: float | None = None

    def seconds(self, spec: Mapping[str, Any], images: int, voxels: int) -> float:
        """Predicted seconds of a trial on `images` training images of `voxels` voxels each."""
        return _on(self.groups.get(group(spec), self.overall), work(spec, images, voxels))


def group(spec: Mapping[str, Any]) -> str:
    """Trials of one group cost alike per unit of work."""
    model = spec["model"]
    return f"{spec['data']['dataset']}/{model['name']}-{model['base_filters']}-{model['depth']}"


def work(spec: Mapping[str, Any], images: int, voxels: int) -> float:
    """Work of a whole trial in GFLOP: forward and backward pass of a U-Net over its expected epochs.

    Each of a U-Net's levels does about the same number of operations per voxel of the input in 2D (filters double
    while voxels quarter, and a convolution costs filters squared), and half of the level above it in 3D.
    """
    model, training = spec["model"], spec["training"]
    dimensions = spec["data"]["dimensions"]
    per_level = [0.5**level if dimensions == 3 else 1.0 for level in range(model["depth"] + 1)]
    kernel = 3**dimensions
    flops_per_voxel = 2 * kernel * model["base_filters"] ** 2 * 4.0 * sum(per_level)
    expected = training["epochs"] if training["epochs"] <= 50 else training["epochs"] * EXPECTED_SHARE_OF_EPOCHS
    size = math.prod(training["patch"]) * training["patches_per_case"] if training["patch"] else voxels
    return float(3 * flops_per_voxel * size * images * expected / 1e9)


def learn_costs(measured: Iterable[tuple[Mapping[str, Any], float, int, int]]) -> CostModel:
    """A cost model from finished trials.

    Args:
        measured: of each trial its spec, the seconds that it took, its training images and the voxels of each.
    """
    groups: dict[str, list[tuple[float, float]]] = {}
    for spec, seconds, images, voxels in measured:
        if seconds > 0:
            groups.setdefault(group(spec), []).append((work(spec, images, voxels), seconds))
    errors = [
        abs(_on(_line(trials[:i] + trials[i + 1 :]), amount) - seconds) / seconds
        for trials in groups.values()
        if len(trials) > 1
        for i, (amount, seconds) in enumerate(trials)
    ]
    return CostModel(
        {key: _line(trials) for key, trials in groups.items()},
        _line([trial for trials in groups.values() for trial in trials]),
        sum(errors) / len(errors) if errors else None,
    )


def _on(line: Line, amount: float) -> float:
    return line[0] + line[1] * amount


def _line(trials: Sequence[tuple[float, float]]) -> Line:
    """The line through (GFLOP, seconds) of trials: Bayesian linear regression from the first guess."""
    a, b = FIRST_GUESS
    aa, ab, bb = DOUBT[0] ** -2, 0.0, DOUBT[1] ** -2
    right_a, right_b = a * aa, b * bb
    for amount, seconds in trials:
        weight = (NOISE * seconds) ** -2
        aa, ab, bb = aa + weight, ab + weight * amount, bb + weight * amount**2
        right_a, right_b = right_a + weight * seconds, right_b + weight * amount * seconds
    determinant = aa * bb - ab**2
    overhead, rate = (right_a * bb - right_b * ab) / determinant, (right_b * aa - right_a * ab) / determinant
    # Neither can be negative; noise may say so where little was measured.
    return max(overhead, 0.0), max(rate, b / 1e6)


def longest_first(costs: Mapping[str, float]) -> list[str]:
    """Trial hashes in the order in which a sweep starts them; ties in their own order."""
    return sorted(costs, key=lambda key: -costs[key])


def makespan(seconds: Iterable[float], speeds: Sequence[float]) -> float:
    """Finish time of trials on devices of the given relative speeds, each trial on the device that it is given to.

    Longest first to the device that would finish it first; then, since that can be a third too late where few long
    trials meet devices of different speeds, MULTIFIT (Coffman et al. 1978, for different speeds Friesen and Langston
    1983): by bisection the earliest time until which the trials can be packed, longest first, each where it leaves
    the least room.

    Args:
        seconds: of each trial on a device of speed 1.
        speeds: of the devices; infinity is returned when there is none.
    """
    if not speeds:
        return math.inf
    longest = sorted(seconds, reverse=True)
    low, high = lower_bound(longest, speeds), _first_to_finish(longest, speeds)
    for _ in range(MULTIFIT_ROUNDS):
        middle = (low + high) / 2
        end = _packed(longest, speeds, middle)
        if end is None:
            low = middle
        else:
            high = min(high, end)
    return high


def lower_bound(seconds: Iterable[float], speeds: Sequence[float]) -> float:
    """No schedule ends earlier: the k longest trials run on at most k devices, at best the k fastest."""
    longest, fastest = sorted(seconds, reverse=True), sorted(speeds, reverse=True)
    sums, capacity = list(itertools.accumulate(longest)), list(itertools.accumulate(fastest))
    return max((total / capacity[min(k, len(capacity) - 1)] for k, total in enumerate(sums)), default=0.0)


def _first_to_finish(longest: Sequence[float], speeds: Sequence[float]) -> float:
    free = [0.0] * len(speeds)
    for work_seconds in longest:
        end, device = min((free[d] + work_seconds / speed, d) for d, speed in enumerate(speeds))
        free[device] = end
    return max(free)


def _packed(longest: Sequence[float], speeds: Sequence[float], until: float) -> float | None:
    """When the last device ends if all trials fit into `until`, else None: each where it leaves the least room, or
    else on the fastest device that has room, which now and then fits where the other does not."""
    for least_room in (True, False):
        room = [until * speed for speed in sorted(speeds, reverse=True)]
        for work_seconds in longest:
            fits = [(space if least_room else 0.0, d) for d, space in enumerate(room) if space >= work_seconds]
            if not fits:
                break
            room[min(fits)[1]] -= work_seconds
        else:
            return max(until - space / speed for space, speed in zip(room, sorted(speeds, reverse=True), strict=True))
    return None


def finish_in(seconds: Iterable[float], places: int | Sequence[float]) -> float:
    """Seconds until the given trials have run as a sweep runs them: longest first, each where a place is free first.

    Ray places a trial and knows no speeds, so that on devices of different speeds a long trial may fall to a slow one,
    and the end be later than `makespan`.

    Args:
        seconds: of each remaining trial on a device of speed 1.
        places: how many there are, or the speed of each; one is assumed where there is none.
    """
    speeds = [1.0] * max(places, 1) if isinstance(places, int) else places
    free = [(0.0, -speed) for speed in speeds]
    heapq.heapify(free)
    end = 0.0
    for work_seconds in sorted(seconds, reverse=True):
        start, slowness = heapq.heappop(free)
        end = max(end, start - work_seconds / slowness)
        heapq.heappush(free, (start - work_seconds / slowness, slowness))
    return end
