"""How fast devices are beside each other, learned from what trials took on them. Pure.

A trial's time is what was predicted of it, times a factor of its data set and network, divided by the speed of its
device. On logarithms this is a sum, and all factors are found at once by least squares. So a device is not taken for
fast because it got the small data set, as far as anything can tell the two apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sweeper.timing.costs import NOISE
from sweeper.timing.on_paper import DEVICES

UNKNOWN = 1.0
"""Standard deviation of the logarithm of a speed of which nothing was measured: a third to three times as fast."""

KNOWN = 0.2
"""The same of one that earlier sweeps have measured."""

GROUPS = 0.5
"""The same of what one data set and network takes beside its prediction, about what the others do."""

_ANYTHING = 3.0
"""The same of all predictions: a device may be a thousand times as fast as the core that they are for."""


@dataclass(frozen=True, slots=True)
class Took:
    """What a trial took of one group (`sweeper.timing.costs.group`) on a device, per predicted second."""

    group: str
    device: str
    ratio: float


@dataclass(frozen=True, slots=True)
class Speeds:
    """`devices`: speeds, of which the geometric mean means nothing. `groups`: by what the predicted seconds of a data
    set and network are to be multiplied for a device of speed 1; `overall` for the others."""

    devices: Mapping[str, float]
    groups: Mapping[str, float] = field(default_factory=dict)
    overall: float = 1.0

    def seconds(self, predicted: float, group: str) -> float:
        """What a trial takes on a device of speed 1."""
        return predicted * self.groups.get(group, self.overall)


def published(names: Iterable[str]) -> dict[str, float]:
    """Speeds by published rates, about the mean of those that are known: what is guessed before a trial has run."""
    names = list(names)
    known = {n: math.log(DEVICES[n].single * DEVICES[n].memory) / 2 for n in names if n in DEVICES}
    mean = sum(known.values()) / len(known) if known else 0.0
    return {name: math.exp(known.get(name, mean) - mean) for name in names}


def learn_speeds(took: Iterable[Took], guess: Mapping[str, float], measured: Iterable[str] = ()) -> Speeds:
    """The speeds of devices.

    Args:
        took: what trials took; those on other devices are left out.
        guess: each device's speed before.
        measured: those whose guess comes from earlier trials.
    """
    import numpy as np  # not needed where all devices are alike

    cells: dict[tuple[str, str], list[float]] = {}
    for one in took:
        if one.device in guess and one.ratio > 0:
            cells.setdefault((one.device, one.group), []).append(math.log(one.ratio))
    if not cells:
        return Speeds(dict(guess))
    devices, groups = list(guess), sorted({group for _, group in cells})
    measured = set(measured)
    columns = {("device", name): 1 + i for i, name in enumerate(devices)}
    columns |= {("group", name): 1 + len(devices) + i for i, name in enumerate(groups)}
    deviations = [_ANYTHING, *(KNOWN if name in measured else UNKNOWN for name in devices), *(GROUPS for _ in groups)]
    means = np.array([0.0, *(-math.log(guess[name]) for name in devices), *(0.0 for _ in groups)])
    weights = np.diag([deviation**-2 for deviation in deviations])
    right = weights @ means
    for (device, group), logarithms in cells.items():
        row = np.zeros(len(means))
        row[[0, columns["device", device], columns["group", group]]] = 1
        weights += np.outer(row, row) * len(logarithms) / NOISE**2
        right += row * sum(logarithms) / NOISE**2
    found = [float(value) for value in np.linalg.solve(weights, right)]
    return Speeds(
        {name: math.exp(-found[columns["device", name]]) for name in devices},
        {name: math.exp(found[0] + found[columns["group", name]]) for name in groups},
        math.exp(found[0]),
    )
