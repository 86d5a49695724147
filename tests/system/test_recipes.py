"""Code of a user's own through the command line: what docs/recipes add, by `--plugin` and by a package, from launch to
report; and a loss whose file is edited."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.docs.recipe_pages import own_files
from tests.docs.test_recipes import install
from tests.system.sweeps import ONE_AT_ONCE, Home, python_path
from trials.spec import content_hash
from workers.plugins import source_hash

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GRID = (
    """
name = "mine"

[[datasets]]
name = "nuclei"
options = { size = [32, 32] }

[[losses]]
name = "ce"

[training]
epochs = 1
"""
    + ONE_AT_ONCE
)

PHANTOMS = """
[[datasets]]
name = "phantoms"
reader = "my_npy"
"""


def grid() -> str:
    """The tables of the pages' grids in one that is small."""
    return GRID + "\n".join(own_files()[name].partition("\n\n")[2] for name in ("loss.toml", "network.toml"))


def check(home: Home, sweep: str) -> None:
    """The sweep was scored, and reported, with all that the pages add."""
    assert set(home.states(sweep).values()) == {"finished"}
    with home.repository() as repository:
        assert "my_specificity" in repository.score_columns(sweep)
        assert "my_t" in {test.test for test in repository.significance(sweep)}
    page = (home.folder / "reports" / sweep / "report.html").read_text(encoding="utf-8")
    assert "read by our lab" in page
    assert "What a score costs" in page
    assert "my_jaccard" in page


def sources(home: Home, sweep: str) -> set[tuple[str, str, str, str]]:
    """Loss and network of each trial, each with the hash of the code that it was trained by."""
    with home.repository() as repository:
        specs = [trial.spec for trial in repository.trials(sweep)]
    return {(s.loss.name, s.loss.source, s.model.name, s.model.source) for s in specs}


def test_files_of_one_s_own_and_an_edited_loss_is_another_trial(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    options = []
    for name, text in own_files().items():
        if name.startswith("my_") and name.endswith(".py"):
            (tmp_path / name).write_text(text, encoding="utf-8")
            options += ["--plugin", str(tmp_path / name)]
    loss, network = tmp_path / "my_loss.py", source_hash(tmp_path / "my_network.py")
    launch = ("--grid", home.grid(grid()), *options)
    assert "unknown" in home.ask("plan", *launch[:2], code=2)

    home.run("launch", *launch)
    check(home, "mine")
    written = source_hash(loss)
    assert sources(home, "mine") == {("ce", "", "my_plain", network), ("my_jaccard", written, "my_plain", network)}

    loss.write_text(loss.read_text().replace("1.0 - (overlap", "2.0 - (overlap"))
    # Cross entropy would not be trained again, and the edited loss is another trial.
    plan = home.run("plan", *launch, "--json")
    trials = {t["loss"]: t for t in json.JSONDecoder().raw_decode(plan)[0]["trials"]}
    assert {name: t["state"] for name, t in trials.items()} == {"ce": "finished", "my_jaccard": "new"}
    before = home.states("mine")
    assert {name: t["hash"] in before for name, t in trials.items()} == {"ce": True, "my_jaccard": False}
    edited = source_hash(loss)
    assert edited != written
    assert trials["my_jaccard"]["spec"]["loss"]["source"] == edited


def test_a_package_of_one_s_own(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    install(tmp_path / "site")
    home.variables["PYTHONPATH"] = python_path(tmp_path / "site")
    for number in range(12):
        phantom(home.folder / "data" / "phantoms", str(number), 5 + number % 4)
    _, _, rest = grid().partition("[[losses]]")
    text = 'name = "mine"\n' + PHANTOMS + "\n[[losses]]" + rest
    home.run("launch", "--grid", home.grid(text))
    check(home, "mine")
    # A module of a package may import any other of it.
    package = content_hash({file.name: file.read_text() for file in (tmp_path / "site" / "my_lab").glob("*.py")})
    assert sources(home, "mine") == {("ce", "", "my_plain", package), ("my_jaccard", package, "my_plain", package)}
    assert "my_grid" in home.run("grids")


def phantom(folder: Path, case: str, radius: int) -> None:
    """A bright disc on a dark ground, as docs/recipes/reader.md lays it out."""
    rows, columns = np.ogrid[:24, :24]
    disc = (rows - 12) ** 2 + (columns - 10) ** 2 < radius**2
    noise = np.random.default_rng(radius).normal(0, 0.2, disc.shape)
    for kind, array in (("images", disc + noise), ("masks", disc.astype(np.uint8))):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        np.save(folder / kind / f"{case}.npy", array)


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
