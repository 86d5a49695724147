"""What is made of odd names, stray files and missing masks: the rows of docs/data-cases.md that are about files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from workers.datasets import check, get_reader
from workers.datasets.patterns import match_files
from workers.datasets.prepared import PreparedDataset, prepare
from workers.datasets.sources import included_cases
from workers.errors import DataError, ParameterError

Disks = dict[str, npt.NDArray[np.uint8]]


def disk(at: tuple[int, int], size: int = 32, radius: int = 6) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[:size, :size]
    return ((y - at[0]) ** 2 + (x - at[1]) ** 2 <= radius**2).astype(np.uint8)


def save(path: Path, array: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def picture(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(90, 12, (*mask.shape, 3)) + 100 * mask[..., None]
    return np.clip(noise, 0, 255).astype(np.uint8)


@pytest.fixture
def disks() -> Disks:
    return {str(i): disk((10 + i, 16)) for i in range(4)}


def prepared_of(source: Path, root: Path, **options: Any) -> PreparedDataset:
    return prepare(get_reader("image-folder", options), source, root)


def assert_these(prepared: PreparedDataset, disks: Disks) -> None:
    """Each case has its own mask, and its image shows it there."""
    assert prepared.case_ids == tuple(sorted(disks))
    for case, mask in disks.items():
        np.testing.assert_array_equal(prepared.label(case), mask)
        assert np.corrcoef(prepared.image(case)[..., 0].ravel(), mask.ravel())[0, 1] > 0.9


def test_endings_are_found_in_any_case(tmp_path: Path, disks: Disks) -> None:
    for i, (case, mask) in enumerate(disks.items()):
        ending = ("png", "PNG")[i % 2]
        save(tmp_path / f"set/images/{case}.{ending}", picture(mask))
        save(tmp_path / f"set/masks/{case}.{ending}", mask * np.uint8(255))
    patterns = {"images": "images/{id}.png", "masks": "masks/{id}.png"}
    assert_these(prepared_of(tmp_path / "set", tmp_path / "root", **patterns), disks)


def test_a_mask_with_another_ending_is_found(tmp_path: Path, disks: Disks) -> None:
    for case, mask in disks.items():
        save(tmp_path / f"set/all/{case}.tif", picture(mask))
        save(tmp_path / f"set/all/{case}.gif", mask * np.uint8(255))
    patterns = {"images": "all/{id}.tif", "masks": "all/{id}.png"}
    assert_these(prepared_of(tmp_path / "set", tmp_path / "root", **patterns), disks)


def test_an_image_is_not_its_own_mask(tmp_path: Path, disks: Disks) -> None:
    for case, mask in disks.items():
        save(tmp_path / f"{case}.jpg", picture(mask))
    reader = get_reader("image-folder", {"images": "{id}.jpg", "masks": "{id}.png"})
    with pytest.raises(DataError, match=r"no mask for 0\.jpg, 1\.jpg"):
        reader.find_cases(tmp_path)


def test_volumes_packed_and_unpacked_are_found_together(tmp_path: Path, write_volume: Any) -> None:
    """A file with the pattern's own ending goes before its unpacked copy."""
    values = np.arange(60.0).reshape(3, 4, 5)
    for case, ending in (("a", ".nii.gz"), ("b", ".nii"), ("c", ".nii.gz")):
        write_volume(tmp_path / case / f"ct{ending}", values)
        write_volume(tmp_path / case / f"seg{ending}", (values > 30).astype(np.uint8))
    shutil.copy(tmp_path / "b" / "ct.nii", tmp_path / "c" / "ct.nii")
    cases = get_reader("nifti-folder", {"images": ["{id}/ct.nii.gz"], "labels": "{id}/seg.nii.gz"}).find_cases(tmp_path)
    assert [case.images[0].relative_to(tmp_path).as_posix() for case in cases] == [
        "a/ct.nii.gz", "b/ct.nii", "c/ct.nii.gz",
    ]  # fmt: skip


def test_files_of_the_operating_system_are_no_cases(tmp_path: Path, disks: Disks) -> None:
    source = tmp_path / "set"
    for case, mask in disks.items():
        save(source / f"images/{case}.png", picture(mask))
        save(source / f"masks/{case}.png", mask * np.uint8(255))
    for folder in ("images", "masks"):
        for name in ("Thumbs.db", "desktop.ini", "._0.png", "notes.txt"):
            (source / folder / name).write_bytes(b"\0\5\x16\7")
        save(source / folder / ".ipynb_checkpoints" / "0-checkpoint.png", disk((3, 3)))
        save(source / "__MACOSX" / folder / "9.png", disk((3, 3)))
    assert_these(prepared_of(source, tmp_path / "root"), disks)
    everywhere = {"images": "**/images/{id}.png", "masks": "**/masks/{id}.png"}
    assert_these(prepared_of(source, tmp_path / "root", **everywhere), disks)
    assert list(match_files(source, "images/.ipynb_checkpoints/{id}.png")) == ["0-checkpoint"]


def test_brackets_in_a_pattern_are_letters(tmp_path: Path, disks: Disks) -> None:
    names = dict(zip(("Patiënt 1", "患者 2", "a%20b", "x'y [z]"), disks.values(), strict=True))
    source = tmp_path / "Übung [2020] scans"
    for case, mask in names.items():
        save(source / f"im [T2?]/{case}.png", picture(mask))
        save(source / f"masks/{case}.png", mask * np.uint8(255))
        save(source / f"im T/{case}.png", picture(mask)[::-1].copy())
    assert_these(prepared_of(source, tmp_path / "root", images="im [T2?]/{id}.png"), names)


def test_a_case_without_a_mask_is_excluded_before_pairing(tmp_path: Path, image_folder: Path) -> None:
    (image_folder / "masks" / "c5.png").unlink()
    (image_folder / "images" / "c1.png").unlink()
    reader = get_reader("image-folder")
    with pytest.raises(DataError, match=r"no mask for images/c5\.png; .*`exclude`, or .*unlabelled"):
        prepare(reader, image_folder, tmp_path / "root")
    prepared = prepare(reader, image_folder, tmp_path / "root", exclude=("c5", "c1"))
    assert prepared.case_ids == ("c0", "c2", "c3", "c4")
    assert [tuple(one) for one in prepared.excluded] == [(c, "excluded by a setting") for c in ("c1", "c5")]
    with pytest.raises(ParameterError, match="excluded case 'c7' is not in"):
        included_cases(reader, image_folder, ("c1", "c5", "c7"))


def test_unlabelled_images_are_left_out_and_listed(tmp_path: Path, image_folder: Path) -> None:
    (image_folder / "masks" / "c5.png").unlink()
    reader = get_reader("image-folder", {"unlabelled": "skip"})
    prepared = prepare(reader, image_folder, tmp_path / "root")
    assert prepared.case_ids == ("c0", "c1", "c2", "c3", "c4")
    assert [tuple(one) for one in prepared.excluded] == [("c5", "no mask")]
    assert "excluded c5: no mask" in check(reader, image_folder).text()
    (image_folder / "images" / "c0.png").unlink()
    with pytest.raises(DataError, match=r"no image for masks/c0\.png"):
        reader.find_cases(image_folder)


def test_unlabelled_volumes_are_left_out(tmp_path: Path, write_volume: Any) -> None:
    values = np.arange(60.0).reshape(3, 4, 5)
    for case in "abc":
        write_volume(tmp_path / case / "t1.nii.gz", values)
        if case != "c":
            write_volume(tmp_path / case / "t2.nii.gz", values)
            write_volume(tmp_path / case / "seg.nii.gz", (values > 30).astype(np.uint8))
    options = {"images": ["{id}/t1.nii.gz", "{id}/t2.nii.gz"], "labels": "{id}/seg.nii.gz", "unlabelled": "skip"}
    cases, excluded = included_cases(get_reader("nifti-folder", options), tmp_path)
    assert [case.id for case in cases] == ["a", "b"]
    assert [tuple(one) for one in excluded] == [("c", "no mask")]


def test_files_that_no_pattern_matches_are_told(tmp_path: Path, disks: Disks) -> None:
    """A second lesion's mask would become background. What was left out on purpose is not told again."""
    source = tmp_path / "set"
    for case, mask in disks.items():
        save(source / f"images/{case}.png", picture(mask))
        save(source / f"masks/{case}_mask.png", mask * np.uint8(255))
    save(source / "masks/2_mask_1.png", disk((3, 3)))
    save(source / "other/deep/9.TIF", disk((3, 3)))
    save(source / "images/0.gif", disk((3, 3)))
    save(source / "imagesTs/7.png", disk((3, 3)))
    (source / "notes.txt").touch()
    (source / "masks" / "3_mask.png").unlink()
    options = {"images": "images/{id}.png", "masks": "masks/{id}_mask.png"}
    reader = get_reader("image-folder", {**options, "unlabelled": "skip"})
    (told,) = [one for one in check(reader, source, exclude=["1"]).problems if one.case == "files"]
    assert told.severity == "warning"
    assert told.message == (
        "3 image files belong to no case, because no pattern matches: images/0.gif, masks/2_mask_1.png, "
        "other/deep/9.TIF"
    )
    whole = get_reader("image-folder", {"images": "**/{id}.*", "masks": "masks/{id}_mask.png", "unlabelled": "skip"})
    assert "files" not in [one.case for one in check(whole, source, exclude=["0"]).problems]


def test_a_volume_without_labelled_slices_belongs_to_the_set(tmp_path: Path, write_volume: Any) -> None:
    values = np.arange(60.0).reshape(3, 4, 5)
    for case in "ab":
        write_volume(tmp_path / case / "t1.nii.gz", values)
        write_volume(tmp_path / case / "seg.nii.gz", ((values > 30) & (case == "a")).astype(np.uint8))
    write_volume(tmp_path / "a" / "t2.nii.gz", values)
    options = {"images": ["{id}/t1.nii.gz"], "labels": "{id}/seg.nii.gz", "slices": "axial", "labelled": True}
    problems = check(get_reader("nifti-folder", options), tmp_path).problems
    assert [one.message for one in problems if one.case == "files"] == [
        "1 image file belongs to no case, because no pattern matches: a/t2.nii.gz"
    ]
