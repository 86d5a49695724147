"""Folders with small files in them, and the grids that are written for them."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from sweeper.data.preparation import check_data
from sweeper.drafts.make import draft
from sweeper.grids.files import grid_of_text, load_grid
from sweeper.grids.schema import Grid
from sweeper.settings import Settings
from tests.sweeper.conftest import Command
from trials.errors import ExpectedError

SHARED = Path(__file__).parents[4] / "shared" / "data"
SETS = sorted(path for path in SHARED.iterdir() if path.is_dir()) if SHARED.is_dir() else []


def disk(size: int, radius: int, at: tuple[int, int]) -> npt.NDArray[np.uint8]:
    rows, columns = np.mgrid[:size, :size]
    inside: npt.NDArray[np.bool_] = (rows - at[0]) ** 2 + (columns - at[1]) ** 2 <= radius**2
    return inside.astype(np.uint8)


def save(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def pictures(folder: Path, count: int = 8, *, name: str = "{i}", mask: int = 255, sizes: int = 0) -> Path:
    random = np.random.default_rng(0)
    for i in range(count):
        truth = disk(40 + sizes * i, 8, (14 + i, 20))
        grey = (random.normal(90, 12, truth.shape) + 100 * truth).clip(0, 255).astype(np.uint8)
        save(folder / f"images/{name.format(i=i)}.png", grey)
        save(folder / f"masks/{name.format(i=i)}.png", truth * np.uint8(mask))
    return folder


def volumes(folder: Path, count: int) -> Path:
    random = np.random.default_rng(0)
    for i in range(count):
        truth = np.zeros((24, 22, 20), np.uint8)
        truth[6:14, 5:14, 6:16] = 1
        scan = (random.normal(40, 20, truth.shape) + 200 * truth - 900 * (truth == 0)).astype(np.int16)
        for name, values in (("ct", scan), ("seg", truth)):
            path = folder / str(i) / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.Nifti1Image(values, np.diag([0.8, 0.8, 2.0, 1.0])).to_filename(path)
    return folder


def written(folder: Path, **options: float) -> Grid:
    """The grid for a folder, after `data check` found nothing wrong with it."""
    settings = Settings(home=folder.parent / "home", data=folder.parent)
    grid = grid_of_text(draft(folder, settings, **options).text)  # type: ignore[arg-type]
    found = check_data(grid, settings)
    assert found.ok, found.text()
    return grid


def test_pictures(tmp_path: Path) -> None:
    grid = written(pictures(tmp_path / "cells"))
    (data,) = grid.datasets
    assert (grid.name, data.name, data.reader) == ("cells", "cells", "image-folder")
    assert data.options == {"images": "images/{id}.png", "masks": "masks/{id}.png", "channels": 1}
    assert [loss.name for loss in grid.losses] == ["ce", "dice", "unified_focal_asym"]
    assert grid.repeats >= 3


def test_pictures_of_several_sizes_and_classes_by_value(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "Zellen [2020] ü", sizes=3)
    for i in range(8):
        truth = np.asarray(Image.open(folder / f"masks/{i}.png")).copy()
        truth[0:6, 0:6] = 128
        save(folder / f"masks/{i}.png", truth)
    grid = written(folder)
    (data,) = grid.datasets
    assert (grid.name, data.folder) == ("Zellen-2020", "Zellen [2020] ü")
    assert data.options["label_map"] == {"0": 0, "128": 1, "255": 2}
    assert data.options["classes"] == ["background", "class 1", "class 2"]
    assert data.options["size"] == [48, 48]


def test_patients_stay_together(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p", 10)
    for kind in ("images", "masks"):
        for i in range(10):
            (folder / kind / f"{i}.png").rename(folder / kind / f"pat{i // 2}_{i % 2}.png")
    (data,) = written(folder).datasets
    assert data.split.grouped is True
    assert "group" in data.options


def test_volumes_of_computed_tomography(tmp_path: Path) -> None:
    (data,) = written(volumes(tmp_path / "livers", 6)).datasets
    grid = written(tmp_path / "livers", budget=3600.0)
    assert data.options["images"] == ["{id}/ct.nii.gz"]
    low, high = data.options["clip"]
    assert 150 < low < high < 320
    assert grid.training.patch is not None
    assert grid.training.epochs is not None


def test_one_volume_is_cut(tmp_path: Path) -> None:
    folder = volumes(tmp_path / "one", 1)
    for name in ("ct", "seg"):
        path = folder / "0" / f"{name}.nii.gz"
        values = np.tile(np.asanyarray(nibabel.load(path).dataobj), (3, 3, 2))  # type: ignore[attr-defined]
        nibabel.Nifti1Image(values, np.diag([0.8, 0.8, 2.0, 1.0])).to_filename(path)
    (data,) = written(folder).datasets
    assert np.prod(data.options["blocks"]) >= 12


def test_the_command(sweeper: Command, tmp_path: Path) -> None:
    pictures(tmp_path / "cells")
    answer = sweeper("init", str(tmp_path / "cells"), "--budget", "10m", "--gpus", "2", "--losses", "ce,dice")
    assert answer.status == 0, answer.err
    assert answer.out.count("\n") < 30
    grid = load_grid("cells.toml")
    assert [loss.name for loss in grid.losses] == ["ce", "dice"]
    assert (grid.training.epochs or 0) >= 10
    assert grid.resources.gpus == 1
    again = sweeper("init", str(tmp_path / "cells"))
    assert (again.status, "is not overwritten" in again.err) == (2, True)
    for words, what in (
        (["--budget", "soon"], "expected a number with m, h or d"),
        (["--losses", "dise"], "did you mean"),
    ):
        answer = sweeper("init", str(tmp_path / "cells"), "--out", "x.toml", *words)
        assert (answer.status, what in answer.err) == (2, True), answer.err
    assert sweeper("init", str(tmp_path / "nowhere")).status == 2
    assert not Path("x.toml").exists()


@pytest.mark.slow
@pytest.mark.parametrize("folder", SETS, ids=lambda path: path.name)
def test_real_sets(folder: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", data=folder.parent)
    try:
        found = check_data(grid_of_text(draft(folder, settings).text), settings)
    except ExpectedError as error:
        pytest.fail(str(error))
    assert found.ok, found.text()
