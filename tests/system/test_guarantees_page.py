"""docs/guarantees.md: ten sentences, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
SENTENCES = re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |^## Faults)", PAGE, re.MULTILINE | re.DOTALL)


def test_there_are_ten_each_with_a_test() -> None:
    assert [int(number) for number, _ in SENTENCES] == list(range(1, 11))
    for number, text in SENTENCES:
        assert re.search(r"`tests/\S+::test_\w+`", text), number


def test_every_named_test_exists() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", PAGE)
    assert len(named) == PAGE.count("::")
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path}::{name}"


def test_no_cell_of_fault_and_place_is_empty() -> None:
    """Each says what happens, and whether that was tested, tried by hand, or only read in the code."""
    _, _, *rows = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("|")]
    assert len(rows) >= 9
    for place, *cells in rows:
        assert len(cells) == 6, place
        for cell in cells:
            assert re.match(r"[thr]: ", cell.strip()), (place, cell)
