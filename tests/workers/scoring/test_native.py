from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from workers.datasets import get_reader
from workers.datasets.folder import PreparedCase
from workers.datasets.prepared import prepare
from workers.errors import DataError
from workers.scoring.native import read_mask, save_mask, to_original, to_prepared

CLASSES = ("background", "kidney", "tumour")
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def record(**changes: Any) -> PreparedCase:
    case = PreparedCase(
        id="00001",
        index=0,
        group=None,
        partition=None,
        files=("case_00001/imaging.nii.gz",),
        part="",
        shape=(12, 10, 8),
        original_shape=(4, 5, 6),
        spacing=(1.5, 1.0, 0.5),
        affine=((1.0, 0, 0, 0), (0, 2.0, 0, 0), (0, 0, 3.0, 0), (0, 0, 0, 1)),
        voxels=(960, 0, 0),
        bytes=(0, 0, 0),
    )
    return replace(case, **changes)


def in_orientation(order: tuple[int, ...], signs: tuple[int, ...]) -> PreparedCase:
    """A case of 4×5×6 voxels of 1×2×3 mm along x, y, z, stored in the given orientation, prepared twice as fine."""
    affine = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, axis] = sign * (world + 1)
    affine[:3, 3] = (5, -6, 7)
    affine[3, 3] = 1
    return record(
        original_shape=tuple((4, 5, 6)[world] for world in order),
        affine=tuple(tuple(row) for row in affine.tolist()),
    )


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_a_mask_survives_the_way_to_the_prepared_grid_and_back(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    case = in_orientation(order, signs)
    mask = np.random.default_rng(0).integers(0, 3, case.original_shape).astype(np.uint8)
    prepared = to_prepared(mask, case)
    assert prepared.shape == case.shape
    np.testing.assert_array_equal(to_original(prepared, case), mask)


def test_2d_masks_survive_as_well() -> None:
    case = record(affine=None, shape=(20, 30), original_shape=(10, 10), spacing=(1.0, 1.0))
    mask = np.random.default_rng(0).integers(0, 3, (10, 10)).astype(np.uint8)
    np.testing.assert_array_equal(to_original(to_prepared(mask, case), case), mask)


def test_a_prediction_from_a_prepared_set_lies_where_the_truth_does(tmp_path: Path) -> None:
    """The way of a real use: KiTS19 files prepared, brought back, saved, and read by another program."""
    from workers.datasets import synthesise

    source = synthesise("kits19", 4, tmp_path / "kits19", seed=2, size=(40, 56, 48))
    prepared = prepare(get_reader("kits19"), source, tmp_path / "root", processes=1)
    for case in prepared.cases:
        back = to_original(np.array(prepared.label(case.id)), case)
        save_mask(back, tmp_path / f"{case.id}.nii.gz", case)
        saved = nibabel.load(tmp_path / f"{case.id}.nii.gz")
        truth = nibabel.load(source / case.files[1])
        np.testing.assert_allclose(saved.affine, truth.affine, atol=1e-5)
        assert saved.shape == truth.shape
        for index in (1, 2):
            ours, theirs = np.asarray(saved.dataobj) == index, np.asarray(truth.dataobj) == index
            assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.8
            centres = [nibabel.affines.apply_affine(saved.affine, np.argwhere(m)).mean(axis=0) for m in (ours, theirs)]
            assert np.abs(centres[0] - centres[1]).max() < 1.0  # mm
        again = read_mask(tmp_path / f"{case.id}.nii.gz", case, prepared.classes)
        np.testing.assert_array_equal(again, back)


def test_masks_in_another_axis_order_are_turned(tmp_path: Path) -> None:
    case = in_orientation((2, 1, 0), (-1, -1, 1))
    mask = np.random.default_rng(0).integers(0, 3, case.original_shape).astype(np.uint8)
    save_mask(mask, tmp_path / "mask.nii.gz", case)
    turned = nibabel.as_closest_canonical(nibabel.load(tmp_path / "mask.nii.gz"))
    assert turned.shape != mask.shape
    nibabel.save(turned, tmp_path / "turned.nii.gz")
    np.testing.assert_array_equal(read_mask(tmp_path / "turned.nii.gz", case, CLASSES), mask)


def test_a_saved_volume_holds_no_text(tmp_path: Path) -> None:
    case = in_orientation((0, 1, 2), (1, 1, 1))
    save_mask(np.zeros(case.original_shape, np.uint8), tmp_path / "mask.nii", case)
    header = nibabel.load(tmp_path / "mask.nii").header
    assert header["descrip"].item() == header["aux_file"].item() == header["db_name"].item() == b""
    assert header.get_xyzt_units()[0] == "mm"


def test_2d_masks_from_elsewhere(tmp_path: Path) -> None:
    case = record(affine=None, shape=(20, 30), original_shape=(10, 12), spacing=(1.0, 1.0))
    mask = (np.random.default_rng(0).random((10, 12)) < 0.3).astype(np.uint8)
    save_mask(mask, tmp_path / "indices.png", case)
    Image.fromarray(mask * 255).save(tmp_path / "bright.png")
    for name in ("indices.png", "bright.png"):
        np.testing.assert_array_equal(read_mask(tmp_path / name, case, ("background", "polyp")), mask)
    three = mask * 2
    save_mask(three, tmp_path / "three.png", case)
    np.testing.assert_array_equal(read_mask(tmp_path / "three.png", case, CLASSES), three)


Damage = Callable[[Path, PreparedCase], Path]


def _other_grid(folder: Path, case: PreparedCase) -> Path:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 7), np.uint8), np.array(case.affine)), folder / "m.nii")
    return folder / "m.nii"


def _elsewhere(folder: Path, case: PreparedCase) -> Path:
    affine = np.array(case.affine)
    affine[0, 3] += 40
    nibabel.save(nibabel.Nifti1Image(np.zeros(case.original_shape, np.uint8), affine), folder / "m.nii")
    return folder / "m.nii"


def _askew(folder: Path, case: PreparedCase) -> Path:
    """The first corner is where it should be, the last is not."""
    affine = np.array(case.affine)
    affine[1, 0] += 0.3 * abs(affine[0, 0])
    nibabel.save(nibabel.Nifti1Image(np.zeros(case.original_shape, np.uint8), affine), folder / "m.nii")
    return folder / "m.nii"


def _unknown_class(folder: Path, case: PreparedCase) -> Path:
    mask = np.full(case.original_shape, 3, np.uint8)
    nibabel.save(nibabel.Nifti1Image(mask, np.array(case.affine)), folder / "m.nii")
    return folder / "m.nii"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_other_grid, "its voxels"),
        (_elsewhere, "its voxels"),
        (_askew, "its voxels"),
        (_unknown_class, "label values 3"),
    ],
)
def test_masks_that_do_not_fit_are_refused(tmp_path: Path, make: Damage, message: str) -> None:
    case = in_orientation((0, 1, 2), (1, 1, 1))
    with pytest.raises(DataError, match=message):
        read_mask(make(tmp_path, case), case, CLASSES)


def test_wrong_shapes_and_names_are_refused(tmp_path: Path) -> None:
    case = record()
    with pytest.raises(DataError, match=r"the prediction of case '00001' has shape \(4, 5, 6\)"):
        to_original(np.zeros((4, 5, 6), np.uint8), case)
    with pytest.raises(DataError, match=r"the mask of case '00001' has shape \(12, 10, 8\)"):
        to_prepared(np.zeros((12, 10, 8), np.uint8), case)
    with pytest.raises(DataError, match=r"volumes are saved as \.nii"):
        save_mask(np.zeros((4, 5, 6), np.uint8), tmp_path / "mask.png", case)
