"""What runs next, and how long it will take. Pure functions of specs and of what earlier trials took."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SECONDS_PER_GIGAFLOP = 0.02
"""First guess of a device's speed before anything was measured: 50 GFLOP/s of useful convolution, one CPU core."""

OVERHEAD_SECONDS = 3.0
"""What every trial takes however small it is, above all tracing its graph (2 to 4 s on one core)."""

EXPECTED_SHARE_OF_EPOCHS = 0.25
"""Early stopping ends most trials of the paper's settings long before 1,000 epochs; until measured, a quarter."""


PRIOR_GIGAFLOP = 500.0
"""So much measured work outweighs the first guess; less does not, since tiny trials are all overhead."""


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds = `OVERHEAD_SECONDS` + work × seconds per GFLOP.

    `groups` maps a (data set, network) key to the speed of its finished trials; `overall` serves the others.
    """

    groups: Mapping[str, float]
    overall: float
    error: float | None = None
    """Mean relative error of leave-one-out predictions of the finished trials; None with fewer than two of a group."""

    def seconds(self, spec: Mapping[str, Any], images: int, voxels: int) -> float:
        """Predicted seconds of a trial on `images` training images of `voxels` voxels each."""
        return OVERHEAD_SECONDS + work(spec, images, voxels) * self.groups.get(group(spec), self.overall)


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
        groups.setdefault(group(spec), []).append((work(spec, images, voxels), seconds))
    every = [trial for trials in groups.values() for trial in trials]
    errors = [
        abs(OVERHEAD_SECONDS + amount * _rate(trials[:i] + trials[i + 1 :]) - seconds) / seconds
        for trials in groups.values()
        if len(trials) > 1
        for i, (amount, seconds) in enumerate(trials)
        if seconds > 0
    ]
    error = sum(errors) / len(errors) if errors else None
    return CostModel({key: _rate(trials) for key, trials in groups.items()}, _rate(every), error)


def _rate(trials: Sequence[tuple[float, float]]) -> float:
    """Seconds per GFLOP from (GFLOP, seconds) of trials, drawn towards the first guess where little was measured."""
    spent = sum(max(seconds - OVERHEAD_SECONDS, 0.0) for _, seconds in trials)
    return (SECONDS_PER_GIGAFLOP * PRIOR_GIGAFLOP + spent) / (PRIOR_GIGAFLOP + sum(amount for amount, _ in trials))


def longest_first(costs: Mapping[str, float]) -> list[str]:
    """Trial hashes in the order in which they should start; ties in their own order."""
    return sorted(costs, key=lambda key: -costs[key])


def makespan(seconds: Sequence[float], speeds: Sequence[float]) -> float:
    """Finish time of trials that start in this order on devices of the given relative speeds.

    Each trial goes to the device that would finish it first, as soon as that one is free.
    """
    if not speeds:
        return math.inf
    free = [0.0] * len(speeds)
    for work_seconds in seconds:
        device = min(range(len(speeds)), key=lambda d: (free[d] + work_seconds / speeds[d], d))
        free[device] += work_seconds / speeds[device]
    return max(free)


def finish_in(seconds: Iterable[float], slots: int) -> float:
    """Seconds until the given remaining trials have run on `slots` equal places, longest first."""
    heap = [0.0] * max(slots, 1)
    for duration in sorted(seconds, reverse=True):
        heapq.heappush(heap, heapq.heappop(heap) + duration)
    return max(heap)
