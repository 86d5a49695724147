"""dataset.json in the forms in which people have it: the Decathlon's, and those of both versions of nnU-Net."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.datasets import check, get_reader
from workers.datasets.prepared import PreparedDataset, preparation_key, prepare
from workers.errors import DataError

SHAPE = (10, 9, 8)


def ball(radius: int = 3) -> np.ndarray:
    grid = np.indices(SHAPE)
    return (sum((axis - 4) ** 2 for axis in grid) <= radius**2).astype(np.uint8)


def picture(seed: int, mask: np.ndarray) -> np.ndarray:
    return (np.random.default_rng(seed).normal(40, 20, SHAPE) + 200 * (mask > 0)).astype(np.int16)


@pytest.fixture
def write(tmp_path: Path, write_volume: Any) -> Any:
    """Writes a folder: images by name, label volumes by name, and its dataset.json."""

    def folder(name: str, images: dict[str, Any], labels: dict[str, Any], description: object) -> Path:
        for path, values in images.items():
            write_volume(tmp_path / name / "imagesTr" / path, values)
        for path, values in labels.items():
            write_volume(tmp_path / name / "labelsTr" / path, values)
        text = description if isinstance(description, str) else json.dumps(description)
        (tmp_path / name / "dataset.json").write_text(text, encoding="utf-8")
        return tmp_path / name

    return folder


def listed(*cases: str) -> list[dict[str, str]]:
    return [{"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"} for case in cases]


def ready(folder: Path, **options: Any) -> PreparedDataset:
    return prepare(get_reader("nifti-folder", options), folder, folder.parent / "root")


def correlations(prepared: PreparedDataset, case: str) -> list[float]:
    label = np.asarray(prepared.label(case)).ravel() > 0
    image = np.asarray(prepared.image(case))
    return [float(np.corrcoef(image[..., c].ravel(), label)[0, 1]) for c in range(image.shape[-1])]


CASES = ("BRATS_001", "BRATS_002", "BRATS_003")
FOUR = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}


def four(seed: int, lit: int) -> np.ndarray:
    """Four volumes, of which the lit one alone shows the ball."""
    return np.stack([picture(seed + i, ball() * (i == lit)) for i in range(4)], axis=-1)


def test_the_decathlons_files_of_four_volumes(write: Any) -> None:
    source = write(
        "brain",
        {f"{case}.nii.gz": four(i, 2) for i, case in enumerate(CASES)},
        {f"{case}.nii.gz": ball() for case in CASES},
        {
            "tensorImageSize": "4D",
            "modality": FOUR,
            "labels": {"0": "background", "1": "tumour"},
            "training": listed(*CASES),
        },
    )
    prepared = ready(source)
    assert prepared.case_ids == CASES
    assert prepared.channels == 4
    found = correlations(prepared, "BRATS_002")
    assert found[2] > 0.7
    assert max(abs(found[i]) for i in (0, 1, 3)) < 0.2
    np.testing.assert_allclose(prepared.image("BRATS_001").std(axis=(0, 1, 2)), 1, atol=1e-4)


def test_files_without_all_volumes_are_named(write: Any) -> None:
    images = {f"{case}.nii.gz": four(i, 2) for i, case in enumerate(CASES)}
    images["BRATS_002.nii.gz"] = four(1, 2)[..., :3]
    description = {"modality": FOUR, "labels": {"0": "background", "1": "tumour"}, "training": listed(*CASES)}
    source = write("brain", images, {f"{case}.nii.gz": ball() for case in CASES}, description)
    with pytest.raises(DataError, match=r"BRATS_002\.nii\.gz: holds 3 of 4 volumes.*FLAIR, T1w, t1gd, T2w"):
        ready(source)


def test_by_pattern_the_number_of_volumes_is_an_option(write: Any) -> None:
    source = write(
        "brain", {f"{case}.nii.gz": four(i, 1) for i, case in enumerate(CASES)},
        {f"{case}.nii.gz": ball()[..., None] for case in CASES}, {},
    )  # fmt: skip
    options = {"images": ["imagesTr/{id}.nii.gz"], "labels": "labelsTr/{id}.nii.gz"}
    with pytest.raises(DataError, match=r"shape 10×9×8×4.*options\.channels = 4"):
        ready(source, **options)
    assert correlations(ready(source, **options, channels=4), "BRATS_001")[1] > 0.7
    with pytest.raises(DataError, match="has 4 channels, expected 3"):
        ready(source, **options, channels=3)


@pytest.fixture
def two_files(write: Any) -> Any:
    """nnU-Net's files, a number for each channel; the second channel shows the lesion."""

    def folder(description: object, labels: Any = None) -> Path:
        images = {}
        for i in range(3):
            images |= {f"MS_{i}_0000.nii.gz": picture(i, 0 * ball()), f"MS_{i}_0001.nii.gz": picture(9 + i, ball())}
        lesion = ball() if labels is None else labels
        return write("nnunet", images, {f"MS_{i}.nii.gz": lesion for i in range(3)}, description)

    return folder


VERSION_2: dict[str, Any] = {
    "channel_names": {"0": "FLAIR", "1": "T1"},
    "labels": {"background": 0, "lesion": 1},
    "numTraining": 3,
    "file_ending": ".nii.gz",
}
VERSION_1: dict[str, Any] = {
    "modality": {"0": "FLAIR", "1": "T1"},
    "labels": {"0": "background", "1": "lesion"},
    "numTraining": 3,
    "training": listed("MS_0", "MS_1", "MS_2"),
}
ANYWHERE: dict[str, Any] = VERSION_2 | {
    "dataset": {
        f"MS_{i}": {
            "images": [f"imagesTr/MS_{i}_0000.nii.gz", f"imagesTr/MS_{i}_0001.nii.gz"],
            "label": f"labelsTr/MS_{i}.nii.gz",
        }
        for i in range(3)
    }
}


@pytest.mark.parametrize("description", [VERSION_1, VERSION_2, ANYWHERE], ids=["v1", "v2", "v2 with places"])
def test_nnunets_files(two_files: Any, description: dict[str, Any]) -> None:
    prepared = ready(two_files(description))
    assert prepared.case_ids == ("MS_0", "MS_1", "MS_2")
    assert prepared.channels == 2
    for case in prepared.case_ids:
        first, second = correlations(prepared, case)
        assert abs(first) < 0.2
        assert second > 0.7


def test_a_missing_channel_is_named(two_files: Any) -> None:
    source = two_files(VERSION_2)
    (source / "imagesTr" / "MS_1_0001.nii.gz").unlink()
    with pytest.raises(DataError, match=r"no imagesTr/\{id\}_0001\.nii\.gz for imagesTr/MS_1_0000\.nii\.gz"):
        ready(source)
    (source / "dataset.json").write_text(json.dumps(VERSION_1))
    with pytest.raises(DataError, match=r"MS_1_0001\.nii\.gz: no such file, though .*dataset\.json names it"):
        ready(source)


@pytest.mark.parametrize("version", [1, 2])
def test_classes_and_gaps_come_from_the_file(two_files: Any, version: int) -> None:
    values = {"background": 0, "liver": 1, "tumour": 4}
    labels: Any = {str(value): name for name, value in values.items()} if version == 1 else values
    lesion = ball() + 3 * ball(1)
    source = two_files((VERSION_1 if version == 1 else VERSION_2) | {"labels": labels}, lesion)
    prepared = ready(source)
    assert prepared.classes == ("background", "liver", "tumour")
    np.testing.assert_array_equal(prepared.native_label("MS_1"), ball() + ball(1))
    report = check(get_reader("nifti-folder"), source)
    assert report.ok
    assert list(report.foreground) == ["liver", "tumour"]
    typed = {"classes": ["background", "liver", "tumour"], "label_map": {"0": 0, "1": 1, "4": 2}}
    keys = {preparation_key(get_reader("nifti-folder", o), source, cache=source.parent) for o in ({}, typed)}
    assert len(keys) == 1
    with pytest.raises(DataError, match=r"3 classes: set classes = \[.*\], label_map = \{ 0 = 0, 1 = 1, 4 = 2 \}"):
        ready(source, classes=["background", "x", "y", "z"])


def test_a_single_structure_of_another_value_keeps_its_name(two_files: Any) -> None:
    source = two_files(VERSION_1 | {"labels": {"0": "background", "4": "lesion"}}, 4 * ball())
    prepared = ready(source)
    assert prepared.classes == ("background", "lesion")
    np.testing.assert_array_equal(prepared.native_label("MS_1"), ball())
    assert ready(source, classes=["background", "mine"]).classes == ("background", "mine")


def test_a_byte_order_mark_and_backslashes(two_files: Any) -> None:
    source = two_files(VERSION_1)
    (source / "dataset.json").write_text(json.dumps(VERSION_1).replace("/", "\\\\"), encoding="utf-8-sig")
    assert len(ready(source).cases) == 3


def test_files_may_be_links_to_another_folder(two_files: Any, tmp_path: Path) -> None:
    source = two_files(VERSION_1)
    for path in list(source.rglob("*.nii.gz")):
        kept = tmp_path / "elsewhere" / path.parent.name / path.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        path.rename(kept)
        path.symlink_to(kept)
    assert len(ready(source).cases) == 3


def test_excluded_cases_need_no_files(two_files: Any, tmp_path: Path) -> None:
    source = two_files(VERSION_1)
    (source / "labelsTr" / "MS_1.nii.gz").unlink()
    prepared = prepare(get_reader("nifti-folder"), source, tmp_path / "root", exclude=["MS_1"])
    assert prepared.case_ids == ("MS_0", "MS_2")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"", "not JSON, from line 1, column 1 on"),
        (b'{"labels": {"0": "background",}}', "not JSON, from line 1, column"),
        (b"\xff\xfe{\0}\0", "not a text in UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b"[1, 2]", "it is no table"),
        (b"{}", '"labels" has to be a table'),
        (b'{"labels": {"0": "background", "1": null}}', "no whole number for '1'"),
        (b'{"labels": {"1": "x"}}', "no background: the value 0"),
        (b'{"labels": {"background": 0, "a": 1, "b": 1}}', "the value 1 twice"),
        (b'{"labels": {"background": 0, "a": 1}, "modality": ["CT"]}', '"channel_names"'),
        (b'{"labels": {"background": 0, "a": 1}, "training": {}}', '"training" has to be a list'),
        (b'{"labels": {"background": 0, "a": 1}, "training": [{"image": "x"}]}', "entry 1 of its cases has no image"),
        (b'{"labels": {"background": 0, "a": 1}, "training": []}', "lists no case"),
        (b'{"labels": {"background": 0, "a": 1}, "training": [{"image": "/etc/x", "label": "y"}]}', "leads out"),
        (b'{"labels": {"background": 0, "a": 1}, "training": [{"image": "x", "label": "../y"}]}', "leads out"),
        (b'{"labels": {"background": 0, "left": [1, 2], "right": [2, 3]}}', "regions must be nested"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_of_our_own(two_files: Any, text: bytes, match: str) -> None:
    source = two_files({})
    (source / "dataset.json").write_bytes(text)
    with pytest.raises(DataError, match=match) as refused:
        ready(source)
    assert "dataset.json" in str(refused.value)
    assert "Error" not in str(refused.value)
    assert "\n" not in str(refused.value)
