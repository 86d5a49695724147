"""What a grid of data sets refuses before anything is trained, and what it tells a report of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sweeper.data import preparation
from sweeper.data.summary import describe
from sweeper.errors import MissingDataError
from sweeper.grids.details import Groups
from sweeper.grids.files import parse_grid
from sweeper.grids.schema import Grid
from sweeper.settings import Settings
from workers.datasets import synthesise
from workers.errors import DataError


def quiet(dataset: str, done: int, total: int, case: str) -> None:
    """Preparation in silence."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", data=tmp_path / "data")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Six images of a user's own, one of them larger, one mask empty."""
    folder = tmp_path / "data" / "cells"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(6):
        shape = (24, 40) if i == 4 else (24, 32)
        Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(folder / "images" / f"p{i // 2}_{i}.png")
        mask = np.zeros(shape, np.uint8) if i == 2 else (rng.random(shape) < 0.2).astype(np.uint8) * 255
        Image.fromarray(mask).save(folder / "masks" / f"p{i // 2}_{i}.png")
    return folder


def grid_of(**dataset: Any) -> Grid:
    table = {"name": "cells", "reader": "image-folder", **dataset}
    return parse_grid({"name": "own", "datasets": [table], "losses": [{"name": "ce"}]}, "own")


def test_images_of_several_sizes_are_refused_before_training(cells: Path, settings: Settings) -> None:
    message = r"images/p2_4\.png has 24×40 pixels, images/p0_0\.png 24×32, .*set options\.size = \[height, width\]"
    with pytest.raises(DataError, match=message):
        preparation.prepare(grid_of(), settings, quiet)
    resized = preparation.prepare(grid_of(options={"size": [16, 16]}), settings, quiet)["cells"]
    assert {case.shape for case in resized.prepared.cases} == {(16, 16)}
    patches = preparation.prepare(grid_of(training={"patch": [16, 16]}), settings, quiet)["cells"]
    assert len({case.shape for case in patches.prepared.cases}) == 2


def test_one_bad_case_is_left_out_by_a_setting_and_named(cells: Path, settings: Settings) -> None:
    (cells / "images" / "p2_4.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"p2_4\.png"):
        preparation.prepare(grid_of(), settings, quiet)
    ready = preparation.prepare(grid_of(exclude=["p2_4"]), settings, quiet)
    about = describe(ready)["cells"]
    assert about.cases == 5
    assert about.excluded == (("p2_4", "excluded by a setting"),)


def test_fields_of_view_that_are_not_there_are_refused_before_preparing(tmp_path: Path, settings: Settings) -> None:
    source = synthesise("drive", 4, tmp_path / "data" / "drive", 0, size=(40, 40))
    grid = grid_of(name="drive", reader=None, options={"size": [16, 16]}, evaluation={"field_of_view": True})
    assert preparation.identify(grid, settings)["drive"].images > 0
    shutil.rmtree(source / "training" / "mask")
    for act in (lambda: preparation.identify(grid, settings), lambda: preparation.prepare(grid, settings, quiet)):
        with pytest.raises(DataError, match=r"'drive': evaluation\.field_of_view .* 2 of 4 images have no such mask"):
            act()
    assert not list(settings.prepared.glob("drive-*"))


def test_groups_on_both_sides_of_a_split_are_counted(cells: Path, settings: Settings) -> None:
    options = {"size": [16, 16], "group": "^(p.)"}
    shared = preparation.prepare(grid_of(options=options, split={"seed": 0, "test": 0.17}), settings, quiet)
    about = describe(shared)["cells"]
    group = {case.id: case.group for case in shared["cells"].prepared.cases}
    split = shared["cells"].split
    both = {group[c] for c in split.test} & {group[c] for c in (*split.train, *split.validation)}
    assert about.groups == Groups(known=3, shared=len(both))
    assert about.groups.shared == 1
    parted = preparation.prepare(grid_of(options=options, split={"grouped": True}), settings, quiet)
    assert describe(parted)["cells"].groups == Groups(known=3)


def test_a_grouped_split_without_groups_is_refused(cells: Path, settings: Settings) -> None:
    grid = grid_of(options={"size": [16, 16]}, split={"grouped": True})
    with pytest.raises(DataError, match="'cells': split grouped = true, but no case names its patient or sequence"):
        preparation.prepare(grid, settings, quiet)


def test_what_is_described_holds_no_folder(cells: Path, settings: Settings) -> None:
    about = describe(preparation.prepare(grid_of(options={"size": [16, 16]}), settings, quiet))
    assert str(cells.parent) not in str(about)


def test_samples_are_those_of_training(cells: Path, settings: Settings) -> None:
    always = {"options": {"size": [48, 48]}, "training": {"augmentation_probability": 1.0}}
    grid = grid_of(**always)
    whole = preparation.prepare(grid, settings, quiet)["cells"].prepared
    sample = preparation.augmented_samples(grid, whole)
    image, label = sample("p0_0", 0)
    assert image.shape == (48, 48, 3)
    assert label.shape == (48, 48)
    assert not np.allclose(image, whole.image("p0_0"))
    assert not np.array_equal(image, sample("p0_0", 1)[0])
    np.testing.assert_array_equal(image, sample("p0_0", 0)[0])


def test_a_folder_that_a_grid_names_and_that_is_not_there(settings: Settings) -> None:
    settings.data_root.mkdir(parents=True)
    with pytest.raises(MissingDataError, match="fix `folder` in the grid"):
        preparation.prepare(grid_of(folder="nowhere"), settings, quiet)
