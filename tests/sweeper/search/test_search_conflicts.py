"""A sweep whose search is launched again with another: what differs is said, and only the budget grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from storage.database import open_database
from storage.errors import SweepConflictError
from storage.repository import Repository
from sweeper.data.preparation import KnownDataset
from sweeper.data.resolved import resolve, resolve_known
from sweeper.grids.conflicts import refuse_another_search
from sweeper.grids.expansion import DataIdentity
from sweeper.grids.files import parse_grid
from sweeper.run.launch import create, searched_specs
from sweeper.search.details import SearchDetails
from sweeper.session import Session
from sweeper.settings import Settings
from tests.sweeper.search.test_adaptive import new_trial

NUCLEI = DataIdentity(("background", "nucleus"), 2, "p", "s")


def searches(search: Any = "tpe", **loss: Any) -> dict[str, SearchDetails]:
    table = {
        "name": "g",
        "datasets": [{"name": "a"}],
        "losses": [{"name": "unified_focal_asym", **loss}],
        "search": search,
    }
    resolved = resolve_known(parse_grid(table, "g"), {"a": KnownDataset(NUCLEI, None, 1, 1)})
    return {one.name: one.details for one in resolved.searches()}


def test_a_new_sweep_and_the_same_again_are_welcome() -> None:
    assert list(searches()) == ["g/a/unified_focal_asym"]
    refuse_another_search("g", None, searches(), extend=False)
    refuse_another_search("g", searches(), searches({"sampler": "tpe"}), extend=False)


def test_the_budget_grows_with_extend_alone() -> None:
    more = searches({"trials": 9})
    with pytest.raises(SweepConflictError, match=r"trials 5 → 9\). Grow it with --extend"):
        refuse_another_search("g", searches(), more, extend=False)
    refuse_another_search("g", searches(), more, extend=True)
    with pytest.raises(SweepConflictError, match=r"trials 9 → 5\). Give this one another name"):
        refuse_another_search("g", more, searches(), extend=True)
    with pytest.raises(SweepConflictError, match=r"search g/a/unified_focal_asym is new\). Grow it with --extend"):
        refuse_another_search("g", {}, searches(), extend=False)


@pytest.mark.parametrize(
    ("search", "loss", "differs"),
    [
        ("random", {}, "sampler tpe → random"),
        ({"pruner": "asha"}, {}, "pruner median → asha"),
        ({"seed": 4}, {}, "seed 0 → 4"),
        ("tpe", {"gamma": [0.3, 0.5]}, "chosen gamma in"),
    ],
)
def test_any_other_change_needs_another_name(search: Any, loss: dict[str, Any], differs: str) -> None:
    with pytest.raises(SweepConflictError, match=r"Give this one another name") as refused:
        refuse_another_search("g", searches(), searches(search, **loss), extend=True)
    assert differs in str(refused.value)


@pytest.mark.slow
def test_a_sweep_keeps_what_its_search_suggested(home: Path) -> None:
    """Launching again changes nothing, and growing the grid takes no suggestion away."""
    table = {
        "name": "g",
        "datasets": [{"name": "nuclei", "options": {"size": [32, 32]}}],
        "losses": [{"name": "unified_focal_asym"}],
        "search": {"sampler": "tpe", "trials": 3},
    }
    home.mkdir()
    settings = Settings()
    with open_database(f"sqlite:///{home / 'sweeper.db'}") as database:
        now = Session(settings, Repository(database), Console(quiet=True))
        grid = parse_grid(table, "g")
        sweep = create(now, resolve(grid, settings), []).sweep
        assert now.repository.trials("g") == []
        assert sweep.details["search"]["g/nuclei/unified_focal_asym"]["points"] == 3
        (search,) = resolve(grid, settings).searches()
        assert len(searched_specs([search])) == 3
        lease = now.repository.acquire_lease("g", "test", 60)
        suggested = [new_trial(spec, search.name) for spec in search.cell.specs({"gamma": 0.5})]
        now.repository.add_trials(lease, suggested)
        now.repository.release_lease(lease)
        create(now, resolve(grid, settings), [])
        more = parse_grid({**table, "losses": [*table["losses"], {"name": "dice"}], "search": {"trials": 4}}, "g")
        with pytest.raises(SweepConflictError, match="--extend"):
            create(now, resolve(more, settings), [])
        grown = create(now, resolve(more, settings), [], extend=True).sweep
        assert [t.loss for t in now.repository.trials("g")] == ["unified_focal_asym", "dice"]
        assert grown.grid["search"]["trials"] == 4
        assert grown.details["search"][search.name]["points"] == 4
