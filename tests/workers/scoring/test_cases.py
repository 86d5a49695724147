from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from nibabel.affines import voxel_sizes
from PIL import Image

from trials.spec import EvaluationSpec
from workers.datasets import get_reader, synthesise
from workers.datasets.prepared import PreparedDataset, prepare
from workers.errors import DataError
from workers.scoring.cases import score_original, score_prediction
from workers.scoring.masks import score_case
from workers.scoring.native import to_original, to_prepared

NATIVE, INSIDE = EvaluationSpec(native=True), EvaluationSpec(field_of_view=True)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """Four synthetic photographs of 60×58, prepared at 32×32, whose vessels here also run outside the field."""
    folder = tmp_path_factory.mktemp("drive")
    synthesise("drive", 4, folder / "drive", 0, size=(60, 58))
    return prepare(get_reader("drive", {"size": [32, 32]}), folder / "drive", folder / "root", processes=1)


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """Four synthetic CTs, among them one that is stored the other way round."""
    folder = tmp_path_factory.mktemp("kits")
    synthesise("kits19", 4, folder / "kits19", 0, size=(16, 20, 24))
    return prepare(get_reader("kits19"), folder / "kits19", folder / "root", processes=1)


def test_the_source_s_own_label_is_kept_on_its_own_grid(kits: PreparedDataset) -> None:
    for known in kits.cases:
        native = kits.native_label(known.id)
        assert native.shape == known.original_shape
        np.testing.assert_array_equal(to_prepared(native, known), kits.label(known.id))


def test_native_scores_compare_on_the_source_s_grid(kits: PreparedDataset) -> None:
    known = kits.cases[1]
    prediction = np.roll(np.asarray(kits.label(known.id)), 2, axis=0)
    found = score_prediction(kits, known.id, prediction, NATIVE, "test")
    expected = score_case(
        kits.native_label(known.id), to_original(prediction, known), kits.classes, partition="test", case=known.id,
        spacing=tuple(voxel_sizes(np.asarray(known.affine))),
    )  # fmt: skip
    assert found == expected
    assert found != score_prediction(kits, known.id, prediction, EvaluationSpec(), "test")


def test_native_distances_are_in_the_source_s_spacing(kits: PreparedDataset) -> None:
    known = next(c for c in kits.cases if c.affine is not None and abs(c.affine[2][0]) > 3)
    moved = np.roll(kits.native_label(known.id), 1, axis=0)  # one slice of about 3.22 mm along the first axis
    scores = score_original(kits, known.id, moved, EvaluationSpec(native=True, surface_distances=True), "test")
    assert known.affine is not None
    assert scores[0]["hd95"] == pytest.approx(abs(known.affine[2][0]))


def test_a_mask_on_the_source_s_grid_scores_as_its_prepared_form(kits: PreparedDataset) -> None:
    known = kits.cases[0]
    mask = np.roll(kits.native_label(known.id), 1, axis=1)
    found = score_original(kits, known.id, mask, EvaluationSpec(), "validation")
    assert found == score_prediction(kits, known.id, to_prepared(mask, known), EvaluationSpec(), "validation")
    assert [s["dsc"] for s in score_original(kits, known.id, kits.native_label(known.id), NATIVE, "test")] == [1.0, 1.0]


@pytest.mark.parametrize("native", [False, True])
def test_outside_the_field_of_view_nothing_counts(drive: PreparedDataset, native: bool) -> None:
    known = drive.cases[0]
    field = drive.field(known.id)
    assert field.shape == known.original_shape
    assert 0 < field.mean() < 1
    inside = field if native else to_prepared(field, known)
    truth = drive.native_label(known.id) if native else np.asarray(drive.label(known.id))
    wrong_outside = np.where(inside == 1, truth, 1).astype(np.uint8)
    if native:
        whole = score_original(drive, known.id, wrong_outside, NATIVE, "test")[0]
        within = score_original(drive, known.id, wrong_outside, EvaluationSpec(native=True, field_of_view=True), "test")
    else:
        whole = score_prediction(drive, known.id, wrong_outside, EvaluationSpec(), "test")[0]
        within = score_prediction(drive, known.id, wrong_outside, INSIDE, "test")
    assert whole["dsc"] is not None
    assert whole["dsc"] < 1
    assert within[0]["dsc"] == within[0]["precision"] == within[0]["recall"] == 1
    missed_inside = score_original(drive, known.id, np.zeros_like(field), INSIDE, "test")[0]
    assert missed_inside["dsc"] == 0


def test_a_data_set_without_fields_of_view_says_so(kits: PreparedDataset) -> None:
    known = kits.cases[0]
    with pytest.raises(DataError, match=r"no field-of-view mask; leave out evaluation\.field_of_view"):
        score_prediction(kits, known.id, np.asarray(kits.label(known.id)), INSIDE, "test")


def test_drive_works_without_fields_and_refuses_some(tmp_path: Path) -> None:
    synthesise("drive", 4, tmp_path / "drive", 0, size=(60, 58))
    reader = get_reader("drive", {"size": [32, 32]})
    removed = next((tmp_path / "drive" / "test" / "mask").iterdir())
    removed.unlink()
    with pytest.raises(DataError, match="no field-of-view mask for test/images/"):
        reader.find_cases(tmp_path / "drive")
    for part in ("training", "test"):
        shutil.rmtree(tmp_path / "drive" / part / "mask")
    assert {case.field for case in reader.find_cases(tmp_path / "drive")} == {None}


def test_a_field_of_another_size_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    synthesise("drive", 4, tmp_path / "drive", 0, size=(60, 58))
    reader = get_reader("drive", {"size": [32, 32]})
    case = reader.find_cases(tmp_path / "drive")[0]
    assert case.field is not None
    Image.new("L", (10, 10), 255).save(case.field)
    with pytest.raises(DataError, match=r"_mask\.gif: the field of view has shape \(10, 10\)"):
        reader.read_case(case)


def test_scores_have_the_group_that_the_reader_knows(tmp_path: Path) -> None:
    """Two images of patient 1 and one of patient 2."""
    for name in ("p1_a", "p1_b", "p2_a"):
        for folder in ("images", "masks"):
            (tmp_path / "cells" / folder).mkdir(parents=True, exist_ok=True)
            pixels = np.pad(np.full((8, 8), 255, np.uint8), 4)
            Image.fromarray(pixels).save(tmp_path / "cells" / folder / f"{name}.png")
    reader = get_reader("image-folder", {"name": "cells", "size": [16, 16], "group": "^(p[0-9])_"})
    known = prepare(reader, tmp_path / "cells", tmp_path / "root", processes=1)
    groups = {}
    for case in known.cases:
        (score,) = score_prediction(known, case.id, np.asarray(known.label(case.id)), EvaluationSpec(), "test")
        assert score_original(known, case.id, known.native_label(case.id), EvaluationSpec(), "test") == [score]
        groups[case.id] = score.group
    assert groups == {"p1_a": "p1", "p1_b": "p1", "p2_a": "p2"}
