"""Every reader of ours passes the checks; and each check finds what it is there for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workers.conformance import ConformanceError
from workers.datasets import Case, CaseFiles, Nuclei, Reader, get_reader, names, synthesise
from workers.datasets.conformance import check_reader, reader_checks
from workers.datasets.image_folder import ImageFolder
from workers.datasets.synthetic_public import DECATHLON
from workers.errors import ParameterError

PAPER = ("cvc_clinicdb", "drive", "bus2017", "brats20", "kits19")
PUBLIC = ("chase_db1", "busi", "isic2017", "isic2018", "idrid", "msd_hippocampus", "msd_brain_tumour")


@pytest.mark.parametrize("name", [*PAPER, *PUBLIC])
def test_those_of_public_sets(name: str) -> None:
    check_reader(get_reader(name))


def test_the_nuclei_that_come_with_the_project(tmp_path: Path) -> None:
    check_reader(get_reader("nuclei"), images(tmp_path, "png"))
    reader = get_reader("nuclei")
    source = reader.default_source()
    assert source is not None
    reader_checks(reader, source)["finds_the_same_cases_in_order"]()


def test_folders_by_pattern(tmp_path: Path) -> None:
    check_reader(get_reader("image-folder"), images(tmp_path / "images", "png"))
    volumes = synthesise("kits19", 3, tmp_path / "volumes", 0, (16, 20, 20))
    options = {"images": ["{id}/imaging.nii.gz"], "labels": "{id}/segmentation.nii.gz"}
    classes = {"classes": ["background", "kidney", "tumour"]}
    check_reader(get_reader("nifti-folder", {**options, **classes}), volumes)


def test_a_folder_with_ignored_pixels(tmp_path: Path) -> None:
    source = images(tmp_path, "png")
    for path in (source / "masks").iterdir():
        mask = np.array(Image.open(path))
        mask[:3] = 128
        Image.fromarray(mask).save(path)
    reader = get_reader("image-folder", {"ignore_label": 128})
    reader_checks(reader, source)["cases_are_images_with_masks"]()


def test_all_of_ours_are_checked_here() -> None:
    decathlon = set(DECATHLON)  # one reader with ten names, of which two are checked above
    checked = {*PAPER, *PUBLIC, *decathlon, "nuclei", "image-folder", "nifti-folder"}
    assert checked == set(names())


def images(folder: Path, kind: str) -> Path:
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for name in ("a", "b", "c"):
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).save(folder / "images" / f"{name}.{kind}")
        mask = 255 * rng.integers(0, 2, (24, 32), np.uint8)
        Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / f"{name}.{kind}")
    return folder


@dataclass(frozen=True, kw_only=True)
class Unsorted(ImageFolder):
    def find_cases(self, source: Path) -> list[CaseFiles]:
        return sorted(super().find_cases(source), key=lambda case: case.label.stat().st_mtime_ns)


@dataclass(frozen=True, kw_only=True)
class Wide(ImageFolder):
    def read_case(self, case: CaseFiles) -> Case:
        made = super().read_case(case)
        return replace(made, image=made.image.astype(np.float64), label=made.label)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Unlisted(ImageFolder):
    def read_case(self, case: CaseFiles) -> Case:
        made = super().read_case(case)
        return replace(made, label=made.label + np.uint8(1))


@dataclass(frozen=True, kw_only=True)
class Writing(ImageFolder):
    def read_case(self, case: CaseFiles) -> Case:
        (case.label.parents[1] / "notes.txt").write_text(case.id)
        return super().read_case(case)


@dataclass(frozen=True, kw_only=True)
class Lenient(ImageFolder):
    def read_case(self, case: CaseFiles) -> Case:
        try:
            return super().read_case(case)
        except Exception:  # noqa: BLE001
            return Case(np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), (1.0, 1.0))


@pytest.mark.parametrize(
    ("reader", "check", "words"),
    [
        (Unsorted(), "finds_the_same_cases_in_order", "expected the same order in a copy"),
        (Wide(), "cases_are_images_with_masks", "expected a float32 image in case 'a', not float64"),
        (Unlisted(), "cases_are_images_with_masks", "expected labels below 2 in case 'a', not 2"),
        (Writing(), "reading_changes_no_file", "expected no file that is changed, added or removed"),
        (Lenient(), "names_a_damaged_file", r"expected a DataError for half of the image a\.png"),
    ],
)
def test_a_wrong_reader_fails_the_check_that_is_meant_for_it(
    reader: Reader, check: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConformanceError, match=f"fails the check {check}: {words}"):
        reader_checks(reader, images(tmp_path / "source", "png"))[check]()


def test_a_reader_without_synthetic_files_needs_a_folder() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Own(Nuclei):
        name: str = "own"

        def default_source(self) -> None:
            return None

    with pytest.raises(ParameterError, match="reader Own has no synthetic form; give check_reader a small folder"):
        check_reader(Own())
