"""A rehearsal has the grid's trials, small, on synthetic files, under a name and mark of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from sweeper.data.preparation import bare_identities, identify
from sweeper.data.rehearsal import CASES, EPOCHS, differences, rehearsal_of, write_files
from sweeper.grids.expansion import expand
from sweeper.grids.files import load_grid, parse_grid
from sweeper.grids.schema import Grid
from sweeper.settings import Settings
from workers.datasets import About, ImageFolder, Table1Row
from workers.datasets.prepared import provenance
from workers.datasets.registry import READERS

ROOT = Path("/home/of/rehearsal")


def grid(**changes: Any) -> Grid:
    table = {"name": "g", "datasets": [{"name": "drive"}], "losses": [{"name": "ce"}], **changes}
    return parse_grid(table, "g")


def specs(of: Grid) -> Any:
    return expand(of, bare_identities(of))


@pytest.mark.parametrize("name", ["adaptive", "demo", "gamma", "odyssey", "paper", "public", "small"])
def test_same_cells_under_other_hashes(name: str) -> None:
    whole = load_grid(name)
    small = rehearsal_of(whole, ROOT)
    assert (small.name, small.rehearsal) == (f"{name}-rehearsal", True)
    before, after = specs(whole), specs(small)
    assert [(s.data.dataset, s.loss, s.seed) for s in before] == [(s.data.dataset, s.loss, s.seed) for s in after]
    assert not {s.hash for s in before} & {s.hash for s in after}
    for spec in after:
        assert spec.training.epochs == EPOCHS
        assert spec.model.base_filters <= 4


def test_only_what_the_differences_say_differs() -> None:
    whole = load_grid("paper")
    said = {line.partition(":")[0] for line in differences(whole, rehearsal_of(whole, ROOT))}
    allowed = {"files", "size", "model.base_filters", "model.depth"}
    assert said == allowed | {"training.epochs", "training.patch", "evaluation.overlap"}


def test_a_difference_names_its_data_sets_unless_it_is_of_all() -> None:
    whole = load_grid("paper")
    lines = differences(whole, rehearsal_of(whole, ROOT))
    assert "training.epochs: 1000 → 2" in lines
    assert "size: 512×512 → 48×48 (drive)" in lines


def test_the_stored_rehearsal_finds_its_files_again() -> None:
    """`sweeper resume` reads the grid from the database and is not told `--rehearse` again."""
    small = rehearsal_of(load_grid("paper"), ROOT)
    again = parse_grid(json.loads(json.dumps(small.to_dict())), "stored")
    assert {d.name: d.folder for d in again.datasets} == {d.name: str(ROOT / d.name) for d in small.datasets}
    assert specs(again) == specs(small)


def test_settings_of_the_data_set_and_of_the_listed_networks_are_small_too() -> None:
    whole = grid(
        datasets=[
            {"name": "drive", "training": {"epochs": 70, "batch_size": 4}, "model": {"base_filters": 32}},
            {"name": "mine", "reader": "image-folder", "exclude": ["a"]},
        ],
        models=[{"name": "unet", "base_filters": 32}, {"name": "unet", "base_filters": 64}],
        training={"patch": [256, 256]},
        evaluation={"overlap": [64, 64]},
    )
    small = rehearsal_of(whole, ROOT)
    found = specs(small)
    assert [s.model.base_filters for s in found] == [2, 4, 2, 4]
    assert {(s.training.epochs, s.training.patch, s.evaluation.overlap) for s in found} == {(2, (32, 32), (16, 16))}
    assert [s.training.batch_size for s in found] == [4, 4, 2, 2]


def test_a_data_set_of_one_s_own_is_rehearsed_on_its_own_files() -> None:
    small = rehearsal_of(grid(datasets=[{"name": "mine", "reader": "image-folder", "exclude": ["a"]}]), ROOT)
    assert small.dataset("mine").folder is None
    assert small.dataset("mine").exclude == ("a",)


def test_files_are_written_once_and_marked_as_synthetic(tmp_path: Path) -> None:
    small = rehearsal_of(load_grid("paper"), tmp_path / "rehearsal")
    write_files(small)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    write_files(small)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == stamps
    known = identify(small, Settings(home=tmp_path / "home"))
    assert set(known) == {"cvc_clinicdb", "drive", "bus2017", "brats20", "kits19"}
    for name, one in known.items():
        assert one.source == tmp_path / "rehearsal" / name
        assert one.source is not None
        assert provenance(one.source) == "synthetic"
        assert one.images == round(0.64 * (CASES + (name == "brats20")))  # one BraTS20 case is left out when read


@dataclass(frozen=True, kw_only=True)
class Published(ImageFolder):
    """A user's reader of a data set that the paper's Table 1 has, in a layout of its own."""

    about: ClassVar[About] = replace(ImageFolder.about, table1=Table1Row(40, (48, 48, 3), 16, 4, 20, (8.7,)))


def test_a_reader_that_nobody_can_imitate_is_rehearsed_on_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(READERS, "_entries", {**READERS, "published": Published})
    whole = grid(datasets=[{"name": "mine", "reader": "published"}])
    small = rehearsal_of(whole, tmp_path)
    assert small.dataset("mine").folder is None
    assert not any(line.startswith("files") for line in differences(whole, small))
    write_files(small)
    assert not any(tmp_path.iterdir())
