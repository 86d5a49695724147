"""A grid as the text of a TOML file, with comments. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any

WIDTH = 100


class GridText:
    """A grid that is written line by line."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def table(self, name: str, *, entry: bool = False) -> None:
        """Begins a table; `entry`: of a list of them."""
        self._lines += ["", f"[[{name}]]" if entry else f"[{name}]"]

    def key(self, name: str, value: object, comment: str = "") -> None:
        """A key with its value; a long comment stands above it."""
        line = f"{name} = {toml(value)}"
        if comment and len(line) + len(comment) + 4 <= WIDTH:
            line = f"{line}  # {comment}"
        elif comment:
            self.comment(comment)
        self._lines.append(line)

    def comment(self, text: str) -> None:
        """A sentence as a comment, in lines of `WIDTH`."""
        clean = " ".join(text.split())
        self._lines += wrap(clean, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)

    def comments(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.comment(text)

    def blank(self) -> None:
        self._lines.append("")

    def __str__(self) -> str:
        return "\n".join(self._lines).strip() + "\n"


def toml(value: object) -> str:
    """A value as TOML."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(str(key))} = {toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value and "e" not in f"{value:g}" else repr(value)
    return str(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml(name)


def shown(value: Any) -> str:
    """Numbers of a size or a spacing, with crosses."""
    return " × ".join(f"{one:g}" for one in value)
