"""Text in CSV files: a spreadsheet runs a cell that begins like a formula, wherever it came from."""

from __future__ import annotations

from typing import overload

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a cell begins with that a spreadsheet takes for a formula, or drops to look at what follows."""


@overload
def harmless(text: str) -> str: ...


@overload
def harmless(text: None) -> None: ...


def harmless(text: str | None) -> str | None:
    """The text with an apostrophe before it where a spreadsheet would run it: the sign by which they take it as text.

    A number stays a number, also a negative one.
    """
    if text is None or not text.startswith(FORMULAS):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
