"""Data sets by name: the built-in readers, and those that a plug-in adds by the same call."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from workers.datasets.reader import Reader
from workers.errors import InputError, ParameterError, UnknownNameError, nearest

_READERS: dict[str, type[Reader]] = {}


def register(name: str, reader: type[Reader]) -> None:
    """Make a reader known under `name`, which a grid's `reader = "..."` asks for.

    Raises:
        InputError: another reader has that name.
    """
    if _READERS.setdefault(name, reader) is not reader:
        raise InputError(f"a data set reader {name!r} is registered already; choose another name")


def names() -> tuple[str, ...]:
    """Names of all registered readers, sorted."""
    return tuple(sorted(_READERS))


def get_reader(reader: str, options: Mapping[str, Any] | None = None) -> Reader:
    """The reader of a data set with its options checked; an empty list or False switches an optional setting off.

    Raises:
        UnknownNameError: no such reader.
        ParameterError: an unknown option, or a value of the wrong kind or outside its range.
    """
    if reader not in _READERS:
        raise UnknownNameError("data set reader", reader, _READERS)
    kind = _READERS[reader]
    known = [field.name for field in dataclasses.fields(kind)]
    for option in options or {}:
        if option not in known:
            raise ParameterError(
                f"data set reader {reader!r} has no option {option!r}{nearest(option, known)}; "
                f"it has {', '.join(known)}"
            )
    values = {option: None if value in ([], ()) else value for option, value in (options or {}).items()}
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        given = f" (given: {first['input']!r})" if where else ""
        option = f"option {where}: " if where else ""
        raise ParameterError(f"data set reader {reader!r}: {option}{message}{given}") from None
