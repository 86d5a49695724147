"""The root of every error that we raise on purpose, and what is wrong in what a person gave."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class ExpectedError(Exception):
    """Root of every error whose message is written for the person who sees it."""


class InputError(ExpectedError, ValueError):
    """Wrong input from a person: the message names the thing, the value, the place and the fix. Never retried."""


class UnknownNameError(InputError):
    """A name that is not registered."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        super().__init__(f"unknown {kind} {name!r}{nearest(name, known)}; known: {', '.join(known)}")
        self.kind, self.name = kind, name


class ParameterError(InputError):
    """A parameter that something registered does not have, or a value outside its range."""


def shortened(names: Sequence[str], most: int) -> str:
    """The first names of a list and how many more there are: `a, b and 3 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def nearest(name: str, known: Iterable[str]) -> str:
    """`", did you mean 'dice'?"` for the nearest known name, or an empty string when none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f", did you mean {matches[0]!r}?" if matches else ""
