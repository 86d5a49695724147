"""What a search chooses from: the domain of a parameter, and the cell of a grid that it fills. Pure."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from trials.spec import TrialSpec, content_hash

LEARNING_RATE = "learning_rate"
"""The searched parameter that is not of the loss."""

DIGITS = 3
"""Significant digits of a chosen value: finer differences do not show, and a short number can be written in a grid."""


@dataclass(frozen=True, slots=True)
class Domain:
    """The values that a parameter may take: the range [low, high], or only the listed ones in it."""

    name: str
    low: float
    high: float
    log: bool = False
    values: tuple[float, ...] | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """The range that a sampler draws from: of listed values half a gap more at both ends, so that the first and
        the last are drawn as often as the others."""
        if self.values is None:
            return self.low, self.high
        first, last = self.values[1] - self.values[0], self.values[-1] - self.values[-2]
        return self.low - first / 2, self.high + last / 2

    def fit(self, drawn: float) -> float:
        """What a drawn number stands for: the nearest listed value, or the number with three significant digits."""
        if self.values is None:
            return min(max(float(f"{drawn:.{DIGITS}g}"), self.low), self.high)
        place = bisect_left(self.values, drawn)
        return min(self.values[max(place - 1, 0) : place + 1], key=lambda value: (abs(value - drawn), value))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        values = None if self.values is None else list(self.values)
        return {"name": self.name, "low": self.low, "high": self.high, "log": self.log, "values": values}

    def __str__(self) -> str:
        if self.values is not None:
            return f"{self.name} of {', '.join(f'{v:g}' for v in self.values)}"
        return f"{self.name} in [{self.low:g}, {self.high:g}]{' (log)' if self.log else ''}"


def domain_of(values: Mapping[str, Any]) -> Domain:
    """The inverse of `Domain.to_dict`."""
    listed = values["values"]
    return Domain(values["name"], values["low"], values["high"], values["log"], listed and tuple(listed))


@dataclass(frozen=True)
class SearchCell:
    """A cell of a grid whose searched parameters are open: what one Optuna study is about.

    Attributes:
        template: the spec of its first repeat, the searched parameters at their defaults.
        domains: what is chosen from, by parameter.
        seeds: the seed of each repeat; every chosen point is trained with each.
    """

    template: TrialSpec
    domains: tuple[Domain, ...]
    seeds: tuple[int, ...]

    @cached_property
    def family(self) -> str:
        """Hash of all that trials of this study have in common: the spec without the searched parameters, repeat and
        seed. Trials of other sweeps with the same family tell the sampler as much as its own."""
        return family(self.template, self.names)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(domain.name for domain in self.domains)

    def specs(self, point: Mapping[str, float]) -> tuple[TrialSpec, ...]:
        """The trials of a chosen point, one for each seed: the same as a fixed grid with these values would hold."""
        chosen = dict(point)
        training = self.template.training
        if LEARNING_RATE in chosen:
            training = replace(training, learning_rate=chosen.pop(LEARNING_RATE))
        loss = replace(self.template.loss, parameters={**self.template.loss.parameters, **chosen})
        return tuple(
            replace(self.template, loss=loss, training=training, repeat=repeat, seed=seed)
            for repeat, seed in enumerate(self.seeds)
        )

    def point(self, spec: TrialSpec) -> dict[str, float]:
        """The searched parameters of a spec of this family."""
        return point(spec, self.names)

    def has(self, values: Mapping[str, float]) -> bool:
        """Whether a point lies in all domains, so that it could have been chosen."""
        return all(d.low <= values[d.name] <= d.high and d.fit(values[d.name]) == values[d.name] for d in self.domains)

    def points(self) -> Iterator[dict[str, float]]:
        """All points, where every parameter has listed values; nothing else, for there is no end of them."""
        if all(d.values is not None for d in self.domains):
            for values in itertools.product(*(d.values or () for d in self.domains)):
                yield dict(zip(self.names, values, strict=True))


def family(spec: TrialSpec, names: tuple[str, ...]) -> str:
    """See `SearchCell.family`; `names` are the searched parameters."""
    rest = spec.to_dict()
    loss, training = rest.pop("loss"), rest.pop("training")
    del rest["repeat"], rest["seed"]
    loss["parameters"] = {k: v for k, v in loss["parameters"].items() if k not in names}
    training = {k: v for k, v in training.items() if k not in names}
    return content_hash([rest, loss, training, sorted(names)])


def point(spec: TrialSpec, names: tuple[str, ...]) -> dict[str, float]:
    """The values of the searched parameters `names` in a spec."""
    return {name: _value(spec, name) for name in names}


def _value(spec: TrialSpec, name: str) -> float:
    value = spec.training.learning_rate if name == LEARNING_RATE else spec.loss.parameters[name]
    if isinstance(value, tuple):
        raise TypeError(f"{name} has one value for each class; a search chooses single numbers")
    return float(value)
