"""Whether a record that was read from a file has the types that its class says. Nothing is converted."""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from trials.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MOST_DEEP = 32
"""So deep may tables and lists lie in each other in what is read from outside."""


def check_types(record: DataclassInstance) -> None:
    """Refuses a record of which a field, however deep, has another type than its class says.

    Raises:
        InputError: the message names the field and what it should be.
    """
    # As JSON, in which a table may stand for a record. Signs that UTF-8 cannot hold are of no matter for a type.
    text = json.dumps(dataclasses.asdict(record), ensure_ascii=False).encode("utf-8", "replace")
    try:
        _adapter(type(record)).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None


def check_depth(value: object, what: str) -> None:
    """Refuses JSON values in which tables and lists lie in each other more than `MOST_DEEP` deep.

    Raises:
        InputError: they do.
    """
    level: list[object] = [value]
    for _ in range(MOST_DEEP):
        level = [
            entry
            for outer in level
            if isinstance(outer, dict | list | tuple)
            for entry in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise InputError(f"{what}: tables and lists lie more than {MOST_DEEP} deep in each other")


@lru_cache(maxsize=32)
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
