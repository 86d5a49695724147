"""Folders with small files in them, and the grids that are written for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image, ImageFilter

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
    assert (grid.name, data.folder) == ("Zellen-2020-u", "Zellen [2020] ü")
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
    lines = draft(folder, Settings(home=tmp_path / "home", data=tmp_path)).lines
    assert "  patients: 5, by their names: pat0 of pat0_0" in lines
    assert "  split: at random, 20% test, 16% validation, patients stay together" in lines


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


@pytest.mark.parametrize("listed", [True, False], ids=["decathlon", "nnunet"])
def test_a_description_is_believed_and_no_built_in_set_with_as_many_classes(tmp_path: Path, listed: bool) -> None:
    folder = tmp_path / "hippocampus"
    truth = np.zeros((24, 22, 20), np.uint8)
    truth[6:14, 5:14, 6:11], truth[6:14, 5:14, 11:16] = 1, 2
    for i in range(5):
        scan = np.random.default_rng(i).normal(40, 20, truth.shape) + 200 * truth
        for name in ("imagesTr", "labelsTr"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        both = np.stack([scan, scan], -1).astype(np.int16)
        if listed:
            nibabel.Nifti1Image(both, np.eye(4)).to_filename(folder / f"imagesTr/h{i}.nii.gz")
        else:
            for channel in range(2):
                path = folder / f"imagesTr/h{i}_{channel:04d}.nii.gz"
                nibabel.Nifti1Image(both[..., channel], np.eye(4)).to_filename(path)
        nibabel.Nifti1Image(truth, np.eye(4)).to_filename(folder / f"labelsTr/h{i}.nii.gz")
    names = ["background", "Anterior", "Posterior"]
    described: dict[str, object] = {"channel_names": {"0": "T1", "1": "T2"}, "file_ending": ".nii.gz",
                                    "labels": {name: value for value, name in enumerate(names)}}  # fmt: skip
    if listed:
        described = {"modality": {"0": "T1", "1": "T2"}, "labels": {str(v): name for v, name in enumerate(names)},
                     "training": [{"image": f"./imagesTr/h{i}.nii.gz", "label": f"./labelsTr/h{i}.nii.gz"}
                                  for i in range(5)]}  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(described))
    (data,) = written(folder).datasets
    assert data.reader == "nifti-folder"  # msd_hepatic_vessel has three classes, too
    lines = draft(folder, Settings(home=tmp_path / "home", data=tmp_path)).lines
    assert any(line.strip().startswith("Anterior:") for line in lines)
    assert any("2 channels" in line for line in lines)


def several_masks(folder: Path) -> None:
    second = disk(40, 4, (32, 6)) * np.uint8(255)
    for i in range(8):
        (folder / f"masks/{i}.png").rename(folder / f"masks/{i}_mask.png")
    save(folder / "masks/2_mask_1.png", second)


def a_mask_for_each_class(folder: Path) -> None:
    for i in range(8):
        (folder / f"masks/{i}.png").rename(folder / f"masks/{i}_EX.png")
        save(folder / f"masks/{i}_MA.png", disk(40, 3, (34, 6)) * np.uint8(255))


def four_bands(folder: Path) -> None:
    for i in range(8):
        grey = np.asarray(Image.open(folder / f"images/{i}.png"))
        (folder / f"images/{i}.png").unlink()
        tifffile.imwrite(
            folder / f"images/{i}.tif", np.stack([grey] * 4, -1), photometric="minisblack", planarconfig="contig"
        )


def masks_in_colour(folder: Path) -> None:
    for i in range(8):
        grey = np.asarray(Image.open(folder / f"masks/{i}.png"))
        save(folder / f"masks/{i}.png", np.dstack([grey] * 3 + [np.full_like(grey, 255)]))


def smoothed_outlines(folder: Path) -> None:
    for i in range(8):
        with Image.open(folder / f"masks/{i}.png") as mask:
            mask.filter(ImageFilter.GaussianBlur(2)).save(folder / f"masks/{i}.png")


def a_mask_is_missing(folder: Path) -> None:
    (folder / "masks/7.png").unlink()


def endings_differ(folder: Path) -> None:
    for kind in ("images", "masks"):
        (folder / kind / "3.png").rename(folder / kind / "3.PNG")


def turned_by_their_tag(folder: Path) -> None:
    tag = Image.Exif()
    tag[0x0112] = 6
    for i in range(8):
        with Image.open(folder / f"images/{i}.png") as stored:
            stored.transpose(Image.Transpose.ROTATE_90).save(folder / f"images/{i}.jpg", exif=tag, quality=95)
        (folder / f"images/{i}.png").unlink()


def parts_of_a_split(folder: Path) -> None:
    for i in range(8):
        part = "train" if i < 4 else "val" if i < 6 else "test"
        for kind in ("images", "masks"):
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
            (folder / kind / f"{i}.png").rename(folder / part / kind / f"{part}{i}.png")


def same_names_for_each_patient(folder: Path) -> None:
    for i in range(8):
        for kind in ("images", "masks"):
            (folder / f"P{i // 2}" / kind).mkdir(parents=True, exist_ok=True)
            (folder / kind / f"{i}.png").rename(folder / f"P{i // 2}" / kind / f"{i % 2}.png")
    for kind in ("images", "masks"):
        (folder / kind).rmdir()


@pytest.mark.parametrize(
    ("change", "option", "value"),
    [
        (several_masks, "unite", True),
        (a_mask_for_each_class, "masks", {"EX": "masks/{id}_EX.png", "MA": "masks/{id}_MA.png"}),
        (four_bands, "channels", 4),
        (masks_in_colour, "masks", "masks/{id}.png"),
        (smoothed_outlines, "foreground", "half"),
        (a_mask_is_missing, "unlabelled", "skip"),
        (endings_differ, "images", "images/{id}.png"),
        (turned_by_their_tag, "images", "images/{id}.jpg"),
        (parts_of_a_split, "images", "*/images/{id}.png"),
        (same_names_for_each_patient, "images", "{group}/images/{id}.png"),
    ],
)
def test_what_folders_are_like(change: Callable[[Path], None], option: str, value: object, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "cells")
    change(folder)
    (data,) = written(folder).datasets
    assert data.options[option] == value


def test_a_folder_is_named_in_any_way(sweeper: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path / "cells", 5)
    (tmp_path / "link").symlink_to(tmp_path / "cells")
    monkeypatch.chdir(tmp_path / "cells" / "images")
    for place, name in (("..", "cells"), ("../../cells/", "cells"), ("../../link", "link")):
        answer = sweeper("init", place, "--out", str(tmp_path / "new.toml"))
        assert f"--data {tmp_path}\n" in answer.out, answer.err
        grid = load_grid(str(tmp_path / "new.toml"))
        assert (grid.name, grid.datasets[0].name, grid.datasets[0].folder) == (name, name, None)
        (tmp_path / "new.toml").unlink()


@pytest.mark.slow
@pytest.mark.parametrize("folder", SETS, ids=lambda path: path.name)
def test_real_sets(folder: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", data=folder.parent)
    try:
        found = check_data(grid_of_text(draft(folder, settings).text), settings)
    except ExpectedError as error:
        pytest.fail(str(error))
    assert found.ok, found.text()
