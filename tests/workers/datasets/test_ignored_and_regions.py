"""Pixels that count for nothing, and nested regions: from masks to prepared arrays and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from trials.results import Score
from trials.spec import EvaluationSpec
from workers.datasets import check, contact_sheet, get_reader
from workers.datasets.folder import PreparedDataset
from workers.datasets.prepared import prepare
from workers.datasets.preprocessing import IGNORED
from workers.datasets.regions import members_of, values_of
from workers.errors import DataError, ParameterError
from workers.scoring.cases import score_prediction
from workers.scoring.native import save_regions

Bits = npt.NDArray[np.uint8]
NESTED = {"whole": [1, 2, 4], "core": [1, 4], "enhancing": [4]}


def square(top: int, left: int, size: int) -> Bits:
    mask = np.zeros((32, 32), np.uint8)
    mask[top : top + size, left : left + size] = 1
    return mask


def folder(path: Path, masks: Bits, count: int = 3) -> Path:
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (path / part).mkdir(parents=True)
    for i in range(count):
        grey = rng.integers(0, 80, (32, 32)) + 100 * (masks.reshape(32, 32, -1)[..., 0] > 0)
        Image.fromarray(grey.astype(np.uint8)).save(path / "images" / f"{i}.png")
        Image.fromarray(masks).save(path / "masks" / f"{i}.png")
    return path


def prepared(source: Path, **options: Any) -> PreparedDataset:
    return prepare(get_reader("image-folder", options), source, source.with_name("prepared"), processes=1)


def scores(whole: PreparedDataset, prediction: Bits, *chosen: str) -> dict[str, Score]:
    probabilities = np.eye(len(whole.classes), dtype=np.float32)[prediction] if chosen else None
    found = score_prediction(
        whole, "0", prediction, EvaluationSpec(), "test", chosen=chosen, probabilities=probabilities
    )
    return {score.label: score for score in found}


LESION, BORDER = square(4, 4, 10), square(20, 0, 8)


@pytest.mark.parametrize(
    ("mask", "options"),
    [
        (LESION + 254 * BORDER * 1, {"ignore_label": 254}),
        (LESION * 255 + 128 * BORDER, {"ignore_label": 128}),
        (LESION * 7 + 9 * BORDER, {"label_map": {0: 0, 7: 1}, "ignore_label": 9}),
        (
            np.stack([255 * (LESION | BORDER), 255 * BORDER, 255 * BORDER], axis=-1),
            {"colours": {"#000000": 0, "#ff0000": 1}, "ignore_label": "#ffffff"},
        ),
    ],
    ids=["0, 1 and 254", "0, 128 and 255", "label map", "colours"],
)
@pytest.mark.parametrize("resampling", ["nearest", "area"])
def test_ignored_pixels_are_of_no_class(tmp_path: Path, mask: Bits, options: dict[str, Any], resampling: str) -> None:
    source = folder(tmp_path / "t", mask.astype(np.uint8))
    size = {"size": [16, 16], "mask_resampling": resampling}
    whole = prepared(source, **options, **size)
    assert whole.ignores
    expected = (LESION + IGNORED * BORDER)[::2, ::2]
    np.testing.assert_array_equal(whole.label("0"), expected)
    assert whole.case("0").voxels == (256 - 25 - 16, 25)
    assert set(whole.label("0")[tuple(whole.foreground("0").T)]) == {1}
    report = check(get_reader("image-folder", {**options, **size}), source)
    assert report.ok
    assert report.foreground["foreground"] == pytest.approx(100 * 100 / 1024)


def test_without_the_option_the_value_is_refused(tmp_path: Path) -> None:
    source = folder(tmp_path / "t", LESION * 7 + 9 * BORDER)
    with pytest.raises(DataError, match="mask values 9 are not in the label_map"):
        prepared(source, label_map={0: 0, 7: 1})


def test_ignored_pixels_change_no_score(tmp_path: Path) -> None:
    whole = prepared(folder(tmp_path / "t", LESION + 254 * BORDER), ignore_label=254)
    right = scores(whole, LESION, "brier")["foreground"]
    wrong_there = scores(whole, LESION | BORDER, "brier")["foreground"]
    assert right.values["dsc"] == wrong_there.values["dsc"] == 1
    assert right.values == wrong_there.values
    assert scores(whole, LESION | square(0, 20, 2))["foreground"].values["dsc"] < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_map": {0: 0, 1: 1}, "ignore_label": 1}, "it is a class, too"),
        ({"ignore_label": "#ffffff"}, "give a whole number"),
        ({"colours": {"#000000": 0, "#ff0000": 1}, "ignore_label": 3}, "give a colour"),
        ({"regions": {"a": [1, 2], "b": [2, 3]}}, "regions must be nested"),
        ({"regions": {"a": [1, 2], "b": [2, 1]}}, "the same values"),
        ({"regions": {"a": [0, 1]}}, "mask values other than 0"),
        ({"regions": {"a": [1, 2], "b": [2]}, "label_map": {0: 0, 1: 1}}, "choose one"),
        ({"regions": {"a": [1, 2], "b": [2]}, "classes": ["background", "a", "c"]}, "name the same"),
    ],
)
def test_options_that_do_not_fit_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        get_reader("image-folder", options)


def tumour() -> Bits:
    """Edema (2) around necrosis (1) around enhancing tumour (4), with BraTS' values."""
    return (2 * square(2, 2, 20) - square(5, 5, 12) + 3 * square(8, 8, 5)).astype(np.uint8)


def test_a_pixel_has_the_class_of_the_innermost_region() -> None:
    assert values_of({"whole": [1, 2, 4], "core": [1, 4], "enhancing": [4]}) == {0: 0, 2: 1, 1: 2, 4: 3}
    assert members_of({"whole": [1, 2, 4], "core": [1, 4], "enhancing": [4]}) == ((0,), (1, 2, 3), (2, 3), (3,))
    assert members_of({"left": [1], "organ": [1, 2, 3], "right": [2]}) == ((0,), (1,), (1, 2, 3), (3,))


def test_regions_are_counted_as_a_whole(tmp_path: Path) -> None:
    source = folder(tmp_path / "t", tumour())
    whole = prepared(source, regions=NESTED)
    assert whole.classes == ("background", "whole", "core", "enhancing")
    np.testing.assert_array_equal(whole.label("0"), square(2, 2, 20) + square(5, 5, 12) + square(8, 8, 5))
    assert whole.case("0").voxels == whole.case("0").native_voxels == (1024 - 400, 400, 144, 25)
    shares = check(get_reader("image-folder", {"regions": NESTED}), source).foreground
    assert shares == pytest.approx({"whole": 39.0625, "core": 14.0625, "enhancing": 2.44140625})


def test_a_value_of_no_region_is_refused(tmp_path: Path) -> None:
    source = folder(tmp_path / "t", tumour() + 5 * square(30, 30, 2))
    with pytest.raises(DataError, match="mask values 5 are not"):
        prepared(source, regions=NESTED)


def test_regions_are_scored_as_a_whole(tmp_path: Path) -> None:
    """What is taken for edema within the core is still right for the whole tumour."""
    whole = prepared(folder(tmp_path / "t", tumour()), regions=NESTED)
    found = scores(whole, square(2, 2, 20) + square(8, 8, 5) * 2, "brier")
    assert found["whole"].values["dsc"] == 1
    assert found["core"].values["dsc"] == pytest.approx(2 * 25 / (144 + 25))
    assert found["enhancing"].values["dsc"] == 1
    assert [found[name].values["size"] for name in NESTED] == [400, 144, 25]
    assert found["whole"].values["brier"] == 0
    assert found["core"].values["brier"] == pytest.approx((144 - 25) / 1024)


def test_regions_are_drawn_as_a_whole(tmp_path: Path) -> None:
    """The outline of the whole tumour runs around it, and not around the edema's inner border."""
    whole = prepared(folder(tmp_path / "t", tumour()), regions=NESTED)
    sheet = np.array(Image.open(contact_sheet(whole, tmp_path / "sheet.png", cases=["0"])))
    blue = np.argwhere((sheet == (86, 180, 233)).all(axis=-1))
    inside = np.argwhere((sheet == (230, 159, 0)).all(axis=-1))
    assert len(inside) > 0
    (top, left), (bottom, right) = blue.min(axis=0), blue.max(axis=0)
    assert len(blue) <= 2 * (bottom - top + right - left + 2)


def test_other_regions_are_another_data_set(tmp_path: Path) -> None:
    source = folder(tmp_path / "t", tumour())
    first = prepared(source, regions=NESTED).key
    assert prepared(source, regions={"whole": [1, 2, 4], "core": [4], "x": [1]}).key != first
    assert prepared(source, label_map={0: 0, 1: 1, 2: 1, 4: 1}).key != first


def test_regions_are_written_as_a_whole(tmp_path: Path) -> None:
    whole = prepared(folder(tmp_path / "t", tumour()), regions=NESTED)
    paths = save_regions(whole.native_label("0"), tmp_path / "out", whole.case("0"), whole)
    assert [path.name for path in paths] == ["0.whole.png", "0.core.png", "0.enhancing.png"]
    for path, size in zip(paths, (400, 144, 25), strict=True):
        assert np.array(Image.open(path)).sum() == size


def volumes(path: Path, labels: npt.NDArray[np.integer], write: Any, count: int = 3) -> Path:
    rng = np.random.default_rng(0)
    for i in range(count):
        write(path / f"p{i}" / "t1.nii.gz", rng.normal(size=labels.shape).astype(np.float32))
        write(path / f"p{i}" / "seg.nii.gz", labels)
    return path


def nested_volume() -> npt.NDArray[np.int16]:
    label = np.zeros((12, 10, 8), np.int16)
    label[2:10, 2:8, 2:6] = 2
    label[4:8, 4:8, 2:6] = 1
    label[5:7, 5:7, 3:5] = 4
    return label


PATTERNS = {"images": ["{id}/t1.nii.gz"], "labels": "{id}/seg.nii.gz"}


def volume_set(source: Path, **options: Any) -> PreparedDataset:
    return prepare(get_reader("nifti-folder", options), source, source.with_name("prepared"), processes=1)


def test_regions_and_ignored_voxels_of_volumes(tmp_path: Path, write_volume: Any) -> None:
    label = nested_volume()
    label[0] = 9
    whole = volume_set(volumes(tmp_path / "t", label, write_volume), **PATTERNS, regions=NESTED, ignore_label=9)
    assert whole.ignores
    assert whole.case("p0").voxels == (960 - 80 - 192, 192, 64, 8)
    native = whole.native_label("p0")
    assert set(np.unique(native)) == {0, 1, 2, 3, IGNORED}
    np.testing.assert_array_equal(native == IGNORED, label == 9)
    np.testing.assert_array_equal(native == 3, label == 4)


def test_slices_of_ignored_voxels_alone_are_not_labelled(tmp_path: Path, write_volume: Any) -> None:
    label = nested_volume()
    label[:, :, 7] = 9
    source = volumes(tmp_path / "t", label, write_volume)
    options = {"regions": NESTED, "ignore_label": 9, "slices": "axial", "labelled": True}
    found = get_reader("nifti-folder", {**PATTERNS, **options}).find_cases(source)
    assert [case.id for case in found if case.id.startswith("p0")] == [f"p0-axial-{z:03d}" for z in range(2, 6)]


def test_labels_above_255(tmp_path: Path, write_volume: Any) -> None:
    """Atlases number their structures by thousands; 1017 modulo 256 is 249."""
    label = np.where(nested_volume() > 0, 1017, 0).astype(np.int32)
    label[0, 0, 0] = 14175
    source = volumes(tmp_path / "t", label, write_volume)
    classes = ["background", "a", "b"]
    whole = volume_set(source, **PATTERNS, classes=classes, label_map={"0": 0, "1017": 1, "14175": 2})
    assert whole.case("p0").native_voxels == (960 - 193, 192, 1)
    with pytest.raises(DataError, match="label values 14175 are not expected"):
        volume_set(source, **PATTERNS, label_map={"0": 0, "1017": 1})


def test_labels_above_255_in_images(tmp_path: Path) -> None:
    source = folder(tmp_path / "t", LESION.astype(np.uint16) * 3017 + BORDER.astype(np.uint16) * 65535)
    whole = prepared(source, label_map={0: 0, 3017: 1}, ignore_label=65535)
    np.testing.assert_array_equal(whole.label("0"), LESION + IGNORED * BORDER)


def test_nnu_nets_regions_and_ignored_value_are_taken_from_its_description(tmp_path: Path, write_volume: Any) -> None:
    label = nested_volume()
    label[0] = 5
    for i in range(3):
        rng = np.random.default_rng(i)
        write_volume(tmp_path / "t" / "imagesTr" / f"c{i}_0000.nii.gz", rng.normal(size=label.shape).astype(np.float32))
        write_volume(tmp_path / "t" / "labelsTr" / f"c{i}.nii.gz", label)
    labels = {"background": 0, "whole": [1, 2, 4], "core": [1, 4], "enhancing": [4], "ignore": 5}
    description = {"channel_names": {"0": "T1"}, "labels": labels, "numTraining": 3, "file_ending": ".nii.gz"}
    (tmp_path / "t" / "dataset.json").write_text(json.dumps(description))
    whole = volume_set(tmp_path / "t")
    assert whole.classes == ("background", "whole", "core", "enhancing")
    assert whole.case("c0").voxels == (960 - 80 - 192, 192, 64, 8)
    assert whole.ignores
    assert whole.members == ((0,), (1, 2, 3), (2, 3), (3,))


def test_the_patient_is_named_by_a_folder_of_volumes(tmp_path: Path, write_volume: Any) -> None:
    for visit in ("v1", "v2"):
        volumes(tmp_path / "t" / visit, nested_volume(), write_volume, count=2)
    patterns = {"images": ["{id}/{group}/t1.nii.gz"], "labels": "{id}/{group}/seg.nii.gz"}
    whole = volume_set(tmp_path / "t", **patterns, regions=NESTED)
    assert [(case.id, case.group) for case in whole.cases] == [
        ("p0-v1", "p0"),
        ("p0-v2", "p0"),
        ("p1-v1", "p1"),
        ("p1-v2", "p1"),
    ]
