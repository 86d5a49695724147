"""Layouts of folders of images: what the prepared arrays hold for each, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from workers.datasets import CaseFiles, get_reader
from workers.datasets.folder import PreparedDataset
from workers.datasets.prepared import prepare
from workers.datasets.sources import included_cases
from workers.errors import DataError, ParameterError

Bits = npt.NDArray[np.uint8]


def disc(y: int, x: int, radius: int = 6, size: int = 32) -> Bits:
    rows, columns = np.mgrid[:size, :size]
    return ((rows - y) ** 2 + (columns - x) ** 2 <= radius**2).astype(np.uint8)


def save(path: Path, pixels: Bits) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def picture(mask: Bits, seed: int = 0) -> Bits:
    """A grey image that is bright where the mask is."""
    return (np.random.default_rng(seed).integers(20, 60, mask.shape) + 150 * (mask > 0)).astype(np.uint8)


def prepared(source: Path, **options: Any) -> PreparedDataset:
    root = source.with_name(f"{source.name}-prepared")
    return prepare(get_reader("image-folder", {"channels": 1, **options}), source, root, processes=1)


def cases_of(source: Path, exclude: tuple[str, ...] = (), **options: Any) -> list[CaseFiles]:
    return included_cases(get_reader("image-folder", {"channels": 1, **options}), source, exclude)[0]


def same_folder(source: Path) -> dict[str, str]:
    for i in range(4):
        save(source / f"benign ({i}).png", picture(disc(10 + i, 20), i))
        save(source / f"benign ({i})_mask.png", disc(10 + i, 20) * 255)
    return {"images": "{id}.png", "masks": "{id}_mask.png"}


def test_image_and_mask_in_one_folder(tmp_path: Path) -> None:
    """The layout of BUSI and of LGG: the pattern of the images matches the masks, too."""
    options = same_folder(tmp_path / "t")
    whole = prepared(tmp_path / "t", **options)
    assert whole.case_ids == tuple(f"benign ({i})" for i in range(4))
    for i, case in enumerate(whole.case_ids):
        np.testing.assert_array_equal(whole.label(case), disc(10 + i, 20))
        assert np.corrcoef(whole.image(case).ravel(), whole.label(case).ravel())[0, 1] > 0.9


def test_an_excluded_image_takes_its_mask_along(tmp_path: Path) -> None:
    options = same_folder(tmp_path / "t")
    found = cases_of(tmp_path / "t", ("benign (1)",), **options)
    assert [case.id for case in found] == ["benign (0)", "benign (2)", "benign (3)"]


def test_two_patterns_that_say_the_same_are_refused(tmp_path: Path) -> None:
    same_folder(tmp_path / "t")
    with pytest.raises(DataError, match="two patterns"):
        cases_of(tmp_path / "t", images="{id}.png", masks="*{id}.png")


def test_the_same_names_in_each_patients_folder(tmp_path: Path) -> None:
    source = tmp_path / "t"
    for patient in range(2):
        for i in range(2):
            mask = disc(10 + i, 12 + 5 * patient)
            save(source / f"pat{patient}" / "images" / f"{i:03d}.png", picture(mask))
            save(source / f"pat{patient}" / "masks" / f"{i:03d}.png", mask * 255)
    whole = prepared(source, images="{group}/images/{id}.png", masks="{group}/masks/{id}.png")
    assert whole.case_ids == ("pat0-000", "pat0-001", "pat1-000", "pat1-001")
    assert [case.group for case in whole.cases] == ["pat0", "pat0", "pat1", "pat1"]
    np.testing.assert_array_equal(whole.label("pat1-001"), disc(11, 17))
    with pytest.raises(DataError, match=r"two files.*\{group\}/images/\{id\}\.png"):
        cases_of(source, images="*/images/{id}.png", masks="*/masks/{id}.png")
    with pytest.raises(DataError, match=r"two files.*\(\{group\}/images/\{id\}\.png\).*unite"):
        cases_of(source, images="{id}/images/*.png", masks="{id}/masks/*.png")
    with pytest.raises(ParameterError, match="belongs into each"):
        cases_of(source, images="{group}/images/{id}.png", masks="*/masks/{id}.png")
    with pytest.raises(ParameterError, match="tell the group already"):
        cases_of(source, images="{group}/{id}.png", masks="{group}/m/{id}.png", group="(pat)")


def two_classes(source: Path) -> None:
    for i in range(3):
        exudate, aneurysm = disc(9 + i, 10), disc(25, 25, 3)
        save(source / "images" / f"{i}.png", picture(exudate | aneurysm, i))
        save(source / "masks" / f"{i}_EX.png", exudate * 255)
        save(source / "masks" / f"{i}_MA.png", aneurysm * 255)


@pytest.mark.parametrize(
    "options",
    [
        {"masks": ["masks/{id}_EX.png", "masks/{id}_MA.png"], "classes": ["background", "EX", "MA"]},
        {"masks": {"EX": "masks/{id}_EX.png", "MA": "masks/{id}_MA.png"}},
        {"masks": {"MA": "masks/{id}_MA.png", "EX": "masks/{id}_EX.png"}, "classes": ["background", "EX", "MA"]},
    ],
    ids=["list", "table", "table with an order"],
)
def test_a_mask_for_each_class(tmp_path: Path, options: dict[str, Any]) -> None:
    two_classes(tmp_path / "t")
    whole = prepared(tmp_path / "t", **options)
    assert whole.classes == ("background", "EX", "MA")
    for i, case in enumerate(whole.case_ids):
        np.testing.assert_array_equal(whole.label(case), disc(9 + i, 10) + 2 * disc(25, 25, 3))


def test_a_class_without_its_file(tmp_path: Path) -> None:
    two_classes(tmp_path / "t")
    (tmp_path / "t" / "masks" / "1_EX.png").unlink()
    masks = {"EX": "masks/{id}_EX.png", "MA": "masks/{id}_MA.png"}
    with pytest.raises(DataError, match=r"case '1' has no file masks/\{id\}_EX\.png"):
        cases_of(tmp_path / "t", masks=masks)
    whole = prepared(tmp_path / "t", masks=masks, missing_masks="empty")
    np.testing.assert_array_equal(whole.label("1"), 2 * disc(25, 25, 3))
    (tmp_path / "t" / "masks" / "1_MA.png").unlink()
    with pytest.raises(DataError, match=r"no mask for images/1\.png"):
        cases_of(tmp_path / "t", masks=masks, missing_masks="empty")


def test_a_pixel_of_two_classes(tmp_path: Path) -> None:
    two_classes(tmp_path / "t")
    save(tmp_path / "t" / "masks" / "1_MA.png", disc(10, 10, 2) * 255)
    masks = {"EX": "masks/{id}_EX.png", "MA": "masks/{id}_MA.png"}
    with pytest.raises(DataError, match=r"1_MA\.png: 13 of its pixels of class 'MA' are of class 'EX' too"):
        prepared(tmp_path / "t", masks=masks)
    whole = prepared(tmp_path / "t", masks=masks, overlaps="last")
    np.testing.assert_array_equal(whole.label("1"), disc(10, 10) + disc(10, 10, 2))


def test_a_mask_for_each_lesion_is_united(tmp_path: Path) -> None:
    """BUSI's second lesion of an image is `NAME_mask_1.png`."""
    options = same_folder(tmp_path / "t")
    save(tmp_path / "t" / "benign (2)_mask_1.png", disc(26, 5, 3) * 255)
    whole = prepared(tmp_path / "t", **(options | {"masks": "{id}_mask*.png"}), unite=True)
    np.testing.assert_array_equal(whole.label("benign (2)"), disc(12, 20) | disc(26, 5, 3))
    np.testing.assert_array_equal(whole.label("benign (1)"), disc(11, 20))
    with pytest.raises(DataError, match=r"two files.*options\.unite = true"):
        cases_of(tmp_path / "t", **(options | {"masks": "{id}_mask*.png"}))


def test_a_changed_second_mask_changes_the_key(tmp_path: Path) -> None:
    options = same_folder(tmp_path / "t")
    save(tmp_path / "t" / "benign (2)_mask_1.png", disc(26, 5, 3) * 255)
    before = prepared(tmp_path / "t", **(options | {"masks": "{id}_mask*.png"}), unite=True).key
    save(tmp_path / "t" / "benign (2)_mask_1.png", disc(26, 5, 2) * 255)
    assert prepared(tmp_path / "t", **(options | {"masks": "{id}_mask*.png"}), unite=True).key != before


def test_several_files_are_channels(tmp_path: Path) -> None:
    source = tmp_path / "t"
    for i in range(3):
        save(source / f"{i}_red.png", picture(disc(9, 10), i))
        save(source / f"{i}_nir.png", picture(disc(20, 20), i + 9))
        save(source / f"{i}_truth.png", disc(20, 20) * 255)
    patterns = {"images": ["{id}_red.png", "{id}_nir.png"], "masks": "{id}_truth.png"}
    whole = prepared(source, **patterns, channels=2)
    assert whole.channels == 2
    label = whole.label("1").ravel()
    assert np.corrcoef(whole.image("1")[..., 1].ravel(), label)[0, 1] > 0.9
    assert abs(np.corrcoef(whole.image("1")[..., 0].ravel(), label)[0, 1]) < 0.3
    np.testing.assert_allclose(whole.image("1").std(axis=(0, 1)), 1, atol=1e-4)
    with pytest.raises(ParameterError, match=r"channels = 3: 2 files for each image make 2 channels \(grey\) or 6"):
        get_reader("image-folder", patterns)
    save(source / "2_nir.png", picture(disc(20, 20, size=40)))
    with pytest.raises(DataError, match=r"2_nir\.png: 40×40 pixels, but 2_red\.png has 32×32"):
        prepared(source, **patterns, channels=2)
    (source / "2_nir.png").unlink()
    with pytest.raises(DataError, match=r"no file \{id\}_nir\.png for 2_red\.png"):
        cases_of(source, **patterns, channels=2)


def test_one_file_of_five_channels(tmp_path: Path) -> None:
    source = tmp_path / "t"
    bands = np.random.default_rng(0).integers(0, 4000, (32, 32, 5), np.uint16)
    for i in range(3):
        (source / "images").mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(source / "images" / f"{i}.tif", bands + i, photometric="minisblack", planarconfig="contig")
        save(source / "masks" / f"{i}.png", disc(9, 10) * 255)
    whole = prepared(source, channels=5)
    assert whole.image("0").shape == (32, 32, 5)
    assert np.corrcoef(whole.image("0")[..., 4].ravel(), bands[..., 4].ravel())[0, 1] > 0.999
    with pytest.raises(DataError, match=r"0\.tif: the image has 5 channels, expected 3"):
        prepared(source, channels=3)


def test_colours_are_classes(tmp_path: Path) -> None:
    source = tmp_path / "t"
    label = disc(9, 10) + 2 * disc(25, 25, 3)
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 255]], np.uint8)
    for i in range(3):
        save(source / "images" / f"{i}.png", picture(label, i))
        save(source / "masks" / f"{i}.png", palette[label])
    options = {"classes": ["background", "a", "b"]}
    colours = {"#000000": 0, "#FF0000": 1, "#0080ff": 2}
    whole = prepared(source, **options, colours=colours)
    np.testing.assert_array_equal(whole.label("0"), label)
    indexed = Image.fromarray(label, mode="P")
    indexed.putpalette(palette.ravel().tolist())
    indexed.save(source / "masks" / "1.png")
    np.testing.assert_array_equal(prepared(source, **options, colours=colours).label("1"), label)
    del colours["#0080ff"]
    with pytest.raises(DataError, match=r"masks/0\.png: the colours #0080ff are not in options\.colours"):
        prepared(source, **options, colours=colours)
    with pytest.raises(ParameterError, match="is not a colour"):
        prepared(source, colours={"red": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": ["a/{id}.png"], "classes": ["background", "a", "b"]}, "a pattern for each class"),
        ({"masks": {"a": "a/{id}.png"}, "classes": ["background", "b"]}, "name the same"),
        ({"masks": {"background": "a/{id}.png"}}, "the background is not named there"),
        ({"masks": {"a": "a/{id}.png"}, "label_map": {"1": 1}}, "each class has its own"),
        ({"masks": {"a": "m/{id}.png", "b": "m/{id}.png"}}, "a pattern is there twice"),
        ({"channels": 0}, "channels = 0"),
    ],
)
def test_options_that_do_not_fit_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        get_reader("image-folder", options)
