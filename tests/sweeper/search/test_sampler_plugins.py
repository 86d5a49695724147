"""Samplers, pruners and grids of a user's own: from a file, and from an installed package."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from sweeper.errors import GridError
from sweeper.grids.files import GRIDS, load_grid, parse_grid, shipped
from sweeper.search.samplers import PRUNERS, SAMPLERS, make_pruner, make_sampler
from workers import plugins
from workers.plugins import PluginError, describe_plugin

GOLDEN = Path(__file__).parents[3] / "docs" / "examples" / "golden_sampler.py"

PRUNER = """
from optuna.pruners import PercentilePruner
from sweeper.search.samplers import PrunerDefinition, register_pruner

def strict(percentile: float = 10.0):
    return PercentilePruner(percentile)

register_pruner("strict", PrunerDefinition(strict, rungs=False))
"""

GRID = 'name = "quick"\nextends = "demo"\n[training]\nepochs = 1\n'


@pytest.fixture(autouse=True)
def _no_plugin_stays() -> Iterator[None]:
    before = [(registry, dict(registry)) for registry in (SAMPLERS, PRUNERS, GRIDS)]
    yield
    plugins.load_plugin_texts(())
    for registry, entries in before:
        registry.replace(entries)


def searched(**search: object) -> object:
    loss = {"name": "unified_focal_asym", "gamma": {"low": 0.1, "high": 0.9}}
    return parse_grid({"name": "g", "datasets": [{"name": "nuclei"}], "losses": [loss], "search": search}, "g").search


@pytest.mark.slow
def test_the_documented_sampler_is_known_to_grids_once_its_file_is_named() -> None:
    with pytest.raises(GridError, match="unknown sampler 'golden'"):
        searched(sampler="golden")
    assert describe_plugin(GOLDEN).names == {"samplers": ("golden",)}
    searched(sampler="golden", settings={"start": 0.5})
    with pytest.raises(GridError, match="sampler 'golden' has no setting 'strat', did you mean 'start'"):
        searched(sampler="golden", settings={"strat": 0.5})


def test_the_documented_sampler_spreads_its_points() -> None:
    import optuna

    describe_plugin(GOLDEN)
    study = optuna.create_study(sampler=make_sampler("golden", {}, startup=3, seed=0))
    points = sorted(study.ask({"x": optuna.distributions.FloatDistribution(0.0, 1.0)}).params["x"] for _ in range(8))
    gaps = [b - a for a, b in pairwise(points)]
    assert max(gaps) < 0.25


def test_an_installed_pruner_is_found_when_a_grid_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "their_pruner", "[sweeper.pruners]\nstrict = their_pruner.strict\n", {"strict.py": PRUNER})
    monkeypatch.syspath_prepend(str(tmp_path))
    search = searched(pruner="strict")
    assert search is not None
    assert type(make_pruner("strict", {"percentile": 5.0}, startup=1)).__name__ == "PercentilePruner"


def test_an_installed_package_ships_grids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "their_grids", "[sweeper.grids]\ntheirs = their_grids\n", {"quick.toml": GRID})
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {"paper", "quick"} < set(shipped())
    grid = load_grid("quick")
    assert grid.training.epochs == 1
    assert grid.datasets == load_grid("demo").datasets


def test_a_package_whose_grid_has_a_name_of_ours_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "their_paper", "[sweeper.grids]\ntheirs = their_paper\n", {"paper.toml": GRID})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match="package 'their_paper': a grid named 'paper' is registered already"):
        shipped()


def test_a_grid_of_a_plugin_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GRID.replace("quick", "mine"))
    file = tmp_path / "mine.py"
    file.write_text(
        "from pathlib import Path\nfrom sweeper.grids.files import register\n"
        "register('mine', Path(__file__).with_name('mine.toml'))\n"
    )
    assert describe_plugin(file).names == {"grids": ("mine",)}
    assert load_grid("mine").name == "mine"


def installed(folder: Path, name: str, entry_points: str, files: dict[str, str]) -> None:
    package, info = folder / name, folder / f"{name}-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    for file, text in {"__init__.py": "", **files}.items():
        (package / file).write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
