"""docs/recipes through the command line: what a page adds, by `--plugin` and by a package, from launch to report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from storage.database import open_database
from storage.repository import Repository
from tests.docs.recipe_pages import own_files
from tests.docs.test_recipes import install
from tests.system.sweeps import Home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GRID = """
name = "mine"

[[datasets]]
name = "nuclei"
options = { size = [32, 32] }

[training]
epochs = 2
"""


def grid() -> str:
    """The tables of the pages' grids in one that is small."""
    return GRID + "\n".join(own_files()[name].partition("\n\n")[2] for name in ("loss.toml", "network.toml"))


def check(home: Home, sweep: str) -> None:
    """The sweep was scored, and reported, with all that the pages add."""
    assert set(home.states(sweep).values()) == {"finished"}
    with open_database(f"sqlite:///{home.folder / 'sweeper.db'}", create=False) as database:
        repository = Repository(database)
        assert "my_specificity" in repository.score_columns(sweep)
        assert "my_t" in {test.test for test in repository.significance(sweep)}
    report = home.folder / "reports" / sweep
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "read by our lab" in page
    assert "What a score costs" in page
    assert "my_jaccard" in page


def test_files_of_one_s_own(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    options = []
    for name, text in own_files().items():
        if name.startswith("my_") and name.endswith(".py"):
            (tmp_path / name).write_text(text, encoding="utf-8")
            options += ["--plugin", str(tmp_path / name)]
    home.run("launch", "--grid", home.grid(grid()), *options)
    check(home, "mine")


def test_a_package_of_one_s_own(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    install(tmp_path / "site")
    home.variables["PYTHONPATH"] = str(tmp_path / "site")
    home.run("launch", "--grid", home.grid(grid()))
    check(home, "mine")
    assert "my_grid" in home.run("grids")


def test_the_checks_of_the_pages_pass(tmp_path: Path) -> None:
    for name, text in own_files().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for case in ("a", "b", "c"):
        for kind in ("images", "masks"):
            folder = tmp_path / "data" / "phantoms" / kind
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / f"{case}.npy", np.arange(96.0).reshape(8, 12) % 2)
    tests = sorted(str(path) for path in tmp_path.glob("test_*.py"))
    assert len(tests) == 3
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), *tests],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
