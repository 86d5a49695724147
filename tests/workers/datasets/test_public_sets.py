"""The public sets beside the paper's, from synthetic files in exactly their layout to prepared arrays."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from workers.datasets import check, get_reader, synthesise
from workers.datasets.folder import PreparedDataset
from workers.datasets.prepared import prepare
from workers.datasets.splits import make_split
from workers.datasets.synthetic_public import DECATHLON
from workers.errors import DataError

PHOTOGRAPHS = ("chase_db1", "busi", "isic2017", "isic2018", "idrid")


def made(name: str, folder: Path, cases: int = 6) -> Path:
    return synthesise(name, cases, folder / name, 0, (48, 64))


def arrays(name: str, source: Path, **options: Any) -> PreparedDataset:
    reader = get_reader(name, {"size": [48, 64], **options})
    return prepare(reader, source, source.with_name("prepared"), processes=1)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_its_layout_from_files_to_arrays(name: str, tmp_path: Path) -> None:
    source = made(name, tmp_path)
    whole = arrays(name, source)
    assert (len(whole.cases), whole.provenance, whole.channels) == (6, "synthetic", 3)
    assert whole.classes == get_reader(name).classes
    for case in whole.cases:
        assert case.voxels[1], f"{case.id} has nothing of {whole.classes[1]}"
        image, label = whole.image(case.id).mean(axis=-1), whole.label(case.id)
        inside, outside = image[label == 1].mean(), image[label == 0].mean()
        assert inside < outside - 0.1, f"{case.id}: the mask does not lie where the image is dark"
    assert check(get_reader(name, {"size": [48, 64]}), source).ok


def test_both_eyes_of_a_child_are_a_group(tmp_path: Path) -> None:
    whole = arrays("chase_db1", made("chase_db1", tmp_path))
    assert whole.case_ids == ("01L", "01R", "02L", "02R", "03L", "03R")
    assert [case.group for case in whole.cases] == ["01", "01", "02", "02", "03", "03"]


def test_the_second_observers_vessels(tmp_path: Path) -> None:
    source = made("chase_db1", tmp_path)
    Image.fromarray(np.eye(48, 64, dtype=bool)).save(source / "Image_01L_2ndHO.png")
    np.testing.assert_array_equal(arrays("chase_db1", source, observer=2).label("01L"), np.eye(48, 64))
    assert arrays("chase_db1", source).label("01L").sum() > 64


def test_all_lesions_of_an_image_are_there(tmp_path: Path) -> None:
    source = made("busi", tmp_path)
    folder = source / "Dataset_BUSI_with_GT" / "benign"
    first, second = (np.array(Image.open(folder / f"benign (3)_mask{end}.png")) for end in ("", "_1"))
    assert second.any()
    whole = arrays("busi", source)
    np.testing.assert_array_equal(whole.native_label("benign (3)"), first | second)
    assert sum(case.id.startswith("malignant") for case in whole.cases) == 3


def test_images_without_a_lesion_when_they_are_asked_for(tmp_path: Path) -> None:
    source = made("busi", tmp_path)
    whole = arrays("busi", source, normal=True)
    assert len(whole.cases) == 7
    assert not whole.label("normal (1)").any()


@pytest.mark.parametrize("name", ["isic2017", "isic2018", "idrid"])
def test_the_official_test_set_is_kept(name: str, tmp_path: Path) -> None:
    source = made(name, tmp_path, cases=9)
    whole = arrays(name, source)
    official = {case.id for case in whole.cases if case.partition == "test"}
    assert len(official) == 3
    split = make_split(whole.cases, seed=0)
    assert set(split.test) == official


def test_without_the_test_set_the_split_is_drawn(tmp_path: Path) -> None:
    source = made("isic2018", tmp_path, cases=9)
    shutil.rmtree(source / "ISIC2018_Task1-2_Test_Input")
    shutil.rmtree(source / "ISIC2018_Task1_Test_GroundTruth")
    whole = arrays("isic2018", source)
    assert len(whole.cases) == 6
    assert {case.partition for case in whole.cases} == {None}


def test_lesions_of_five_files_are_classes(tmp_path: Path) -> None:
    """Real files mark in red; half of the images have no soft exudate, and no file of it."""
    source = made("idrid", tmp_path)
    truth = source / "A. Segmentation" / "2. All Segmentation Groundtruths" / "a. Training Set"
    red = np.zeros((48, 64, 3), np.uint8)
    red[10:14, 20:30, 0] = 255
    Image.fromarray(red).save(truth / "1. Microaneurysms" / "IDRiD_01_MA.tif")
    Image.fromarray(red.transpose(0, 1, 2)[:, ::-1]).save(truth / "5. Optic Disc" / "IDRiD_01_OD.tif")
    label = arrays("idrid", source, optic_disc=True).native_label("IDRiD_01")
    np.testing.assert_array_equal(label == 1, red[..., 0] > 0)
    assert {5} <= set(np.unique(label)) <= {0, 1, 2, 3, 4, 5}
    with_soft = {case.id for case in arrays("idrid", source).cases if case.native_voxels[4]}
    assert 0 < len(with_soft) < 6
    grey = np.linspace(0, 255, 64, dtype=np.uint8)[np.newaxis].repeat(48, axis=0)
    Image.fromarray(grey).save(truth / "2. Haemorrhages" / "IDRiD_01_HE.tif")
    with pytest.raises(DataError, match=r"IDRiD_01_HE\.tif: expected black and one other colour"):
        arrays("idrid", source)


@pytest.mark.parametrize("name", DECATHLON)
def test_a_task_of_the_decathlon(name: str, tmp_path: Path) -> None:
    task = DECATHLON[name]
    source = synthesise(name, 3, tmp_path / name, 0, (16, 20, 24))
    reader = get_reader(name)
    assert len(reader.classes) == len(task.labels) + 1
    cases = reader.find_cases(source)
    assert [case.id for case in cases] == [f"{task.stem}_{i:03d}" for i in (1, 2, 3)]
    case = reader.read_case(cases[0])
    assert case.image.shape == (24, 20, 16, len(task.modality))
    assert set(np.unique(case.label)) == set(range(len(reader.classes)))
    inner, outside = case.image[case.label == len(task.labels)], case.image[case.label == 0]
    assert (inner.mean(axis=0) > outside.mean(axis=0) + 30).all()
    assert reader.find_cases(source / task.folder) == cases


def test_another_task_is_refused(tmp_path: Path) -> None:
    source = synthesise("msd_heart", 3, tmp_path / "x", 0, (16, 20, 24))
    with pytest.raises(DataError, match=r"does not look like .*Task04_Hippocampus"):
        get_reader("msd_hippocampus").find_cases(source / "Task02_Heart")


def test_tumours_as_regions(tmp_path: Path) -> None:
    source = synthesise("msd_brain_tumour", 3, tmp_path / "x", 0, (16, 20, 24))
    regions = {"whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]}
    reader = get_reader("msd_brain_tumour", {"regions": regions})
    whole = prepare(reader, source, tmp_path / "prepared", processes=1)
    assert whole.classes == ("background", "whole", "core", "enhancing")
    assert whole.channels == 4
    _, all_of_it, core, enhancing = whole.cases[0].voxels
    assert all_of_it > core > enhancing > 0


@pytest.mark.parametrize(
    ("name", "images", "found"),
    [
        ("chase_db1", ("Image_01L.jpg", "Image_01R.jpg"), {"01L": "01", "01R": "01"}),
        (
            "busi",
            ("benign_001.png", "malignant_002.png", "normal_003.png"),
            {"benign_001": None, "malignant_002": None},
        ),
        ("isic2017", ("ISIC_0000001.jpg", "ISIC_0000002.jpg"), {"ISIC_0000001": None, "ISIC_0000002": None}),
    ],
)
def test_an_excerpt_in_two_folders(
    name: str, images: tuple[str, ...], found: dict[str, str | None], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for image in images:
        for folder in ("images", "masks", "masks_2nd"):
            (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 24, 3), np.uint8)).save(tmp_path / "images" / image)
        for folder, side in (("masks", 5), ("masks_2nd", 9)):
            mask = np.zeros((20, 24), np.uint8)
            mask[:side, :side] = 255
            Image.fromarray(mask).save(tmp_path / folder / Path(image).with_suffix(".png"))
    reader = get_reader(name)
    cases = reader.find_cases(tmp_path)
    assert {case.id: case.group for case in cases} == found
    assert [case.partition for case in cases] == [None] * len(found)
    assert reader.read_case(cases[0]).label.sum() == 25
    if name == "chase_db1":
        second = get_reader(name, {"observer": 2})
        assert second.read_case(second.find_cases(tmp_path)[0]).label.sum() == 81


@pytest.mark.parametrize("name", [*PHOTOGRAPHS, "msd_heart"])
def test_another_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DataError, match="does not look like"):
        get_reader(name).find_cases(tmp_path)
