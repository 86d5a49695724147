"""The generic readers: any images, any NIfTI volumes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from workers.datasets import check, get_reader
from workers.datasets.patterns import match_files
from workers.datasets.prepared import prepare
from workers.errors import DataError, ParameterError


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("images/{id}.png", {"a": "images/a.png", "b.c": "images/b.c.png"}),
        ("images/{id}.*", {"a": "images/a.png", "b": "images/b.c.png"}),
        ("{id}/ct.nii.gz", {"p1": "p1/ct.nii.gz"}),
        ("{id}/{id}_ct.nii", {"p2": "p2/p2_ct.nii"}),
        ("**/{id}.bmp", {"deep": "x/y/deep.bmp", "top": "top.bmp"}),
        ("images/pre_{id}.tif", {"7": "images/pre_7.tif"}),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, expected: dict[str, str]) -> None:
    names = ["images/a.png", "images/b.c.png", "images/.hidden.png", "images/pre_7.tif", "p1/ct.nii.gz"]
    names += ["p2/p2_ct.nii", "p2/p3_ct.nii", "x/y/deep.bmp", "top.bmp"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "images" / "folder.png").mkdir()
    wanted = {case: tmp_path / path for case, path in expected.items()}
    if pattern == "images/{id}.*":
        wanted["pre_7"] = tmp_path / "images" / "pre_7.tif"
    assert match_files(tmp_path, pattern) == wanted


@pytest.mark.parametrize("pattern", ["images/*.png", "/etc/{id}", "../{id}.png", "a/../../{id}"])
def test_patterns_that_lead_nowhere_are_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ParameterError, match="give a path inside the folder"):
        match_files(tmp_path, pattern)


def test_pairs_that_do_not_match_are_listed(image_folder: Path) -> None:
    reader = get_reader("image-folder")
    shutil.copy(image_folder / "images" / "c1.png", image_folder / "images" / "c1.tif")
    with pytest.raises(DataError, match=r"case 'c1' has two files: images/c1\.png and images/c1\.tif"):
        reader.find_cases(image_folder)
    (image_folder / "images" / "c1.tif").unlink()
    (image_folder / "masks" / "c4.png").unlink()
    with pytest.raises(DataError, match=r"no mask for images/c4\.png"):
        reader.find_cases(image_folder)
    (image_folder / "images" / "c4.png").unlink()
    (image_folder / "images" / "c5.png").unlink()
    with pytest.raises(DataError, match=r"no image for masks/c5\.png"):
        reader.find_cases(image_folder)
    with pytest.raises(DataError, match=r"no images found. Expected scans/\{id\}.png"):
        get_reader("image-folder", {"images": "scans/{id}.png"}).find_cases(image_folder)


def test_groups_come_from_the_names(image_folder: Path) -> None:
    cases = get_reader("image-folder", {"group": "c([0-9])"}).find_cases(image_folder)
    assert [case.group for case in cases] == list("012345")
    assert {case.group for case in get_reader("image-folder").find_cases(image_folder)} == {None}


def test_several_classes_through_a_label_map(image_folder: Path, tmp_path: Path) -> None:
    for path in (image_folder / "masks").iterdir():
        Image.fromarray(np.resize(np.array([0, 100, 200], np.uint8), (24, 32))).save(path)
    options = {"classes": ["background", "cell", "wall"], "label_map": {"0": 0, "100": 2, "200": 1}}
    prepared = prepare(get_reader("image-folder", options), image_folder, tmp_path / "root")
    np.testing.assert_array_equal(prepared.label("c0"), np.resize([0, 2, 1], (24, 32)))
    assert prepared.cases[0].voxels == (256, 256, 256)


@pytest.mark.slow
def test_check_reports_everything_at_once(image_folder: Path) -> None:
    Image.new("L", (32, 24)).save(image_folder / "masks" / "c0.png")
    Image.new("RGB", (32, 24), (9, 9, 9)).save(image_folder / "images" / "c1.png")
    Image.new("L", (30, 24), 255).save(image_folder / "masks" / "c2.png")
    shutil.copy(image_folder / "images" / "c3.png", image_folder / "images" / "c4.png")
    report = check(get_reader("image-folder"), image_folder)
    found = [(problem.severity, problem.case) for problem in report.problems]
    assert found == [("error", "c1"), ("error", "c2"), ("warning", "c0"), ("warning", "c3")]
    messages = [problem.message for problem in report.problems]
    assert "every value of the image is 9" in messages[0]
    assert "its mask 24×30" in messages[1]
    assert "c0.png: the mask is empty" in messages[2]
    assert "the same image as c4" in messages[3]
    assert report.cases == 4
    assert not report.ok
    json.dumps(report.to_dict())
    left = check(get_reader("image-folder"), image_folder, exclude=["c1", "c2"], processes=2)
    assert left.ok
    assert [tuple(e) for e in left.excluded] == [(c, "excluded by a setting") for c in ("c1", "c2")]
    assert "excluded c1" in left.text()


def test_check_counts_foreground_per_image(image_folder: Path) -> None:
    expected = [np.asarray(Image.open(path)).mean() / 255 * 100 for path in sorted((image_folder / "masks").iterdir())]
    report = check(get_reader("image-folder", {"size": [4, 4]}), image_folder)
    assert report.foreground["foreground"] == pytest.approx(np.mean(expected))
    assert report.shapes == {(24, 32): 6}
    assert "foreground: " in report.text()


@pytest.fixture
def volumes(tmp_path: Path, write_volume: Any) -> Path:
    """Two volumes (x, y, z) = (6, 8, 10), two channels, with a few labels; outside of a ball they are 0."""
    folder = tmp_path / "volumes"
    rng = np.random.default_rng(0)
    x, y, z = np.indices((6, 8, 10))
    ball = (x - 3) ** 2 + (y - 4) ** 2 + (z - 5) ** 2 < 9
    for case in ("p1", "p2"):
        label = (ball & (rng.random(ball.shape) < 0.1)).astype(np.uint8)
        for channel in ("flair", "t1"):
            values = np.where(ball, rng.normal(100, 10, ball.shape), 0).astype(np.float32)
            write_volume(folder / case / f"{channel}.nii.gz", values, np.diag([1.0, 1.0, 2.0, 1.0]))
        write_volume(folder / case / "seg.nii.gz", label, np.diag([1.0, 1.0, 2.0, 1.0]))
    return folder


OPTIONS: dict[str, Any] = {"images": ["{id}/flair.nii.gz", "{id}/t1.nii.gz"], "labels": "{id}/seg.nii.gz"}


def test_volumes_of_several_channels(volumes: Path, tmp_path: Path) -> None:
    prepared = prepare(get_reader("nifti-folder", OPTIONS), volumes, tmp_path / "root")
    assert prepared.case_ids == ("p1", "p2")
    assert prepared.channels == 2
    assert prepared.cases[0].shape == (10, 8, 6)
    assert prepared.cases[0].original_shape == (6, 8, 10)
    assert prepared.cases[0].spacing == (2.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("plane", "count", "shape"), [("axial", 10, (8, 6)), ("coronal", 8, (10, 6)), ("sagittal", 6, (10, 8))]
)
def test_slices_hold_the_whole_volume(
    volumes: Path, tmp_path: Path, plane: str, count: int, shape: tuple[int, int]
) -> None:
    reader = get_reader("nifti-folder", OPTIONS | {"slices": plane})
    assert reader.dimensions == 2
    cases = reader.find_cases(volumes)
    assert len(cases) == 2 * count
    assert {case.group for case in cases} == {"p1", "p2"}
    whole = get_reader("nifti-folder", OPTIONS)
    volume = whole.read_case(whole.find_cases(volumes)[0])
    read = [reader.read_case(case) for case in cases[:count]]
    assert {case.label.shape for case in read} == {shape}
    axis = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    for i, case in enumerate(read):
        # Rows of the picture go against the second-last canonical axis: head or front first.
        np.testing.assert_array_equal(case.label, np.take(volume.label, i, axis).T[::-1])
        np.testing.assert_array_equal(case.image[..., 1], np.take(volume.image[..., 1], i, axis).T[::-1])


def test_only_labelled_slices_and_every_nth(volumes: Path) -> None:
    labelled = get_reader("nifti-folder", OPTIONS | {"slices": "axial", "labelled": True})
    cases = labelled.find_cases(volumes)
    assert 0 < len(cases) < 20
    assert all(labelled.read_case(case).label.any() for case in cases)
    third = get_reader("nifti-folder", OPTIONS | {"slices": "axial", "step": 3}).find_cases(volumes)
    assert [case.id for case in third[:4]] == [f"p1-axial-{i:03d}" for i in (0, 3, 6, 9)]


def test_blocks_put_together_are_the_volume(volumes: Path) -> None:
    reader = get_reader("nifti-folder", OPTIONS | {"blocks": [3, 1, 2]})
    cases = reader.find_cases(volumes)
    assert [case.id for case in cases[:6]] == [f"p1-block-{z}0{x}" for z in range(3) for x in range(2)]
    parts = [reader.read_case(case) for case in cases[:6]]
    rows = [np.concatenate([parts[2 * z + x].label for x in range(2)], axis=2) for z in range(3)]
    whole = get_reader("nifti-folder", OPTIONS)
    volume = whole.read_case(whole.find_cases(volumes)[0])
    np.testing.assert_array_equal(np.concatenate(rows, axis=0), volume.label.transpose(2, 1, 0))
    # A block's affine says where in the body it lies.
    voxel = np.array([1, 2, 1])
    assert parts[5].affine is not None
    position = parts[5].affine @ [*voxel, 1]
    index = np.rint(np.linalg.inv(np.diag([1.0, 1.0, 2.0, 1.0])) @ position).astype(int)[:3]
    assert parts[5].image[tuple(voxel)][0] == volume.image[tuple(index)][0]


def test_a_nested_class_from_what_is_not_zero(volumes: Path, tmp_path: Path) -> None:
    options = {"classes": ["background", "brain", "lesion"], "label_map": {"0": 0, "1": 2}, "nonzero": 1}
    prepared = prepare(get_reader("nifti-folder", OPTIONS | options), volumes, tmp_path / "root")
    whole = get_reader("nifti-folder", OPTIONS)
    volume = whole.read_case(whole.find_cases(volumes)[0])
    expected = np.where(volume.label > 0, 2, volume.image[..., 0] != 0).transpose(2, 1, 0)
    np.testing.assert_array_equal(prepared.label("p1"), expected)
    assert set(np.unique(expected)) == {0, 1, 2}


def test_a_changed_file_is_not_served_from_memory(volumes: Path, write_volume: Any) -> None:
    reader = get_reader("nifti-folder", OPTIONS | {"slices": "axial"})
    case = reader.find_cases(volumes)[5]
    before = reader.read_case(case).image
    for channel in ("flair", "t1"):
        write_volume(
            volumes / "p1" / f"{channel}.nii.gz", np.ones((6, 8, 10), np.float32), np.diag([1.0, 1.0, 2.0, 1.0])
        )
    assert not np.array_equal(reader.read_case(case).image, before)


def test_channels_on_different_grids_are_refused(volumes: Path, write_volume: Any) -> None:
    write_volume(volumes / "p2" / "t1.nii.gz", np.ones((6, 8, 10), np.float32), np.diag([1.0, 1.0, 3.0, 1.0]))
    reader = get_reader("nifti-folder", OPTIONS)
    with pytest.raises(DataError, match=r"p2/t1\.nii\.gz: lies up to 9 mm away from .*p2/flair\.nii\.gz by"):
        reader.read_case(reader.find_cases(volumes)[1])
    (volumes / "p1" / "t1.nii.gz").unlink()
    with pytest.raises(DataError, match=r"no \{id\}/t1\.nii\.gz for p1/flair"):
        reader.find_cases(volumes)


@pytest.fixture
def decathlon(volumes: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "Task99"
    for kind, name in (("imagesTr", "flair"), ("labelsTr", "seg")):
        (folder / kind).mkdir(parents=True)
        for case in ("p1", "p2"):
            shutil.copy(volumes / case / f"{name}.nii.gz", folder / kind / f"{case}.nii.gz")
    training = [{"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"} for case in ("p2", "p1")]
    description = {"labels": {"0": "background", "1": "lesion"}, "training": training, "name": "Task99"}
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def test_the_decathlon_layout(decathlon: Path, tmp_path: Path) -> None:
    prepared = prepare(get_reader("nifti-folder"), decathlon, tmp_path / "root")
    assert prepared.case_ids == ("p1", "p2")
    assert prepared.channels == 1


def test_what_is_wrong_with_a_decathlon_folder_is_said(decathlon: Path) -> None:
    reader = get_reader("nifti-folder")
    description = json.loads((decathlon / "dataset.json").read_text())

    def refused(match: str, **changes: object) -> None:
        (decathlon / "dataset.json").write_text(json.dumps(description | changes))
        with pytest.raises(DataError, match=match):
            reader.find_cases(decathlon)

    refused("not a description", training=7)
    refused("not a description", labels={"1": "x"})
    entry = description["training"][0]
    refused("'p2' is named twice", training=[entry, entry])
    refused(r"nowhere\.nii\.gz: no such file", training=[{"image": "imagesTr/nowhere.nii.gz", "label": entry["label"]}])
    refused("leads out of the folder", training=[{"image": "../volumes/p1/flair.nii.gz", "label": entry["label"]}])
    (decathlon / "dataset.json").unlink()
    with pytest.raises(DataError, match=r"dataset\.json: no such file; add it, or set the patterns"):
        reader.find_cases(decathlon)
