"""The files and lines that docs/recipes tell a reader to write, taken from the pages. Not a test module."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "recipes").glob("*.md"))
PACKAGES = ("trials", "storage", "workers", "sweeper", "dashboards")
FILE = re.compile(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^One (entry|line) more.* in `([\w./-]+)`:\n\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def files() -> dict[str, str]:
    """Every file of the pages, by the path that a page gives it."""
    found: dict[str, str] = {}
    for page in PAGES:
        for path, text in FILE.findall(page.read_text(encoding="utf-8")):
            assert path not in found, f"{path} is on two pages"
            found[path] = text
    return found


def own_files() -> dict[str, str]:
    """Those that a user keeps outside of the project."""
    return {path: text for path, text in files().items() if "/" not in path}


def lines() -> list[tuple[str, str, str]]:
    """What is added to a file of the project: the kind (`entry` of the last list, or `line`), the file, the text."""
    return [found for page in PAGES for found in LINE.findall(page.read_text(encoding="utf-8"))]


def follow(folder: Path) -> Path:
    """A copy of the project's packages in which every recipe for the project was followed."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in files().items():
        if path.startswith(PACKAGES):
            assert not (folder / path).exists(), f"{path} is there already"
            (folder / path).write_text(text, encoding="utf-8")
    for kind, path, text in lines():
        (folder / path).write_text(_added((folder / path).read_text(encoding="utf-8"), kind, text), encoding="utf-8")
    return folder


def _added(module: str, kind: str, text: str) -> str:
    """The module with an entry more in its last list, or a line more after the last call, and the imports for it."""
    imports = "".join(line for line in text.splitlines(keepends=True) if line.startswith("from "))
    rest = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("from "))
    body, rows = ast.parse(module).body, module.splitlines(keepends=True)
    if kind == "entry":
        loops = [node.iter for node in body if isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple)]
        tuples = [node.value for node in body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)]
        last = (loops or tuples)[-1]
        end, column = last.elts[-1].end_lineno, last.elts[-1].end_col_offset
        assert end is not None
        assert column is not None
        row = rows[end - 1].encode()  # columns are of bytes
        tail = row[column:].decode().removeprefix(",").lstrip(" ")
        rows[end - 1] = row[:column].decode() + ",\n" + rest.rstrip() + ("" if tail.startswith(")") else "\n") + tail
    else:
        (*_, call) = [node for node in body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
        assert call.end_lineno is not None
        rows.insert(call.end_lineno, rest)
    (*_, first) = [node for node in body if isinstance(node, ast.ImportFrom)]
    assert first.end_lineno is not None
    rows.insert(first.end_lineno, imports)
    return "".join(rows)
