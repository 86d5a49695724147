"""What is made of pictures that are turned, deep, of many channels or drawn in several values.

The rows of docs/data-cases.md that are about pixels: each looks at the prepared arrays.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from workers.datasets import check, get_reader
from workers.datasets.keys import preparation_key
from workers.datasets.prepared import PreparedDataset, prepare
from workers.datasets.sizes import known_shape
from workers.errors import DataError, ParameterError


def disk(at: tuple[int, int], radius: int = 8, shape: tuple[int, int] = (48, 48)) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((y - at[0]) ** 2 + (x - at[1]) ** 2 <= radius**2).astype(np.uint8)


def picture(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(90, 12, (*mask.shape, 3)) + 100 * mask[..., None]
    return np.clip(noise, 0, 255).astype(np.uint8)


def save(path: Path, array: npt.NDArray[np.uint8], **settings: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **settings)


def prepared_of(source: Path, **options: Any) -> PreparedDataset:
    return prepare(get_reader("image-folder", options), source, source.parent / "root")


def agreement(prepared: PreparedDataset, case: str, channel: int = 0) -> float:
    """Correlation of the image with its mask."""
    return float(np.corrcoef(prepared.image(case)[..., channel].ravel(), prepared.label(case).ravel())[0, 1])


def centre(prepared: PreparedDataset, case: str) -> tuple[float, float]:
    y, x = np.nonzero(prepared.label(case))
    return float(y.mean()), float(x.mean())


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Square pictures on their side, with the tag that says so, and masks drawn on what viewers show."""
    source = tmp_path / "t"
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(3):
        mask = disk((12, 14))
        save(source / f"images/p{i}.jpg", np.rot90(picture(mask)).copy(), exif=exif, quality=95)
        save(source / f"masks/p{i}.png", mask * np.uint8(255))
    return source


def test_the_size_that_a_header_tells_is_that_of_the_arrays(tmp_path: Path) -> None:
    """A launch compares the sizes before it prepares: of pictures that are read as they are stored, the stored ones."""
    exif = Image.Exif()
    exif[0x0112] = 6
    mask = disk((12, 14), shape=(32, 48))
    for name, settings in (("a", {"exif": exif}), ("b", {})):
        save(tmp_path / f"t/images/{name}.jpg", picture(mask), **settings)
        save(tmp_path / f"t/masks/{name}.png", mask * np.uint8(255))
    reader = get_reader("image-folder", {"orientation": "stored"})
    told = {case.id: known_shape(reader, case) for case in reader.find_cases(tmp_path / "t")}
    prepared = prepare(reader, tmp_path / "t", tmp_path / "root")
    assert told == {case.id: case.shape for case in prepared.cases} == {"a": (32, 48), "b": (32, 48)}
    by_tag = get_reader("image-folder", {})
    assert known_shape(by_tag, by_tag.find_cases(tmp_path / "t")[0]) == (48, 32)


def test_a_photograph_is_turned_to_its_mask(photographs: Path) -> None:
    prepared = prepared_of(photographs)
    assert agreement(prepared, "p0") > 0.9
    assert centre(prepared, "p0") == (12, 14)
    stored = prepared_of(photographs, orientation="stored")
    assert abs(agreement(stored, "p0")) < 0.2


def test_masks_drawn_on_the_stored_pixels_are_told_by_their_size(tmp_path: Path) -> None:
    source = tmp_path / "t"
    mask = disk((12, 14), shape=(32, 48))
    exif = Image.Exif()
    exif[0x0112] = 8
    save(source / "images/p.jpg", picture(mask), exif=exif, quality=95)
    save(source / "masks/p.png", mask * np.uint8(255))
    with pytest.raises(DataError, match=r"p\.jpg: turned by its orientation tag it has 48×32 .*\"stored\""):
        prepared_of(source)
    assert agreement(prepared_of(source, orientation="stored"), "p") > 0.9


def test_only_pictures_with_a_tag_are_prepared_anew(photographs: Path, image_folder: Path) -> None:
    """The version of what is turned is in the key of sets with such pictures alone."""
    reader = get_reader("image-folder", {"images": "images/{id}.jpg"})
    tagged = preparation_key(reader, photographs, cache=photographs)
    path = photographs / "images" / "p0.jpg"
    for path in sorted((photographs / "images").iterdir()):
        Image.open(path).save(path, quality=95, exif=b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.datasets.raised_formats.FORMAT_VERSIONS", {"jpeg": 1})
        as_before = preparation_key(reader, photographs, cache=photographs)
    assert preparation_key(reader, photographs, cache=photographs) == as_before != tagged


def test_channels_are_kept_or_refused_and_never_dropped(tmp_path: Path) -> None:
    """The structure is seen in the last channel alone."""
    source = tmp_path / "t"
    mask = disk((14, 20))
    bands = np.random.default_rng(0).normal(1000, 50, (48, 48, 4)).astype(np.uint16)
    bands[..., 3] += np.uint16(3000) * mask
    save(source / "masks/a.png", mask * np.uint8(255))
    (source / "images").mkdir()
    tifffile.imwrite(source / "images" / "a.tif", bands, photometric="minisblack", planarconfig="contig")
    with pytest.raises(DataError, match=r"a\.tif: the image has 4 channels.*options\.channels = 4"):
        prepared_of(source)
    prepared = prepared_of(source, channels=4)
    assert prepared.channels == 4
    assert agreement(prepared, "a", 3) > 0.9
    assert abs(agreement(prepared, "a", 0)) < 0.2


def test_a_cup_within_its_disc_is_no_background(tmp_path: Path) -> None:
    """0, 128 and 255: cut at half scale, as the edge of one structure, the cup would be lost in the disc."""
    source = tmp_path / "t"
    disc, cup = disk((30, 30), 12, (64, 64)), disk((30, 30), 6, (64, 64))
    save(source / "images/f.png", picture(disc))
    save(source / "masks/f.png", (disc * np.uint8(255)) - cup * np.uint8(127))
    with pytest.raises(DataError, match=r"f\.png: not a binary mask: .*label_map = \{ 0 = 0, 128 = 1, 255 = 2 \}"):
        prepared_of(source)
    classes = {"classes": ["background", "cup", "rim"], "label_map": {"0": 0, "128": 1, "255": 2}}
    voxels = (64 * 64 - int(disc.sum()), int(cup.sum()), int(disc.sum() - cup.sum()))
    assert prepared_of(source, **classes).cases[0].voxels == voxels
    assert prepared_of(source, foreground="nonzero").cases[0].voxels == (voxels[0], voxels[1] + voxels[2])
    with pytest.raises(ParameterError, match="foreground is for masks of one structure"):
        get_reader("image-folder", {**classes, "foreground": "nonzero"})


def test_check_counts_what_was_turned(photographs: Path) -> None:
    save(photographs / "images/q.png", picture(disk((12, 14))))
    save(photographs / "masks/q.png", disk((12, 14)))
    found = check(get_reader("image-folder"), photographs)
    assert found.turned == 3
    assert "turned by their orientation tag: 3 of 4" in found.text()
    assert check(get_reader("image-folder", {"orientation": "stored"}), photographs).turned == 0


def test_a_full_mask_warns_as_an_empty_one_does(image_folder: Path) -> None:
    """White everywhere is what a mask in an alpha channel looks like without it; black everywhere, too."""
    shape = disk((9, 12), shape=(24, 32)) * np.uint8(255)
    save(image_folder / "masks/c0.png", np.full((24, 32), 255, np.uint8))
    for case, colour in (("c1", 255), ("c2", 0)):
        save(image_folder / f"masks/{case}.png", np.dstack([np.full((24, 32, 3), colour, np.uint8), shape]))
    found = check(get_reader("image-folder"), image_folder)
    assert found.ok
    assert [(one.case, one.message.split(": ")[-1]) for one in found.problems] == [
        ("c0", "the mask is all foreground"),
        ("c1", "the mask is all foreground"),
        ("c2", "the mask is empty"),
    ]


def test_labels_of_a_volume_that_are_nearly_whole(tmp_path: Path, write_volume: Any) -> None:
    """Floats, and integers that the header scales by 1/255."""
    mask = (np.random.default_rng(0).random((5, 6, 7)) < 0.3).astype(np.uint8)
    for case in "abc":
        write_volume(tmp_path / "v" / case / "ct.nii.gz", np.arange(210.0).reshape(5, 6, 7))
    write_volume(tmp_path / "v/a/seg.nii.gz", mask.astype(np.float64))
    write_volume(tmp_path / "v/b/seg.nii.gz", (mask * 0.9999999).astype(np.float32))
    write_volume(tmp_path / "v/c/seg.nii.gz", (mask * np.float32(1 / 255)) * 255)
    reader = get_reader("nifti-folder", {"images": ["{id}/ct.nii.gz"], "labels": "{id}/seg.nii.gz"})
    prepared = prepare(reader, tmp_path / "v", tmp_path / "root")
    for case in "abc":
        np.testing.assert_array_equal(prepared.label(case), mask.transpose(2, 1, 0))
    write_volume(tmp_path / "v/b/seg.nii.gz", (mask * 0.998).astype(np.float32))
    with pytest.raises(DataError, match=r"seg\.nii\.gz: label values 0\.998"):
        prepare(reader, tmp_path / "v", tmp_path / "root")
