"""Weighted sums of losses: `dice+boundary` is w · Dice + w · boundary, each weight with a schedule. No TensorFlow.

The parts' parameters keep their names behind the part's: `boundary.alpha`. A weight is `boundary.weight`; with a
`ramp` of n it moves from `boundary.weight_start` in the first epoch to `boundary.weight` in epoch n + 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from trials.registry import imported
from trials.spec import ParameterValue, content_hash
from workers.errors import ParameterError
from workers.losses.parameters import Parameter
from workers.losses.registry import PLUS, LossDefinition, Schedule, TruthMap
from workers.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COMPOUND = "compound"
"""What a grid calls a sum whose parts it lists."""

RAMP = "ramp"


def weighted_sum(parts: Sequence[LossDefinition]) -> LossDefinition:
    """The definition of the weighted sum of losses.

    Raises:
        ParameterError: a loss is a part twice, or its name can't be one of a sum.
    """
    names = [part.name for part in parts]
    name = PLUS.join(names)
    if len(set(names)) != len(names):
        raise ParameterError(
            f"loss {name!r}: each part is another loss; raise a part's weight in place of naming it twice"
        )
    if any(set(part.name) & set("+. ") for part in parts):
        raise ParameterError(f"loss {name!r}: a part's name has a dot or a space in it; it can't be a part")
    parameters, schedules = [], []
    for part in parts:
        weight, start = f"{part.name}.weight", f"{part.name}.weight_start"
        if any(p.name in ("weight", "weight_start") for p in part.parameters):
            weight, start = f"{part.name}.part_weight", f"{part.name}.part_weight_start"
        parameters += [
            Parameter(weight, 1.0, "[0, inf)", doc=f"Weight of {part.name} in the sum."),
            Parameter(
                start, 1.0, "[0, inf)", graph=False, doc="Its weight in the first epoch, with a ramp.", added=True
            ),
            *(replace(p, name=f"{part.name}.{p.name}") for p in part.parameters),
        ]
        schedules.append(Schedule(weight, start, RAMP))
        schedules += [
            Schedule(*(f"{part.name}.{name}" for name in (s.parameter, s.start, s.ramp))) for s in part.schedules
        ]
    parameters.append(
        Parameter(RAMP, 0.0, "[0, inf)", graph=False, doc="Epochs in which the weights are reached.", added=True)
    )
    weights = tuple(s.parameter for s in schedules if s.ramp == RAMP)
    with_maps = [part for part in parts if part.truth_map]
    sources = [part.source for part in parts if part.source]
    return LossDefinition(
        name,
        _Sum(tuple(parts), weights),
        tuple(parameters),
        "compound",
        f"Weighted sum of {' and '.join(names)}.",
        check=partial(_check, tuple(parts), weights),
        xla=all(part.xla for part in parts),
        truth_map=_Maps(tuple((p.name, p.truth_map, p.truth_map_parameters) for p in with_maps)) if with_maps else "",
        truth_map_parameters=tuple(f"{p.name}.{key}" for p in with_maps for key in p.truth_map_parameters),
        whole=any(part.whole for part in parts),
        takes_counted=any(part.whole for part in parts),
        lowest=0.0 if all(part.lowest >= 0.0 for part in parts) else -math.inf,  # weights have no upper bound
        schedules=tuple(schedules),
        equation=" + ".join(f"w_{part.name} · {part.name}" for part in parts),
        use="Any two losses, or more, with weights that may change over the epochs.",
        source=content_hash(sources) if len(sources) > 1 else "".join(sources),
    )


def from_parts(parts: object) -> tuple[str, dict[str, object]]:
    """The name and the parameters of a grid's list of parts: each a name, or a table with a name.

    Raises:
        ParameterError: it is no list of at least two parts with names.
    """
    if not isinstance(parts, list | tuple) or len(parts) < 2:
        raise ParameterError(f'parts = {parts!r}: list two losses or more, such as parts = ["dice", "ce"]')
    names: list[str] = []
    parameters: dict[str, object] = {}
    for part in parts:
        table = {"name": part} if isinstance(part, str) else part
        if not isinstance(table, Mapping) or not isinstance(table.get("name"), str) or not table["name"]:
            raise ParameterError(
                f'parts: {part!r} is no loss; give a name, or a table such as {{ name = "ce", weight = 2 }}'
            )
        if PLUS in table["name"] or table["name"] == COMPOUND:
            raise ParameterError(f"parts: {table['name']!r} is a sum itself; list its parts")
        names.append(table["name"])
        parameters |= {f"{table['name']}.{key}": value for key, value in table.items() if key != "name"}
    return PLUS.join(names), parameters


@dataclass(frozen=True, slots=True)
class _Sum:
    """The function of a weighted sum. Of the counted pixels, each part is what it is alone."""

    parts: tuple[LossDefinition, ...]
    weights: tuple[str, ...]

    def __call__(
        self,
        truth: Tensor,
        prediction: Tensor,
        *,
        truth_map: Tensor = None,
        counted: Tensor = None,
        **parameters: Tensor,
    ) -> Tensor:
        from workers.losses.counted import loss_of_counted

        total, first = None, 0
        for part, weight in zip(self.parts, self.weights, strict=True):
            own = {
                p.name: parameters[f"{part.name}.{p.name}"] for p in part.parameters if p.name not in part.of_schedules
            }
            more = {}
            if part.truth_map and truth_map is not None:
                channels = _channels(part, prediction.shape[-1])
                more["truth_map"] = truth_map[..., first : first + channels]
                first += channels
            function = partial(part.load(), **own)
            if counted is None:
                value = function(truth, prediction, **more)
            else:
                value = loss_of_counted(part, function, truth, prediction, counted, **more)
            value = parameters[weight] * value
            total = value if total is None else total + value
        return total


@dataclass(frozen=True, slots=True)
class _Maps:
    """What a sum wants of the truth: the maps of its parts, one after the other along the last axis."""

    parts: tuple[tuple[str, str | TruthMap, tuple[str, ...]], ...]

    def __call__(self, labels: NDArray[np.uint8], classes: int, **parameters: ParameterValue) -> NDArray[np.float32]:
        import numpy as np

        return np.concatenate(
            [
                (make if callable(make) else imported(make))(
                    labels, classes, **{k: parameters[f"{name}.{k}"] for k in keys}
                )
                for name, make, keys in self.parts
            ],
            axis=-1,
        )


def _channels(part: LossDefinition, classes: int) -> int:
    import numpy as np

    defaults = {p.name: p.default for p in part.parameters if p.name in part.truth_map_parameters}
    return int(part.load_truth_map()(np.zeros((2, 2), np.uint8), classes, **defaults).shape[-1])


def _check(parts: tuple[LossDefinition, ...], weights: tuple[str, ...], values: Mapping[str, ParameterValue]) -> None:
    if all(values[key] == 0.0 for key in weights):
        raise ParameterError(
            f"loss {PLUS.join(p.name for p in parts)!r}: every weight is 0; give one of them a value > 0"
        )
    for part in parts:
        if part.check is not None:
            part.check({p.name: values[f"{part.name}.{p.name}"] for p in part.parameters})
