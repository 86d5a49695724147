"""Classes that a split lacks and masks that resizing empties are found on the grid of the networks, and told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trials.spec import EvaluationSpec
from trials.splits import Split
from workers.datasets import check, get_reader
from workers.datasets.coverage import coverage_warnings, emptied_masks, missing_classes
from workers.datasets.keys import hashed_options
from workers.datasets.prepared import prepare
from workers.datasets.preprocessing import resample_label, resample_label_by_area
from workers.datasets.splits import make_splits
from workers.scoring.cases import score_original

CLASSES = ("background", "kidney", "tumour")


@dataclass(frozen=True)
class Counted:
    id: str
    voxels: tuple[int, ...]
    native_voxels: tuple[int, ...] = ()


CASES = [
    Counted("a", (9, 1, 0), (90, 10, 4)),
    Counted("b", (9, 1, 0), (90, 10, 0)),
    Counted("c", (9, 0, 1), (90, 0, 10)),
    Counted("d", (9, 1, 0)),
]


def test_the_classes_that_each_part_of_a_split_lacks() -> None:
    first = Split(("a", "b"), ("c",), ("d",))
    other = Split(("c", "b"), ("a",), ("d",))
    found = missing_classes(CASES, CLASSES, [first, other])
    assert found == {
        ("training", "tumour"): 1, ("validation", "kidney"): 1, ("validation", "tumour"): 1, ("test", "tumour"): 2,
    }  # fmt: skip
    assert missing_classes(CASES, CLASSES, [Split(("a", "c"), ("a", "c"), ("a", "c"))]) == {}


def test_a_mask_is_emptied_where_its_file_has_the_class_and_the_grid_has_not() -> None:
    assert emptied_masks(CASES, CLASSES) == [("a", "tumour")]


def test_warnings_say_what_follows_and_what_to_do() -> None:
    emptied = [(f"c{i}", "tumour") for i in range(7)]
    lines = list(coverage_warnings({("training", "kidney"): 1, ("test", "tumour"): 3}, emptied))
    assert lines[0] == "no training image has a pixel of class 'kidney': no network can learn it"
    assert lines[1].startswith("no test image has a pixel of class 'tumour' in 3 of the splits: it enters no table")
    assert lines[2].startswith("7 masks lose class 'tumour' by resizing")
    assert "c4 and 2 more" in lines[2]
    assert 'options.mask_resampling = "area"' in lines[2]


def lesions() -> np.ndarray:
    """Two lesions of a few pixels, one large structure that one of them touches, on 100 × 120 pixels."""
    label = np.zeros((100, 120), np.uint8)
    label[50:80, 60:90] = 1
    label[10:12, 11:13] = 1
    label[95, 3] = label[60:62, 70] = 2
    return label


def test_small_lesions_survive_by_area_and_large_ones_keep_their_size() -> None:
    label, steps = lesions(), (100 / 16, 120 / 16)
    area, nearest = resample_label_by_area(label, (16, 16), steps), resample_label(label, (16, 16), steps)
    assert (nearest == 2).sum() == 0
    assert (area == 2).sum() == 2
    assert area[15, 0] == 2
    assert area[1, 1] == 1
    large = (area[8:13, 8:12] == 1).sum()
    assert abs(large * steps[0] * steps[1] - 900) < 100


def test_by_area_in_three_dimensions_and_on_the_same_grid() -> None:
    volume = np.zeros((9, 10, 11), np.uint8)
    volume[4, 4, 4] = 1
    assert np.argwhere(resample_label_by_area(volume, (3, 4, 4), (3, 2.5, 2.75))).tolist() == [[1, 1, 1]]
    np.testing.assert_array_equal(resample_label_by_area(volume, volume.shape, (1, 1, 1)), volume)
    label = lesions()
    np.testing.assert_array_equal(resample_label_by_area(label, label.shape, (1, 1)), label)
    doubled = resample_label_by_area(label, (200, 240), (0.5, 0.5))
    np.testing.assert_array_equal(doubled, label.repeat(2, axis=0).repeat(2, axis=1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images; the masks of two hold one pixel, which no pixel of a grid of 16 × 16 falls on."""
    for i in range(6):
        mask = np.zeros((96, 96), np.uint8)
        mask[(slice(1, 2), slice(1, 2)) if i < 2 else (slice(30, 60), slice(30, 60))] = 255
        for kind, pixels in (("images", np.random.default_rng(i).integers(0, 256, (96, 96)).astype(np.uint8)),
                             ("masks", mask)):  # fmt: skip
            (tmp_path / "cells" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "cells" / kind / f"c{i}.png")
    return tmp_path / "cells"


def test_check_finds_emptied_masks_and_what_the_split_lacks(folder: Path) -> None:
    reader = get_reader("image-folder", {"name": "cells", "size": [16, 16]})
    report = check(reader, folder, processes=1, split=lambda cases, pairs: [Split(("c2", "c3"), ("c0",), ("c1",))])
    assert report.ok
    told = [(problem.case, problem.message) for problem in report.problems]
    assert [case for case, _ in told] == ["c0", "c1", "masks", "split", "split"]
    assert told[0][1] == "class 'foreground' is in the mask, and lost by resizing"
    assert told[2][1].startswith("2 masks lose class 'foreground' by resizing")
    assert told[2][1].count("c0, c1") == 1
    assert "no test image" in told[4][1]
    refused = check(reader, folder, processes=1, split=lambda c, pairs: make_splits(c, seed=0, grouped=True).values())
    assert not refused.ok
    by_area = get_reader("image-folder", {"name": "cells", "size": [16, 16], "mask_resampling": "area"})
    assert check(by_area, folder, processes=1).problems == ()


def test_prepared_masks_and_masks_from_elsewhere_are_resampled_alike(folder: Path, tmp_path: Path) -> None:
    options = {"name": "cells", "size": [16, 16]}
    plain = prepare(get_reader("image-folder", options), folder, tmp_path / "root", processes=1)
    area = prepare(
        get_reader("image-folder", {**options, "mask_resampling": "area"}), folder, tmp_path / "root", processes=1
    )
    assert plain.key != area.key
    assert "mask_resampling" not in hashed_options(get_reader("image-folder", options))
    assert emptied_masks(plain.cases, plain.classes) == [("c0", "foreground"), ("c1", "foreground")]
    assert emptied_masks(area.cases, area.classes) == []
    (score,) = score_original(area, "c0", area.native_label("c0"), EvaluationSpec(), "test")
    assert (score["dsc"], score["size"]) == (1.0, 1.0)
