"""A grid is expanded once: its cells get their hashes when the data are prepared, as if it were expanded then."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from rich.console import Console

from storage.database import open_database
from storage.repository import Repository
from sweeper.data import preparation, resolved
from sweeper.data.resolved import resolve, resolve_ready
from sweeper.grids.files import load_grid, parse_grid
from sweeper.run.launch import create
from sweeper.run.plan import make_plan
from sweeper.session import Session
from sweeper.settings import Settings

SMALL = ["datasets.nuclei.options.size=[32, 32]", 'losses=[{name = "dice"}, {name = "unified_focal_sym"}]']


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ['search={sampler = "random", trials = 2}']])
def test_a_launch_expands_its_grid_once(more: list[str], home: Path, sweeper: Any) -> None:
    settings, console = Settings(home=home), Console(quiet=True)
    home.mkdir()
    grid = load_grid("demo", [*SMALL, *more])
    with (
        patch.object(resolved, "expand", wraps=resolved.expand) as expand,
        patch.object(resolved, "identify", wraps=resolved.identify) as identify,
        open_database(settings.database) as database,
    ):
        created = create(Session(settings, Repository(database), console), resolve(grid, settings), [])
        assert (expand.call_count, identify.call_count) == (1, 1)
        ready = preparation.prepare(grid, settings, lambda *_: None)
        again = resolve_ready(grid, ready)
        assert created.grid.specs == again.specs
        assert created.grid.searches() == again.searches()
        assert created.grid.datasets["nuclei"].images == again.datasets["nuclei"].images
        stored = Repository(database).trials("demo")
        assert [trial.hash for trial in stored] == [spec.hash for spec in again.specs]


def test_a_plan_expands_its_grid_once(home: Path) -> None:
    with patch.object(resolved, "expand", wraps=resolved.expand) as expand:
        make_plan(parse_grid({**load_grid("demo").to_dict(), "search": "tpe"}, "a test"), Settings(home=home))
    assert expand.call_count == 1
