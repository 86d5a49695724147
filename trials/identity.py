"""What of a record goes into its hash: the rule by which a record may grow and no hash moves.

A record is a frozen dataclass: a trial's spec and its parts, a split, a data set reader with its options. The fields
that it had when the first hashes were kept are always hashed. A field that was added later is left out while it has
its default. So an addition needs a default and nothing else: everything that was hashed before keeps its hash.

Two things follow. The default of an added field must mean "as before". And it never changes afterwards, because the
new default would take over the hash of the old one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

AlwaysHashed = Mapping[type, Collection[str]]
"""Classes to the names of their fields that are always hashed. A subclass has those of its bases, too."""


def hashed_fields(record: DataclassInstance, always: AlwaysHashed) -> dict[str, object]:
    """The fields of a record that are hashed, as JSON values; records inside it follow the same rule."""
    return _fields(record, always)


def all_fields(record: DataclassInstance) -> dict[str, object]:
    """Every field of a record, also those that have their default, as JSON values."""
    return _fields(record, None)


def _fields(record: DataclassInstance, always: AlwaysHashed | None) -> dict[str, object]:
    kind = type(record)
    kept = None if always is None else {name for base in kind.__mro__ for name in always.get(base, ())}
    defaults = _defaults(kind)
    values: dict[str, object] = {}
    for name, default in defaults.items():
        value = getattr(record, name)
        if kept is None or name in kept or default is dataclasses.MISSING or _plain(value, None) != default:
            values[name] = _plain(value, always)
    return values


def _plain(value: object, always: AlwaysHashed | None) -> object:
    """Tuples become lists. Keys of mappings stay as they are."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value, always)
    if isinstance(value, Mapping):
        return {key: _plain(entry, always) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry, always) for entry in value]
    return value


@lru_cache(maxsize=256)
def _defaults(kind: type[DataclassInstance]) -> dict[str, object]:
    """The plain default of every field, `MISSING` where it has none."""
    found: dict[str, object] = {}
    for field in dataclasses.fields(kind):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        found[field.name] = default if default is dataclasses.MISSING else _plain(default, None)
    return found
