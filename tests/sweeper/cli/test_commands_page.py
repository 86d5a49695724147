"""docs/commands.md and docs/grids.md: each `sweeper …` on them is understood, and every command is on the page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from sweeper.grids.schema import Grid
from sweeper.settings import Settings
from tests.sweeper.cli.test_output import ROOT

DOCS = Path(__file__).parents[3] / "docs"
PAGES = ("commands.md", "grids.md")
INLINE = re.compile(r"`(sweeper [^`…]*)`")
CONSOLE = re.compile(r"^\$ (sweeper .*)$", re.MULTILINE)


def shown(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return sorted({*INLINE.findall(text), *CONSOLE.findall(text)})


def parsed(words: list[str]) -> list[str]:
    """Parses words as the command would, without running it; the names of the commands on the way."""
    command = ROOT
    path: list[str] = []
    while True:
        group = hasattr(command, "commands")
        context = command.make_context("sweeper", list(words), resilient_parsing=False)
        if not group:
            return path
        rest = [*context._protected_args, *context.args]
        name, command, words = command.resolve_command(context, rest)
        path.append(name)


@pytest.mark.parametrize("line", [line for page in PAGES for line in shown(page)])
def test_each_line_is_understood(line: str) -> None:
    assert parsed(shlex.split(line)[1:])


def test_a_line_that_is_wrong_is_not() -> None:
    with pytest.raises(typer.TyperException):
        parsed(["launch", "--gird", "demo"])


@pytest.mark.slow
def test_every_command_has_its_line() -> None:
    wanted: set[tuple[str, ...]] = set()
    for name, one in ROOT.commands.items():
        wanted |= {(name, below) for below in getattr(one, "commands", ())} or {(name,)}
    rows = (DOCS / "commands.md").read_text(encoding="utf-8").splitlines()
    examples = [INLINE.findall(row.rsplit("|", 2)[1]) for row in rows if row.startswith("| `") and "sweeper " in row]
    assert {tuple(parsed(shlex.split(one[0])[1:])) for one in examples if one} == wanted


def test_every_setting_has_its_line() -> None:
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        assert f"| `{field.validation_alias or f'SWEEPER_{name.upper()}'}` |" in text


def test_every_key_of_a_grid_is_on_the_page() -> None:
    text = (DOCS / "grids.md").read_text(encoding="utf-8")
    for key in set(Grid.model_fields) - {"rehearsal"}:
        assert re.search(rf"[`\[.]{key}[`\].]", text), key


@pytest.mark.parametrize("page", PAGES)
def test_linked_files_exist(page: str) -> None:
    for path in re.findall(r"`((?:docs|tests)/[\w/.]+)`", (DOCS / page).read_text(encoding="utf-8")):
        assert (DOCS.parent / path).exists(), path
