"""What a trial costs: seconds predicted from its spec, and learned from what earlier trials took. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from itertools import accumulate
from typing import Protocol

from trials.spec import DataSpec, ModelSpec, TrainingSpec

FIRST_GUESS = (3.0, 0.0205)
"""Seconds of overhead of a trial, above all tracing its graph, and seconds per GFLOP of the usual network: 49 GFLOP/s
of useful convolution, which is about one CPU core."""

WAITING = 230.0
"""A convolution of few filters waits for the memory, and not for arithmetic: its GFLOP takes 1 + 230 / filters times
as long as one of very many. By what the demo's network (8 filters, 2.7 s an epoch) and the paper's (64, 13 s a step)
take on one core."""

USUAL = (32, 4)
"""Filters of the first level, and depth, of the usual network."""

FEWEST_MEASURED = 8
"""Fewer filters than this are taken to wait no longer."""

DOUBT = (3.0, 0.12)
"""Standard deviations of the first guess. Trials with hardly any work, such as a rehearsal's, thus teach the overhead,
and large ones the speed."""

NOISE = 0.2
"""Relative standard deviation of a trial's time about what its work would take."""

EXPECTED_SHARE_OF_EPOCHS = 0.25
"""Early stopping ends most trials of the paper's settings long before 1,000 epochs; until measured, a quarter."""

FEW_EPOCHS = 50
"""A trial of at most so many epochs is expected to train them all."""

Line = tuple[float, float]
"""Overhead in seconds, and seconds per GFLOP."""

_Point = tuple[float, float]
"""GFLOP and seconds of a trial."""

_Sums = tuple[float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds = overhead + work × seconds per GFLOP.

    `groups` maps a (data set, network) key to the line of its finished trials; `overall` serves the others. `error` is
    the mean relative error of leave-one-out predictions of the finished trials, None with fewer than two of a group.
    """

    groups: Mapping[str, Line]
    overall: Line
    error: float | None = None

    def seconds(self, spec: TimedSpec, images: int, voxels: int) -> float:
        """Predicted seconds of a trial on `images` training images of `voxels` voxels each."""
        amount = work(spec, images, voxels, expected_epochs(spec.training))
        return _on(self.groups.get(group(spec), self.overall), amount)


class TimedSpec(Protocol):
    """The parts of a spec on which a trial's time depends."""

    @property
    def data(self) -> DataSpec: ...

    @property
    def model(self) -> ModelSpec: ...

    @property
    def training(self) -> TrainingSpec: ...


@dataclass(frozen=True, slots=True)
class Measured:
    """What a finished trial took: the epochs that it trained, and the seconds of them."""

    spec: TimedSpec
    epochs: int
    seconds: float
    images: int
    voxels: int


def group(spec: TimedSpec) -> str:
    """Trials of one group cost alike per unit of work."""
    return f"{spec.data.dataset}/{spec.model.name}-{spec.model.base_filters}-{spec.model.depth}"


def expected_epochs(training: TrainingSpec) -> float:
    """How many epochs a trial trains that may stop early."""
    many = training.epochs > FEW_EPOCHS
    return training.epochs * EXPECTED_SHARE_OF_EPOCHS if many else float(training.epochs)


def work(spec: TimedSpec, images: int, voxels: int, epochs: float) -> float:
    """Work of a whole trial in GFLOP of the usual network: forward and backward pass of a U-Net over so many epochs.

    Each of a U-Net's levels does about the same number of operations per voxel of the input in 2D (filters double
    while voxels quarter, and a convolution costs filters squared), and half of the level above it in 3D.
    """
    model, training, dimensions = spec.model, spec.training, spec.data.dimensions
    per_level = [0.5**level if dimensions == 3 else 1.0 for level in range(model.depth + 1)]
    kernel = 3**dimensions
    flops_per_voxel = 2 * kernel * model.base_filters**2 * 4.0 * sum(per_level)
    size = math.prod(training.patch) * training.patches_per_case if training.patch else voxels
    return float(3 * flops_per_voxel * waiting(model.base_filters, model.depth) * size * images * epochs / 1e9)


@cache
def waiting(filters: int, depth: int) -> float:
    """How much longer a GFLOP of such a network takes than one of the usual network."""

    def mean(first: int, levels: int) -> float:
        return sum(1 + WAITING / (max(first, FEWEST_MEASURED) * 2.0**level) for level in range(levels)) / levels

    return mean(filters, depth + 1) / mean(USUAL[0], USUAL[1] + 1)


def first_guess(spec: TimedSpec, images: int, voxels: int, epochs: float) -> float:
    """Seconds of so many epochs of a trial, as predicted before anything was measured."""
    return _on(FIRST_GUESS, work(spec, images, voxels, epochs))


def learn_costs(measured: Iterable[Measured]) -> CostModel:
    """A cost model from finished trials, in a time that grows with their number alone."""
    groups: dict[str, list[_Point]] = {}
    for one in measured:
        if one.seconds > 0:
            amount = work(one.spec, one.images, one.voxels, one.epochs)
            groups.setdefault(group(one.spec), []).append((amount, one.seconds))
    errors = [
        abs(_on(line, amount) - seconds) / seconds
        for points in groups.values()
        if len(points) > 1
        for line, (amount, seconds) in zip(_lines_without_each(points), points, strict=True)
    ]
    return CostModel(
        {key: _line(points) for key, points in groups.items()},
        _line([point for points in groups.values() for point in points]),
        sum(errors) / len(errors) if errors else None,
    )


def _on(line: Line, amount: float) -> float:
    return line[0] + line[1] * amount


def _line(points: Sequence[_Point]) -> Line:
    """The line through (GFLOP, seconds) of trials: Bayesian linear regression from the first guess."""
    return _solved(reduce(_plus, map(_terms, points), _PRIOR))


def _lines_without_each(points: Sequence[_Point]) -> list[Line]:
    """The line through all other points, for each of them.

    The sums before a point and after it are added: to subtract the point from the sum of all would lose digits where
    it outweighs the others.
    """
    terms = [_terms(point) for point in points]
    before = accumulate(terms, _plus, initial=_PRIOR)
    after = [*accumulate(reversed(terms), _plus, initial=_NOTHING)][::-1][1:]
    return [_solved(_plus(*both)) for both in zip(before, after, strict=False)]


def _terms(point: _Point) -> _Sums:
    """What a point adds to the normal equations: weights, of work and of work squared, and the right side."""
    amount, seconds = point
    weight = (NOISE * seconds) ** -2
    return weight, weight * amount, weight * amount**2, weight * seconds, weight * amount * seconds


def _plus(one: _Sums, other: _Sums) -> _Sums:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3], one[4] + other[4]


def _solved(sums: _Sums) -> Line:
    aa, ab, bb, right_a, right_b = sums
    determinant = aa * bb - ab**2
    overhead, rate = (right_a * bb - right_b * ab) / determinant, (right_b * aa - right_a * ab) / determinant
    # Neither can be negative; noise may say so where little was measured.
    return max(overhead, 0.0), max(rate, FIRST_GUESS[1] / 1e6)


_NOTHING: _Sums = (0.0, 0.0, 0.0, 0.0, 0.0)
_PRIOR: _Sums = (
    DOUBT[0] ** -2,
    0.0,
    DOUBT[1] ** -2,
    FIRST_GUESS[0] * DOUBT[0] ** -2,
    FIRST_GUESS[1] * DOUBT[1] ** -2,
)
"""The first guess, as if it had been measured."""
