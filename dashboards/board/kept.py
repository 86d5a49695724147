"""Keeps what is costly to make for every page that is open: made once, and anew when its version is another."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Made = TypeVar("Made")


@dataclass(slots=True)
class _Slot(Generic[Made]):
    """One thing, which one thread makes at a time."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    newest: tuple[str, Made, float, float] | None = None
    """Its version, itself, when it was made and how long that took."""


class Kept(Generic[Made]):
    """Things by name. Safe to share between threads.

    Args:
        rest: a thing is made anew at the earliest after this many times the time that it last took. What is large and
            changes all the time then does not keep a processor busy.
        most: so many are kept, those that were asked for last.
    """

    def __init__(self, rest: float, most: int = 64) -> None:
        self._rest, self._most = rest, most
        self._lock = threading.Lock()
        self._slots: OrderedDict[str, _Slot[Made]] = OrderedDict()

    def get(self, name: str, version: str, make: Callable[[], Made]) -> Made:
        """The thing as it was when, or after, it had this version; perhaps a little earlier where it takes long."""
        with self._lock:
            slot = self._slots.setdefault(name, _Slot())
            self._slots.move_to_end(name)
            while len(self._slots) > self._most:
                self._slots.popitem(last=False)
        with slot.lock:
            if slot.newest is not None:
                known, made, at, took = slot.newest
                if known == version or time.monotonic() - at < self._rest * took:
                    return made
            started = time.monotonic()
            made = make()
            slot.newest = version, made, time.monotonic(), time.monotonic() - started
            return made

    def peek(self, name: str) -> Made | None:
        """What was last made under this name; None where there is none yet."""
        slot = self._slots.get(name)
        return None if slot is None or slot.newest is None else slot.newest[1]
