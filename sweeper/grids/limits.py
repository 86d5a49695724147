"""What a grid may cost before anybody knows what it says: cheap limits on its text, its numbers and its trials.

The TOML parser takes time and memory by the square of a key's parts, and a line of some words may stand for billions of
trials. So a text is measured by one look at its signs before it is parsed, and a grid's trials are counted before they
are made.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from sweeper.errors import GridError
from trials.checked import check_depth
from trials.errors import InputError

if TYPE_CHECKING:
    from sweeper.grids.schema import Grid, LossTable

MAX_CELLS = 10_000
"""So many entries may a list have, and so many trials a grid that is sent to a service."""

MAX_TRIALS = 100_000
"""So many trials may one sweep have."""

MAX_TEXT = 2**20
MAX_LINE = 2**18
MAX_PARTS = 16
"""So many parts may a dotted key have."""

MAX_TABLES = 2 * MAX_CELLS
"""So many tables and lists may a text have outside of others, and three times as many keys."""

MAX_NESTING = 16
"""So deep may lists and tables lie in each other on one line."""

LARGEST = 2**63 - 1
"""The largest whole number that a database and NumPy hold."""

_SIGNS = re.compile(
    r'"""(?:\\.|[^\\])*?"""|""".*|'  # texts of several lines; one without an end takes all that follows
    r"'''.*?'''|'''.*|"
    r'"(?:\\.|[^"\\\n])*"?|'
    r"'[^'\n]*'?|"
    r"\#[^\n]*|[\[\]{}.,=\n]",
    re.DOTALL,
)


def check_text(text: str, where: str) -> None:
    """Refuses a TOML text that would take more work than any grid needs.

    Args:
        text: the text.
        where: names it in the message.

    Raises:
        GridError: it is too long, or a line, a dotted key, a list or the nesting is.
    """
    if len(text) > MAX_TEXT:
        raise GridError(f"{where} has {len(text)} signs; at most {MAX_TEXT} are read")
    longest = max(map(len, text.split("\n")))
    if longest > MAX_LINE:
        raise GridError(f"{where} has a line of {longest} signs; at most {MAX_LINE} are read, break it into several")
    line, parts, tables, keys, entries = 1, 1, 0, 0, list[int]()
    for match in _SIGNS.finditer(text):
        sign = match[0]
        if sign == ".":
            parts += 1
            if parts > MAX_PARTS:
                raise GridError(f"{where}, line {line}: a key has more than {MAX_PARTS} parts between points")
            continue
        keys += sign == "="
        tables += sign == "[" and not entries
        if tables > MAX_TABLES or keys > 3 * MAX_TABLES:
            raise GridError(f"{where}, line {line}: more than {MAX_TABLES} tables, or {3 * MAX_TABLES} keys")
        if sign in "[{":
            entries.append(1)
            if len(entries) > MAX_NESTING:
                raise GridError(f"{where}, line {line}: more than {MAX_NESTING} lists and tables lie in each other")
        elif sign in "]}" and entries:
            entries.pop()
        elif sign == "," and entries:
            entries[-1] += 1
            if entries[-1] > MAX_CELLS:
                raise GridError(f"{where}, line {line}: a list has more than {MAX_CELLS} entries")
        line += sign.count("\n")
        if len(sign) == 1 and sign not in "'\"":
            parts = 1


def check_values(table: object, where: str) -> None:
    """Refuses whole numbers that no program holds, and tables that lie too deep in each other.

    Raises:
        GridError: names the number.
    """
    try:
        check_depth(table, where)
    except InputError as error:
        raise GridError(str(error)) from error
    waiting = [table]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, int) and abs(value) > LARGEST:
            shown = f"{value}" if abs(value) < 10**40 else "a number of more than 40 digits"
            raise GridError(f"{where}: {shown} is too large; whole numbers are at most {LARGEST}")


def most_trials(grid: Grid) -> int:
    """At most so many trials, counted without making them."""
    losses = sum(_settings(grid, loss) for loss in grid.losses)
    folds = sum(len(dataset.split.trained_folds) for dataset in grid.used_datasets)
    return folds * losses * max(len(grid.models), 1) * (len(grid.seeds or ()) or grid.repeats)


def check_trials(grid: Grid, most: int, who: str) -> None:
    """Refuses a grid with more trials than `who` takes.

    Raises:
        GridError: says how many.
    """
    if (count := most_trials(grid)) > most:
        raise GridError(f"grid {grid.name!r}: up to {count} trials; {who} takes at most {most}")


def _settings(grid: Grid, loss: LossTable) -> int:
    if grid.search is not None:
        return grid.search.trials
    return math.prod(len(value) if isinstance(value, list | tuple) else 1 for value in loss.parameters.values())
