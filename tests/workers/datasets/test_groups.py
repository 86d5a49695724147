"""Which cases are of one patient: nothing is claimed that the files do not tell, and no key moves by that."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.workers.datasets.conftest import WriteVolume
from trials.spec import content_hash
from workers.datasets import get_reader
from workers.datasets.folder import MANIFEST
from workers.datasets.prepared import open_prepared, preparation_key, prepare
from workers.datasets.reader import Reader
from workers.datasets.sources import included_cases
from workers.errors import DataError


@pytest.fixture
def visits(tmp_path: Path, write_volume: WriteVolume) -> Path:
    """Three patients with two visits each."""
    rng = np.random.default_rng(0)
    for i in range(6):
        folder = tmp_path / "visits" / f"pat{i // 2:02d}_ses{i % 2}"
        write_volume(folder / "ct.nii.gz", rng.normal(size=(6, 7, 4)).astype(np.float32))
        write_volume(folder / "seg.nii.gz", (np.indices((6, 7, 4))[0] > 3).astype(np.uint8))
    return tmp_path / "visits"


def volumes(**options: object) -> Reader:
    return get_reader("nifti-folder", {"images": ["{id}/ct.nii.gz"], "labels": "{id}/seg.nii.gz", **options})


def test_a_volume_is_not_called_a_patient(visits: Path) -> None:
    assert {case.group for case in volumes().find_cases(visits)} == {None}
    named = volumes(group=r"(pat\d+)").find_cases(visits)
    assert [case.group for case in named] == ["pat00", "pat00", "pat01", "pat01", "pat02", "pat02"]


def test_parts_of_a_volume_stay_together_and_say_no_more(visits: Path) -> None:
    slices = volumes(slices="axial", step=2)
    assert {case.group for case in slices.find_cases(visits)} == {f"pat{i // 2:02d}_ses{i % 2}" for i in range(6)}
    assert "which volumes are of one patient" in slices.ungrouped
    assert volumes(slices="axial", group=r"(pat\d+)").ungrouped == ""


def test_the_keys_of_such_volumes_are_those_they_had(visits: Path, tmp_path: Path) -> None:
    """Keys take in groups; they were first made when a volume was its own."""

    class Named(type(volumes())):  # type: ignore[misc]
        """As the reader was."""

        hashed_name = "NiftiFolder"
        __module__ = type(volumes()).__module__

        def find_cases(self, source: Path) -> list[object]:
            return [replace(case, group=case.group or case.id) for case in super().find_cases(source)]

        def hashed_group(self, case: object) -> object:
            return case.group  # type: ignore[attr-defined]

    for options in ({}, {"slices": "axial"}, {"group": r"(pat\d+)"}):
        now = volumes(**options)
        before = Named(**{**{f: getattr(now, f) for f in now.options}})
        assert preparation_key(now, visits, cache=tmp_path) == preparation_key(before, visits, cache=tmp_path)


def test_folders_of_an_older_version_lose_what_was_claimed(visits: Path, tmp_path: Path) -> None:
    done = prepare(volumes(), visits, tmp_path / "prepared")
    file = done.path / MANIFEST
    values = json.loads(file.read_text())
    values.pop("checksum")
    for case in values["cases"]:
        case["group"] = case["id"]
        case.pop("hashes")
    file.write_text(json.dumps({**values, "checksum": content_hash(values)}))
    assert {case.group for case in open_prepared(done.path).cases} == {None}


@pytest.mark.parametrize(("group", "matched"), [(r"patient(\d+)", 0), (r"pat0([01])_", 4)])
def test_a_group_that_does_not_match_every_name_is_refused(visits: Path, group: str, matched: int) -> None:
    missed = "pat00_ses0" if not matched else "pat02_ses0"
    with pytest.raises(DataError, match=rf"matched {matched} of 6 names, and not '{missed}'; make it match"):
        included_cases(volumes(group=group), visits)
    with pytest.raises(DataError, match=rf"matched {2 * matched} of 12 names, and not '{missed}-axial-000'"):
        included_cases(volumes(group=group, slices="axial", step=2), visits)
    if matched:
        assert len(included_cases(volumes(group=group), visits, ["pat02_ses0", "pat02_ses1"])[0]) == 4


def test_names_of_pictures_must_match_too(image_folder: Path) -> None:
    with pytest.raises(DataError, match=r"group = 'c\(\[0-3\]\)' matched 4 of 6 names, and not 'c4'"):
        included_cases(get_reader("image-folder", {"group": "c([0-3])"}), image_folder)


def test_values_that_are_class_indices_need_no_label_map(image_folder: Path, tmp_path: Path) -> None:
    for i, file in enumerate(sorted((image_folder / "masks").iterdir())):
        mask = np.zeros((24, 32), np.uint8)
        mask[4:9, i : i + 6], mask[12:20, 8:14] = 1, 2
        Image.fromarray(mask).save(file)
    classes = {"classes": ["background", "disc", "cup"]}
    bare = prepare(get_reader("image-folder", classes), image_folder, tmp_path / "bare")
    typed = get_reader("image-folder", {**classes, "label_map": {0: 0, 1: 1, 2: 2}})
    named = prepare(typed, image_folder, tmp_path / "named")
    for case in bare.case_ids:
        np.testing.assert_array_equal(bare.label(case), named.label(case))
        assert set(np.unique(bare.label(case))) == {0, 1, 2}
    Image.fromarray(np.full((24, 32), 7, np.uint8)).save(image_folder / "masks" / "c1.png")
    with pytest.raises(DataError, match=r"c1\.png.* 7"):
        prepare(get_reader("image-folder", classes), image_folder, tmp_path / "bare")
