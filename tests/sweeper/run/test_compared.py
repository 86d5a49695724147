"""Sweeps side by side: what they share, in what they differ, and by how much their scores differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.database import open_database
from storage.repository import Repository
from sweeper.data.preparation import KnownDataset
from sweeper.data.resolved import resolve_known
from sweeper.grids.files import load_grid
from sweeper.run.launch import new_trials
from sweeper.timing.costs import learn_costs
from tests.results import result, scored
from tests.sweeper.conftest import NUCLEI, Command
from trials.results import Epoch


def store(home: Path, name: str, changes: list[str], better: float) -> None:
    """A finished sweep of two losses with three runs each, whose test DSC is higher by `better`."""
    home.mkdir(exist_ok=True)
    keep = ['losses=[{name="ce"},{name="dice"}]', f'name="{name}"', *changes]
    resolved = resolve_known(load_grid("demo", keep), {"nuclei": KnownDataset(NUCLEI, None, 38, 128 * 128)})
    with open_database(f"sqlite:///{home / 'sweeper.db'}") as database:
        repository = Repository(database)
        repository.create_sweep(name, grid=resolved.grid.to_dict(), trials=new_trials(resolved, learn_costs([])))
        lease = repository.acquire_lease(name, "test", 60)
        for spec in resolved.specs:
            attempt = repository.claim(lease, spec.hash)
            if attempt is None:
                continue  # the other sweep has finished it
            noise = 0.01 * spec.repeat
            scores = [
                scored(part, f"{i}", "nucleus", 0.5 + 0.02 * i + noise + (better if part == "test" else 0.0))
                for part in ("validation", "test")
                for i in range(8)
            ]
            history = (Epoch(1, 0.5, 0.5, 0.5, 0.1, 19, 1.0),)
            repository.finish(lease, attempt.id, result(spec.hash, scores, history))
        repository.release_lease(lease)


@pytest.fixture
def two(home: Path) -> None:
    store(home, "first", ["training.epochs=5"], 0.0)
    store(home, "second", ["training.epochs=9"], 0.125)


def test_the_same_loss_in_two_sweeps(sweeper: Command, two: None) -> None:
    found = json.loads(sweeper("compare", "first", "second", "--json").out)
    assert (found["trials"], found["shared"]) == ({"first": 6, "second": 6}, 0)
    assert [one["setting"] for one in found["settings"]] == ["training.epochs"]
    assert found["settings"][0]["values"] == {"first": ["5"], "second": ["9"]}
    rows = [one for one in found["differences"] if one["metric"] == "dsc"]
    assert [(one["variant"], one["sweep_a"], one["sweep_b"]) for one in rows] == [
        ("ce", "first", "second"),
        ("dice", "first", "second"),
    ]
    for one in rows:
        assert one["difference"] == pytest.approx(-0.125)
        assert one["low"] < one["difference"] < one["high"]
        assert (one["images"], one["runs_a"], one["runs_b"]) == (8, 3, 3)


def test_the_text(sweeper: Command, two: None) -> None:
    out = sweeper("compare", "first", "second").out
    assert "trials: first has 6, second has 6; all share 0" in out
    assert "training.epochs: first 5; second 9" in out
    assert "nuclei, nucleus, dice: first − second -0.125 [" in out


@pytest.mark.slow
def test_shared_trials_differ_in_nothing(sweeper: Command, home: Path) -> None:
    store(home, "first", [], 0.0)
    store(home, "again", [], 0.1)
    found = json.loads(sweeper("compare", "first", "again", "--json").out)
    assert (found["shared"], found["settings"], found["differences"]) == (6, [], [])
    cell = {"dataset": "nuclei", "gamma": None, "sweeps": ["first", "again"], "trials": 3}
    assert found["cells"] == [{**cell, "variant": "ce"}, {**cell, "variant": "dice"}]
    out = sweeper("compare", "first", "again").out
    assert "nuclei · dice, 3 trials: in first and again" in out


def test_what_cannot_be_compared(sweeper: Command, two: None) -> None:
    for words in (["first"], ["first", "first"], ["first", "third"]):
        assert sweeper("compare", *words).status == 2
