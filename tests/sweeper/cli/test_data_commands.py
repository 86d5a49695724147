"""`sweeper data` on a user's own images: what it finds, shows and writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

GRID = """
name = "own"
[[datasets]]
name = "cells"
reader = "image-folder"
options = { size = [32, 32] }
training = { augmentation_probability = 1.0 }
[[losses]]
name = "ce"
"""


@pytest.fixture
def own(tmp_path: Path) -> tuple[str, ...]:
    """Options for a grid on five images of one's own, one of whose masks is empty."""
    folder = tmp_path / "data" / "cells"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), np.uint8)).save(folder / "images" / f"c{i}.png")
        mask = np.zeros((48, 48), np.uint8)
        mask[10:30, 8 : 20 + i] = 255 * (i != 3)
        Image.fromarray(mask).save(folder / "masks" / f"c{i}.png")
    (tmp_path / "own.toml").write_text(GRID)
    return ("--grid", str(tmp_path / "own.toml"), "--data", str(tmp_path / "data"))


def test_a_warning_is_no_failure_and_an_error_is(sweeper: Any, own: tuple[str, ...], tmp_path: Path) -> None:
    warned = sweeper("data", "check", "cells", *own)
    assert warned.status == 0
    assert "warning c3" in warned.out
    assert "the mask is empty" in warned.out
    (tmp_path / "data" / "cells" / "images" / "c1.png").write_bytes(b"")
    failed = sweeper("data", "check", "cells", *own)
    assert failed.status == 1
    assert "error c1" in failed.out
    assert "the file is empty" in failed.out


def test_check_prepare_and_plan_warn_of_masks_that_resizing_empties(
    sweeper: Any, own: tuple[str, ...], tmp_path: Path
) -> None:
    for i in range(2):
        mask = np.zeros((48, 48), np.uint8)
        mask[1, 1] = 255
        Image.fromarray(mask).save(tmp_path / "data" / "cells" / "masks" / f"c{i}.png")
    told = "2 masks lose class 'foreground' by resizing, so that marking nothing is right there: c0, c1; keep small"
    assert f"warning masks: {told}" in sweeper("data", "check", "cells", *own).out
    assert "warning" not in sweeper("plan", *own).out
    prepared = sweeper("data", "prepare", "cells", *own).out
    assert f"warning: cells: {told}" in prepared
    assert "lost by resizing: class 'foreground' of c1" in prepared
    assert f"warning: cells: {told}" in sweeper("plan", *own).out.replace("\n", " ")
    area = (*own, "--set", 'datasets.cells.options.mask_resampling="area"')
    assert "warning" not in sweeper("plan", *area).out


def test_what_the_grid_excludes_is_not_checked(sweeper: Any, own: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "data" / "cells" / "images" / "c1.png").write_bytes(b"")
    grid = tmp_path / "own.toml"
    grid.write_text(GRID.replace("options", 'exclude = ["c1"]\noptions'))
    answer = sweeper("data", "check", "cells", *own)
    assert answer.status == 0
    assert "cases: 4" in answer.out
    assert "excluded c1: excluded by a setting" in answer.out
    prepared = sweeper("data", "prepare", "cells", *own)
    assert "prepared cells: 4 of 4 cases" in prepared.out
    assert "left out c1: excluded by a setting" in prepared.out


@pytest.mark.slow
def test_augmented_samples_stand_beside_their_images(sweeper: Any, own: tuple[str, ...]) -> None:
    assert sweeper("data", "show", "cells", *own, "--to", "plain.png").status == 0
    assert sweeper("data", "show", "cells", *own, "--to", "rich.png", "--augmented", "3").status == 0
    with Image.open("plain.png") as plain, Image.open("rich.png") as rich:
        assert plain.height < rich.height  # two rows of four tiles, five rows of an image with three samples
        tiles = np.asarray(rich.convert("RGB"), int)[18:210]
    first, second = tiles[:, 4:196], tiles[:, 200:392]
    assert np.abs(first - second).mean() > 10


def test_synthetic_files_of_a_size(sweeper: Any, tmp_path: Path) -> None:
    to = tmp_path / "bus"
    assert sweeper("data", "synth", "bus2017", "--to", str(to), "--cases", "3", "--size", "40,50").status == 0
    with Image.open(to / "original" / "000001.png") as image:
        assert 0.84 * 50 <= image.width <= 1.15 * 50
        assert 0.84 * 40 <= image.height <= 1.15 * 40
    for size, told in (("40", "give 2 numbers"), ("40,x", "whole numbers with commas"), ("4,4", "at least 16")):
        refused = sweeper("data", "synth", "bus2017", "--to", str(tmp_path / size), "--size", size)
        assert refused.status == 2
        assert told in " ".join(refused.err.split())
        assert not (tmp_path / size).exists()


def test_scoring_masks_of_a_sweep_that_is_not_there(sweeper: Any, stored: Path, tmp_path: Path) -> None:
    refused = sweeper("score", "demo", "--predictions", str(tmp_path), "--dataset", "nuclei", "--label", "nnunet")
    assert refused.status == 2
    assert "not a prepared data set" in " ".join(refused.err.split())


def test_a_split_is_exported_and_used_in_another_study(sweeper: Any, own: tuple[str, ...], tmp_path: Path) -> None:
    shown = sweeper("data", "split", "cells", *own, "--export", "split.csv")
    assert shown.status == 0
    assert shown.out.splitlines()[-2].startswith("3 training, 1 validation and 1 test cases (split ")
    assert Path("split.csv").read_text().splitlines()[0] == "case,partition"
    (tmp_path / "data" / "cells" / "split.csv").write_bytes(Path("split.csv").read_bytes())
    (tmp_path / "other.toml").write_text(GRID.replace("training =", 'split = { file = "split.csv" }\ntraining ='))
    again = sweeper("data", "split", "cells", "--grid", str(tmp_path / "other.toml"), *own[2:])
    assert again.out.splitlines()[-1] == shown.out.splitlines()[-2]
