"""The grids that come with the project keep the hash of every trial, also when a loss or a search gets a setting."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from sweeper.grids.expansion import DataIdentity, expand, search_cells
from sweeper.grids.files import load_grid
from sweeper.grids.schema import Grid
from sweeper.search.samplers import SearchSettings
from workers import losses
from workers.datasets import get_reader
from workers.losses import Parameter
from workers.losses.registry import LOSSES

EARLIER_DEMO = Path(__file__).parents[2] / "fixtures" / "demo-0002" / "demo.toml"
"""The demo's grid until it got three runs of fewer losses."""


@pytest.mark.parametrize(
    ("name", "trials", "searches", "digest"),
    [
        (str(EARLIER_DEMO), 16, 0, "3078bf1fc8132b9e"),
        ("paper", 88, 0, "3b8105fdd97c8919"),
        ("gamma", 54, 0, "92b4d64d6245a3bc"),
        ("adaptive", 0, 2, "f68108117bd5a1ed"),
    ],
)
def test_shipped_grids_have_the_hashes_that_they_always_had(name: str, trials: int, searches: int, digest: str) -> None:
    """Made by the revision before the rule, with prepared data of these keys."""
    grid = load_grid(name)
    data = {}
    for dataset in grid.datasets:
        reader = get_reader(dataset.reader or dataset.name, {**dataset.options, "name": dataset.name})
        data[dataset.name] = DataIdentity(reader.classes, reader.dimensions, "a" * 16, "b" * 16)
    hashes = [spec.hash for spec in expand(grid, data)]
    families = [cell.family for cell in search_cells(grid, data)]
    assert (len(hashes), len(families)) == (trials, searches)
    assert hashlib.sha256(" ".join([*hashes, *families]).encode()).hexdigest()[:16] == digest


def cells(**loss: Any) -> list[str]:
    table = {"name": "g", "datasets": [{"name": "a"}], "losses": [{"name": "tversky", **loss}]}
    data = {"a": DataIdentity(("background", "x"), 2, "1" * 16, "2" * 16)}
    return [spec.hash for spec in expand(Grid.model_validate(table), data)]


def test_an_added_parameter_of_a_loss_moves_no_hash_while_it_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cells()
    definition = LOSSES["tversky"]
    power = Parameter("power", 1.0, "(0, inf)", added=True)
    later = replace(definition, parameters=(*definition.parameters, power))
    monkeypatch.setattr(LOSSES, "_entries", {**LOSSES, "tversky": later})
    assert cells() == cells(power=1) == before
    assert cells(power=2) != before
    assert losses.resolve_parameters("tversky")["power"] == 1.0
    assert Parameter.from_dict(power.to_dict()) == power


@dataclass(frozen=True, slots=True)
class LaterSettings(SearchSettings):
    """The settings of a search of a later revision."""

    patience: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)


def test_an_added_setting_of_a_search_moves_no_hash_while_it_has_its_default() -> None:
    assert SearchSettings().hash == LaterSettings().hash == "5f2796b45353c30e"
    assert len({LaterSettings().hash, LaterSettings(patience=1).hash, LaterSettings(extra={"a": 1}).hash}) == 3
    assert LaterSettings(trials=50).hash == SearchSettings().hash
