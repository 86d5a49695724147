"""Data sets by name: the built-in readers, and those that a plug-in adds by the same call."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trials.registry import Registry
from workers.datasets.reader import Reader
from workers.errors import ParameterError, nearest

READERS: Registry[type[Reader]] = Registry("data set reader", "sweeper.datasets")


def register(name: str, reader: type[Reader]) -> None:
    """Adds a reader under the name that a grid's `reader = "..."` asks for; the same one again is no error.

    Raises:
        InputError: another reader has that name.
    """
    READERS.register(name, reader)


def names() -> tuple[str, ...]:
    """Names of all registered readers, sorted."""
    return tuple(sorted(READERS))


def get_reader(reader: str, options: Mapping[str, Any] | None = None) -> Reader:
    """The reader of a data set with its options checked; an empty list or False switches an optional setting off.

    Raises:
        UnknownNameError: no such reader.
        ParameterError: an unknown option, or a value of the wrong kind or outside its range.
    """
    kind = READERS[reader]
    known = [field.name for field in dataclasses.fields(kind)]
    for option in options or {}:
        if option not in known:
            raise ParameterError(
                f"data set reader {reader!r} has no option {option!r}{nearest(option, known)}; "
                f"it has {', '.join(known)}"
            )
    values = {option: None if value in ([], ()) else value for option, value in (options or {}).items()}
    try:
        return _adapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        given = f" (given: {first['input']!r})" if where else ""
        option = f"option {where}: " if where else ""
        raise ParameterError(f"data set reader {reader!r}: {option}{message}{given}") from None


@cache
def _adapter(kind: type[Reader]) -> TypeAdapter[Reader]:
    """Made once: it takes longer than to read a picture."""
    return TypeAdapter(kind)
