"""The pages for people: what they name is there. `make docs` checks the links between them."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from sweeper.data.preparation import bare_identities, reader_of
from sweeper.grids.files import load_grid
from tests.docs.recipe_pages import files
from tests.sweeper.cli.test_commands_page import parsed
from trials.states import AttemptState, FailureKind, SweepState, TrialState

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in [*ROOT.glob("*.md"), ROOT / "deploy" / "README.md", *(ROOT / "docs").rglob("*.md")]
    if "api" not in page.parts and "_build" not in page.parts
)
FOLDERS = "trials|storage|workers|sweeper|dashboards|tests|benchmarks|deploy|docs|requirements"
BUILT = ("docs/_build", "docs/api")
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
PATH = re.compile(rf"`((?:{FOLDERS})/[\w/.-]*)(?:::\w+)?`")
DOTTED = re.compile(
    r"`((?:trials|storage|workers|dashboards|benchmarks)\.\w[\w.]*|sweeper\.\w+\.\w[\w.]*)(?:\(.*?\))?`"
)
SHELL = re.compile(r"^```(?:sh|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
SWEEPER = re.compile(r"`(sweeper [^`…]*)`|^(?:\$ )?(?:\.venv/bin/)?(sweeper [^#&…\n]*)", re.MULTILINE)
MAKE = re.compile(r"`make ([a-z-]+)|^make ([a-z-]+)", re.MULTILINE)


HEAD = 'name = "g"\nextends = "demo"\n'
"""What a part of a grid is put below."""


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def commands_of(page: str) -> list[str]:
    """The `sweeper` commands of a page, those within sentences and those in blocks for a shell."""
    text = text_of(page)
    blocks = "\n".join(SHELL.findall(text))
    inline = [a for a, _ in SWEEPER.findall(SHELL.sub("", text)) if a]
    lines = {line.strip() for line in [*inline, *(b for _, b in SWEEPER.findall(blocks) if b)]}
    return sorted(lines - {"sweeper --server URL"})  # the option alone, not a command


GRIDS = [
    (page, text)
    for page in PAGES
    if "recipes" not in page
    for text in re.findall(r"^```toml\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)
]


def defined(module: Path) -> set[str]:
    """The names that a module defines or imports, and those of its classes' members."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
    return names


def exists(dotted: str) -> bool:
    place, parts = ROOT, dotted.split(".")
    while parts and (place / parts[0]).is_dir():
        place /= parts.pop(0)
    if parts and (place / f"{parts[0]}.py").exists():
        place /= f"{parts.pop(0)}.py"
    else:
        place /= "__init__.py"
    return set(parts) <= defined(place)


@pytest.mark.parametrize("page", PAGES)
def test_linked_and_named_files_exist(page: str) -> None:
    text = text_of(page)
    for target in LINK.findall(text):
        assert ((ROOT / page).parent / target).exists(), target
    written = files()  # by who follows a recipe
    for path in PATH.findall(text):
        assert path.startswith(BUILT) or path in written or (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES)
def test_named_modules_and_functions_exist(page: str) -> None:
    for name in DOTTED.findall(text_of(page)):
        assert exists(name), name


def test_a_name_that_is_not_there_is_found() -> None:
    assert exists("workers.losses.get_loss")
    assert not exists("workers.losses.get_los")
    assert not exists("sweeper.tuning.InOrder")


@pytest.mark.parametrize(("page", "line"), [(page, line) for page in PAGES for line in commands_of(page)])
def test_each_command_is_understood(page: str, line: str) -> None:
    parsed(shlex.split(line)[1:])


@pytest.mark.parametrize(("page", "text"), GRIDS)
def test_each_grid_is_one(page: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cells.toml").write_text(HEAD, encoding="utf-8")  # the grid that one of docs/grids.md extends
    file = tmp_path / "grid.toml"
    file.write_text(text if "name = " in text.partition("[")[0] else HEAD + text, encoding="utf-8")
    grid = load_grid(str(file))
    assert bare_identities(grid).keys() == {dataset.name for dataset in grid.datasets}


def test_the_readme_s_grid_finds_its_images(tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / "polyps" / kind).mkdir(parents=True)
        (tmp_path / "polyps" / kind / "one.png").touch()
    file = tmp_path / "grid.toml"
    file.write_text(next(text for page, text in GRIDS if page == "README.md"), encoding="utf-8")
    (dataset,) = load_grid(str(file)).datasets
    assert [case.id for case in reader_of(dataset).find_cases(tmp_path / dataset.name)] == ["one"]


def test_named_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    for page in PAGES:
        for inline, line in MAKE.findall(text_of(page)):
            assert (inline or line) in targets, (page, inline or line)


def test_every_page_is_in_the_index() -> None:
    index = text_of("docs/index.md")
    hidden = " ".join(re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL)).split()
    for page in PAGES:
        name = page.removeprefix("docs/").removesuffix(".md")
        if page.startswith("docs/") and name != "index" and not name.startswith("recipes/"):
            assert name in hidden, page


def test_the_glossary_has_each_word_once_and_every_state() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", text_of("docs/glossary.md"), re.MULTILINE)
    assert len(words) == len(set(words))
    assert {state.value for kind in (SweepState, TrialState, AttemptState) for state in kind} <= set(words)
    kinds = re.search(r"\*\*failure kind\*\* \|.*", text_of("docs/glossary.md"))
    assert kinds is not None
    for kind in FailureKind:
        assert kind.value.replace("_", " ") in kinds[0]


def test_the_rooms_are_listed_in_the_order_that_lint_holds() -> None:
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (layers,) = (c["layers"] for c in contracts if c.get("containers") == ["sweeper"])
    held = [set(layer.split(" | ")) for layer in reversed(layers)]
    table = text_of("docs/architecture.md").split("| room | its idea |")[1].split("\n\n")[0]
    listed = [set(re.findall(r"`(\w+)/`", row.split("|")[1])) for row in table.splitlines()[2:]]
    rooms = {path.parent.name for path in (ROOT / "sweeper").glob("*/__init__.py")}
    assert set().union(*listed) == rooms
    assert listed == [layer & rooms for layer in held if layer & rooms]


def test_the_hooks_run_what_make_lint_runs() -> None:
    hooks = yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    run = {re.sub(r" --[\w-]+", "", h["entry"].removeprefix(".venv/bin/")) for h in hooks if h["language"] == "system"}
    recipe = text_of("Makefile").partition("\nlint:")[2].partition("\n\n")[0]
    assert run == {re.sub(r" (?:--check|\.)", "", line) for line in re.findall(r"\$\(BIN\)/(.*)", recipe)}


@pytest.mark.slow
@pytest.mark.parametrize(("length", "status"), [(72, 0), (73, 1)])
def test_the_hook_refuses_a_long_subject(length: int, status: int, tmp_path: Path) -> None:
    message = tmp_path / "message"
    message.write_text(f"{'x' * length}\n\n{'a long line of the body ' * 9}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pre_commit", "run", "subject", "--hook-stage", "commit-msg"]
    done = subprocess.run(
        [*command, "--commit-msg-filename", str(message)],
        cwd=ROOT,
        env={**os.environ, "PRE_COMMIT_HOME": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == status, done.stdout
