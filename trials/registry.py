"""Named things that can be added: losses, networks, readers, metrics, statistical tests, figures and so on.

Every kind is a `Registry`. A plug-in makes the same `register` call as ours do. `REGISTRIES` lists the registries of
this process, so that a plug-in that fails half-way can be taken out of all of them (`workers.plugins`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from trials.errors import InputError, UnknownNameError

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Entries of one kind by name, in the order in which they were registered.

    Args:
        kind: what an entry is called in messages, such as `loss`.
        group: the entry-point group under which an installed package adds entries, such as `sweeper.losses`.

    Raises:
        UnknownNameError: from `registry[name]` where there is no such entry; the message names the nearest.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind, self.group = kind, group
        self._entries: dict[str, Entry] = {}
        REGISTRIES[group] = self

    def register(self, name: str, entry: Entry) -> None:
        """Adds an entry; the same entry again is no error.

        Raises:
            InputError: another entry has this name.
        """
        if name in self._entries and self._entries[name] != entry:
            raise InputError(f"a {self.kind} named {name!r} is registered already; give yours another name")
        self._entries[name] = entry

    def names(self) -> tuple[str, ...]:
        """Every name, in the order in which they were registered."""
        return tuple(self._entries)

    def replace(self, entries: Mapping[str, Entry]) -> None:
        """Makes these the entries: how a plug-in is taken out again."""
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(self.kind, name, self._entries) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


REGISTRIES: dict[str, Registry[Any]] = {}
"""The registries of this process by entry-point group."""
