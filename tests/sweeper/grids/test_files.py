"""Reading grids: what `extends` and `--set` merge. What is refused is in `tests/sweeper/cli/test_wrong_input.py`."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.errors import GridError
from sweeper.grids.files import load_grid, parse_grid
from sweeper.grids.schema import Grid


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_tables_are_merged_and_lists_replaced(tmp_path: Path) -> None:
    text = 'name = "mine"\nextends = "demo"\ntraining = { batch_size = 4 }\nlosses = [{ name = "dice" }]\n'
    grid = load_grid(write(tmp_path / "mine.toml", text))
    assert (grid.training.epochs, grid.training.batch_size) == (load_grid("demo").training.epochs, 4)
    assert [loss.name for loss in grid.losses] == ["dice"]
    assert grid.datasets == load_grid("demo").datasets
    assert grid.description == ""


def test_a_chain_of_files_is_found_from_the_file_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    write(tmp_path / "base.toml", 'name = "base"\nextends = "demo"\nseed = 3\nrepeats = 2\n')
    top = write(tmp_path / "below" / "top.toml", 'name = "top"\nextends = "../base.toml"\nseed = 4\n')
    monkeypatch.chdir("/")
    grid = load_grid(top)
    assert (grid.name, grid.seed, grid.repeats, grid.training.epochs) == (
        "top",
        4,
        2,
        load_grid("demo").training.epochs,
    )


@pytest.mark.parametrize(
    ("below", "above", "repeats", "seeds"),
    [("repeats = 3", "seeds = [7]", 1, (7,)), ("seeds = [1, 2]", "repeats = 4", 4, None), ("repeats = 3", "", 3, None)],
)
def test_a_grid_s_own_seeds_take_the_place_of_inherited_repeats(
    tmp_path: Path, below: str, above: str, repeats: int, seeds: tuple[int, ...] | None
) -> None:
    write(tmp_path / "base.toml", f'name = "base"\nextends = "paper"\n{below}\n')
    grid = load_grid(write(tmp_path / "top.toml", f'name = "top"\nextends = "base.toml"\n{above}\n'))
    assert (grid.repeats, grid.seeds) == (repeats, seeds)


def test_one_grid_may_be_extended_twice(tmp_path: Path) -> None:
    """A diamond is no circle: the chain goes up one way only."""
    write(tmp_path / "paper.toml", 'name = "mine"\nextends = "paper"\n')
    assert load_grid(str(tmp_path / "paper.toml")).losses == load_grid("paper").losses


def test_set_reaches_every_level() -> None:
    grid = load_grid(
        "demo",
        [
            "training.epochs=5",
            "datasets.nuclei.options.size=[64, 32]",
            "datasets.nuclei.split.seed = 3",
            "losses.unified_focal_sym.delta=0.7",
            "evaluation.weighting=gaussian",
            'name="other"',
        ],
    )
    assert grid.training.epochs == 5
    assert grid.dataset("nuclei").options == {"size": [64, 32]}
    assert grid.dataset("nuclei").split.seed == 3
    assert next(loss for loss in grid.losses if loss.name == "unified_focal_sym").parameters["delta"] == 0.7
    assert grid.evaluation.weighting == "gaussian"  # a bare word is text
    assert grid.name == "other"


def test_set_changes_every_entry_of_a_name() -> None:
    """The paper lists its unified losses twice, for 2D and 3D."""
    grid = load_grid("paper", ["losses.unified_focal_sym.delta=0.7"])
    assert [loss.parameters["delta"] for loss in grid.losses if loss.name == "unified_focal_sym"] == [0.7, 0.7]


def test_later_changes_win() -> None:
    assert load_grid("demo", ["training.epochs=5", "training.epochs=6"]).training.epochs == 6


@pytest.mark.parametrize("name", ["adaptive", "demo", "gamma", "odyssey", "paper", "public", "small"])
def test_a_stored_grid_is_the_grid(name: str) -> None:
    grid = load_grid(name)
    assert parse_grid(json.loads(json.dumps(grid.to_dict())), name) == grid.model_copy(update={"extends": None})


def test_a_message_names_the_entry_and_not_its_number(tmp_path: Path) -> None:
    text = 'name = "x"\n[[datasets]]\nname = "a"\n[[datasets]]\nname = "b"\ntraining = { epochs = -1 }\n'
    with pytest.raises(GridError, match=r"datasets\.b\.training\.epochs = -1 must be at least 1"):
        load_grid(write(tmp_path / "x.toml", text))


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(GridError) as told:
        load_grid("demo", ["seed=-1", "training.epoch=3", "repeats=0"])
    assert all(words in str(told.value) for words in ("seed = -1", "training.epoch", "repeats = 0"))


def tried(table: dict[str, Any]) -> Grid | GridError:
    try:
        return parse_grid(table, "somewhere")
    except GridError as error:
        return error


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=8), st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists)))
@settings(max_examples=25, deadline=None)
def test_any_table_is_a_grid_or_a_grid_error(table: dict[str, Any]) -> None:
    found = tried({"name": "g", **table})
    if isinstance(found, GridError):
        assert str(found).startswith("grid 'somewhere': ")
    else:
        assert set(table) <= set(Grid.model_fields)


@given(st.sampled_from(["", "training.", "losses.", "datasets.nuclei.", "seed="]), st.text(max_size=30))
@settings(max_examples=25, deadline=None)
def test_any_set_is_a_grid_or_a_grid_error(start: str, text: str) -> None:
    with contextlib.suppress(GridError):
        assert load_grid("demo", [start + text]) is not None
