"""Which part of the cases' names may say the patient. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_EYES = r"^(.*?\d)[_\- ]?(?:L|R|OD|OS|left|right)$"
_PATIENT = r"^((?:patient|pat|subject|subj|sub|person|animal|mouse|rat|pig|dog|p|s)[_\-]?\d+)(?=[_\-. ])"
FEWEST = 4
"""With fewer groups no split into three parts is worth its name."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """A regular expression that finds the group in each name, how many groups there are, and whether that is sure;
    `part` is the group of `name`, for an example."""

    expression: str
    groups: int
    sure: bool
    part: str
    name: str


def find_groups(ids: Sequence[str]) -> Grouping | None:
    """The patients that the names seem to tell; None where they tell nothing, or each is of a group of its own."""
    for expression, flags in ((_PATIENT, "(?i)"), (_EYES, "")):
        if (found := _tried(f"{flags}{expression}", ids, sure=True)) is not None:
            return found
    for parts in (1, 2):
        expression = r"^([^_\-. ]+" + r"[_\-. ][^_\-. ]+" * (parts - 1) + r")(?=[_\-. ])"
        if (found := _tried(expression, ids, sure=False)) is not None:
            return found
    return None


def _tried(expression: str, ids: Sequence[str], *, sure: bool) -> Grouping | None:
    matches = [re.search(expression, name) for name in ids]
    found = Counter(match[1] for match in matches if match is not None)
    if sum(found.values()) < len(ids) or len(found) < FEWEST or len(found) == len(ids):
        return None
    return Grouping(expression, len(found), sure, next(iter(found)), ids[0])
