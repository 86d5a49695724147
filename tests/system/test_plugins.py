"""Losses, networks and data sets of a user's own through the command line: real training, from launch to resume."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from storage.database import open_database
from storage.repository import Repository
from tests.system.sweeps import TINY_GRID, Home
from workers.plugins import source_hash

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

LOSS = """
[[losses]]
name = "power_jaccard"
power = [1.5, 3.0]
"""

# Two values of a parameter of the documented loss in the place of γ's two.
GRID = TINY_GRID.replace('name = "unified_focal_asym"\ngamma = [0.3, 0.6]', LOSS.strip().partition("\n")[2])

PACKAGE = """
from workers.datasets import Nuclei, register

class Cells(Nuclei):
    pass

register("cells", Cells)
"""

METADATA = {
    "METADATA": "Metadata-Version: 2.1\nName: our-losses\nVersion: 1.0\n",
    "entry_points.txt": "[sweeper.losses]\njaccard = our_losses.jaccard\n\n"
    "[sweeper.networks]\ndilated = our_losses.dilated\n\n[sweeper.datasets]\ncells = our_losses.cells\n",
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def jaccard(tmp_path: Path) -> Path:
    """A copy of the documented loss, to be edited."""
    return Path(shutil.copy(EXAMPLES / "jaccard_loss.py", tmp_path / "ours.py"))


def specs(home: Home, sweep: str) -> dict[str, Any]:
    """Trial hash to the stored spec."""
    with open_database(f"sqlite:///{home.folder / 'sweeper.db'}", create=False) as database:
        return {t.hash: t.spec.to_dict() for t in Repository(database).trials(sweep)}


def hashes(home: Home, *arguments: str) -> dict[str, set[str]]:
    """The hashes of a plan's trials by their losses."""
    found: dict[str, set[str]] = {}
    for trial in home.json("plan", *arguments)["trials"]:
        found.setdefault(trial["loss"], set()).add(trial["hash"])
    return found


def test_a_loss_and_a_network_from_files(home: Home) -> None:
    network = EXAMPLES / "dilated_network.py"
    grid = home.grid(GRID.replace("[model]", '[model]\nname = "dilated"'))
    message = home.run("launch", "--grid", grid, code=2)
    assert "unknown" in message

    home.run("launch", "--grid", grid, "--plugin", str(EXAMPLES / "jaccard_loss.py"), "--plugin", str(network))
    assert list(home.states("tiny").values()) == ["finished"] * 3
    for spec in specs(home, "tiny").values():
        ours = spec["loss"]["name"] == "power_jaccard"
        assert spec["loss"]["source"] == (source_hash(EXAMPLES / "jaccard_loss.py") if ours else "")
        assert spec["model"]["source"] == source_hash(network)
    assert "power_jaccard" in (home.folder / "reports" / "tiny" / "report.html").read_text()


def test_a_sweep_grows_by_a_loss_whose_file_is_gone_when_it_is_resumed(home: Home, jaccard: Path) -> None:
    home.run("launch", "--grid", home.grid(GRID.replace(LOSS, "\n"), "small.toml"))
    launch = ("--grid", home.grid(GRID), "--plugin", str(jaccard))
    home.run("launch", *launch, "--extend", "--limit", "1")
    assert sorted(home.states("tiny").values()) == ["finished", "finished", "queued"]
    jaccard.unlink()
    home.run("resume", "tiny")
    assert list(home.states("tiny").values()) == ["finished"] * 3


def test_an_edited_loss_is_another_trial(home: Home, jaccard: Path) -> None:
    launch = ("--grid", home.grid(GRID), "--plugin", str(jaccard))
    home.run("launch", *launch)
    before = hashes(home, *launch)

    jaccard.write_text(jaccard.read_text().replace("1.0 - (overlap", "2.0 - (overlap"))
    after = hashes(home, *launch)
    assert after["ce"] == before["ce"]
    assert not after["power_jaccard"] & before["power_jaccard"]

    assert "exists with another grid" in home.run("launch", *launch, code=2)
    home.run("launch", *launch, "--name", "edited")
    assert home.states("edited") == dict.fromkeys(after["ce"] | after["power_jaccard"], "finished")
    assert set(home.attempts("edited").values()) == {1}  # cross entropy was not trained again
    stored = {**specs(home, "tiny"), **specs(home, "edited")}
    assert len({stored[h]["loss"]["source"] for h in before["power_jaccard"] | after["power_jaccard"]}) == 2


def test_an_installed_package_is_found_by_its_entry_points(home: Home, tmp_path: Path) -> None:
    package, info = tmp_path / "site" / "our_losses", tmp_path / "site" / "our_losses-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(EXAMPLES / "jaccard_loss.py", package / "jaccard.py")
    shutil.copy(EXAMPLES / "dilated_network.py", package / "dilated.py")
    (package / "cells.py").write_text(PACKAGE)
    for name, text in METADATA.items():
        (info / name).write_text(text)
    home.variables["PYTHONPATH"] = str(package.parent)

    grid = GRID.replace('"nuclei"', '"cells"').replace("[model]", '[model]\nname = "dilated"')
    home.run("launch", "--grid", home.grid(grid), "--limit", "1")
    home.run("resume", "tiny")
    assert list(home.states("tiny").values()) == ["finished"] * 3
    sources = {s["loss"]["source"] for s in specs(home, "tiny").values()}
    assert len(sources) == 2
    assert "" in sources
