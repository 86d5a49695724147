"""What a trial costs: seconds predicted from its spec, and learned from what earlier trials took. Pure."""

from __future__ import annotations

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
