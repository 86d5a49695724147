"""Named things that can be added: losses, networks, readers, metrics, statistical tests, figures and so on.

Every kind is a `Registry`. A plug-in makes the same `register` call as our own modules. A registry announces itself in
`REGISTRIES` when its module is imported, so that plug-ins (`workers.plugins`) work for every kind without an import of
the package that uses it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar, overload

from trials.errors import InputError, UnknownNameError

Entry = TypeVar("Entry")
Default = TypeVar("Default")

PREFIX = "sweeper."
PACKAGES = ("trials", "storage", "workers", "sweeper", "dashboards")
"""The packages whose entries are built in."""


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
        self._modules: dict[str, str] = {}
        REGISTRIES[group] = self

    @property
    def plural(self) -> str:
        """What several entries are called in records: the group without its prefix, such as `losses`."""
        return self.group.removeprefix(PREFIX)

    def register(self, name: str, entry: Entry) -> None:
        """Adds an entry; the same entry again is no error.

        Raises:
            InputError: another entry has this name.
        """
        if name not in self._entries:
            self._entries[name], self._modules[name] = entry, _running_module()
        elif self._entries[name] != entry:
            raise InputError(f"a {self.kind} named {name!r} is registered already; give yours another name")

    def names(self) -> tuple[str, ...]:
        """Every name, in the order in which they were registered."""
        return tuple(self._entries)

    def built_in(self) -> tuple[str, ...]:
        """The names that our own modules registered while they were imported."""
        return tuple(name for name in self._entries if self._modules[name].partition(".")[0] in PACKAGES)

    def replace(self, entries: Mapping[str, Entry]) -> None:
        """Makes these the entries: how a plug-in is taken out again."""
        module = _running_module()
        self._entries = dict(entries)
        self._modules = {name: self._modules.get(name, module) for name in self._entries}

    @overload
    def get(self, name: str, default: None = None, /) -> Entry | None: ...

    @overload
    def get(self, name: str, default: Entry | Default, /) -> Entry | Default: ...

    def get(self, name: str, default: Entry | Default | None = None, /) -> Entry | Default | None:
        """The entry, or the default where there is none."""
        return self._entries.get(name, default)

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


def imported(reference: str) -> Any:
    """What `"package.module:name"` names: how an entry says where its function is, without an import of it."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def _running_module() -> str:
    """The module whose body is executed now, directly or through the functions that it calls.

    A plug-in that imports one of our packages runs the registrations of that package too; they are not the plug-in's.
    """
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", ""))
