"""A loss parameter: its default, its range, and the check of a value against it. Pure; imports no TensorFlow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from trials.spec import ParameterValue
from workers.errors import ParameterError, nearest
from workers.losses.pairs import classes_of, vector_of


class ParameterValues(TypedDict):
    """A parameter as plain JSON values."""

    name: str
    default: float | str | list[float]
    interval: str
    choices: list[str]
    per_class: bool
    graph: bool
    added: bool
    doc: str
    per_pair: NotRequired[bool]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a loss.

    Attributes:
        name: Keyword of the loss function.
        default: The value where none is given.
        interval: Range of a number in interval notation: `"[0, 1)"` is 0 ≤ x < 1, `"(0, inf)"` is x > 0.
        choices: The allowed words of a parameter that is a word; empty for a number.
        per_class: Whether a vector with one number per class, background first, may stand for the number.
        graph: Whether the number may be a tensor, so that its change needs no new trace.
        doc: What it does, in one sentence.
        added: Whether the loss got it after trials with this loss were stored. It is then left out of a spec, and of
            the trial's hash, while it has its default (`trials.identity`), which must mean "as before".
        per_pair: Whether a vector with one number per pair of classes, or a whole matrix, may stand for the number
            (`workers.losses.pairs`). It is no tensor.
    """

    name: str
    default: ParameterValue
    interval: str = "(-inf, inf)"
    choices: tuple[str, ...] = ()
    per_class: bool = False
    graph: bool = True
    doc: str = ""
    added: bool = False
    per_pair: bool = False

    def __post_init__(self) -> None:
        if not self.choices:
            _bounds(self.interval)
        self.check("the definition", self.default)

    @property
    def range_text(self) -> str:
        """The range as a person writes it, such as `0 ≤ gamma < 1`."""
        if self.choices:
            return f"{self.name} is one of {', '.join(self.choices)}"
        low, low_closed, high, high_closed = _bounds(self.interval)
        text = self.name
        if math.isfinite(low):
            text = f"{low:g} {'≤' if low_closed else '<'} {text}"
        if math.isfinite(high):
            text = f"{text} {'≤' if high_closed else '<'} {high:g}"
        if text == self.name:
            text = f"{self.name} is any finite number"
        many = " (a number, or one per class)" if self.per_class else ""
        return text + (" (a number, or one per pair of classes)" if self.per_pair else many)

    def check(self, where: str, value: object, classes: int | None = None) -> ParameterValue:
        """The value in its explicit form: a float, a tuple of floats or a word.

        Args:
            where: What the parameter belongs to, for the message.
            value: What was given.
            classes: The number of classes, where it is known: a vector must have as many entries.

        Raises:
            ParameterError: wrong type, not finite, outside the range, or a vector where a number is meant.
        """
        if self.choices:
            if value not in self.choices:
                near = nearest(str(value), self.choices)
                raise ParameterError(f"{where}: {self.name} = {value!r}{near}; {self.range_text}")
            return str(value)
        if self.per_pair and isinstance(value, tuple | list):
            return self._pairs(where, value, classes)
        if isinstance(value, tuple | list):
            if not self.per_class:
                raise ParameterError(
                    f"{where}: {self.name} = {value!r} is a vector; one number is needed, {self.range_text}"
                )
            if len(value) < 2 or (classes is not None and len(value) != classes):
                wanted = "at least 2" if classes is None else str(classes)
                raise ParameterError(
                    f"{where}: {self.name} = {value!r} has {len(value)} entries; one per class, "
                    f"background first, is needed ({wanted})"
                )
            return tuple(self._number(where, v) for v in value)
        return self._number(where, value)

    def _pairs(self, where: str, value: tuple[object, ...] | list[object], classes: int | None) -> tuple[float, ...]:
        numbers: list[float] = []
        if all(isinstance(row, tuple | list) for row in value):
            rows = [[_plain(where, self, v) for v in row] for row in value if isinstance(row, tuple | list)]
            numbers = [self._number(where, v) for v in vector_of(f"{where}: {self.name}", rows)]
        else:
            numbers = [self._number(where, v) for v in value]
        found = classes_of(len(numbers))
        if found is None or (classes is not None and found != classes):
            wanted = f"{classes * (classes - 1) // 2} for {classes} classes" if classes else "1, 3, 6, 10 and so on"
            raise ParameterError(
                f"{where}: {self.name} has {len(numbers)} entries; one per pair of classes is needed ({wanted})"
            )
        return tuple(numbers)

    def _number(self, where: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ParameterError(f"{where}: {self.name} = {value!r} is not a number; {self.range_text}")
        low, low_closed, high, high_closed = _bounds(self.interval)
        above = value >= low if low_closed else value > low
        below = value <= high if high_closed else value < high
        if not (math.isfinite(value) and above and below):
            raise ParameterError(f"{where}: {self.name} = {value!r} is outside its range, {self.range_text}")
        return float(value)

    def to_dict(self) -> ParameterValues:
        """Plain JSON values, from which `from_dict` makes the same parameter."""
        values: ParameterValues = {
            "name": self.name,
            "default": list(self.default) if isinstance(self.default, tuple) else self.default,
            "interval": self.interval,
            "choices": list(self.choices),
            "per_class": self.per_class,
            "graph": self.graph,
            "doc": self.doc,
            "added": self.added,
        }
        if self.per_pair:
            values["per_pair"] = True
        return values

    @classmethod
    def from_dict(cls, values: ParameterValues) -> Parameter:
        """The inverse of `to_dict`."""
        default = values["default"]
        return cls(
            name=values["name"],
            default=tuple(default) if isinstance(default, list) else default,
            interval=values["interval"],
            choices=tuple(values["choices"]),
            per_class=values["per_class"],
            graph=values["graph"],
            added=values["added"],
            doc=values["doc"],
            per_pair=values.get("per_pair", False),
        )


def _plain(where: str, parameter: Parameter, value: object) -> float:
    """An entry of a matrix, whose diagonal is out of the range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ParameterError(f"{where}: {parameter.name} = {value!r} is not a number; {parameter.range_text}")
    return float(value)


def _bounds(interval: str) -> tuple[float, bool, float, bool]:
    """`"[0, 1)"` as (low, low closed, high, high closed)."""
    text = interval.strip()
    if len(text) < 2 or text[0] not in "[(" or text[-1] not in "])" or text.count(",") != 1:
        raise ParameterError(f"interval {interval!r} is not of the form '[0, 1)'")
    low, high = text[1:-1].split(",")
    try:
        return float(low), text[0] == "[", float(high), text[-1] == "]"
    except ValueError:
        raise ParameterError(f"interval {interval!r} is not of the form '[0, 1)'") from None
