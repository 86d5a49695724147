"""What other processes ask the coordinator of a running sweep: to stop, to change its number of trials at once, to
retry trials. The database keeps a request as a verb with arguments; this module alone knows that form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Stop:
    """Start no more trials. With `now`, running trials end after their current epoch; without, they train on."""

    verb: ClassVar = "stop"

    now: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """Train at most `concurrency` trials at once."""

    verb: ClassVar = "scale"

    concurrency: int


@dataclass(frozen=True, slots=True)
class Retry:
    """Retry these trials, by hash."""

    verb: ClassVar = "retry"

    trials: tuple[str, ...]


Asked = Stop | Scale | Retry


def to_stored(asked: Asked) -> tuple[str, dict[str, Any]]:
    """The verb and the arguments, as JSON values: the arguments of `Repository.add_request`."""
    return asked.verb, {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(asked).items()}


def from_stored(verb: str, arguments: Mapping[str, Any]) -> Asked | None:
    """The inverse of `to_stored`; None for a verb that this version does not know."""
    match verb:
        case Stop.verb:
            return Stop(bool(arguments.get("now", False)))
        case Scale.verb:
            return Scale(int(arguments["concurrency"]))
        case Retry.verb:
            return Retry(tuple(arguments.get("trials", ())))
    return None
