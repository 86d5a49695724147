"""A grid's own splits: part of the identity, kept on resume, and what is wrong with them is found before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sweeper.data.preparation import check_data, identify, prepare
from sweeper.data.rehearsal import rehearsal_of
from sweeper.data.summary import describe
from sweeper.errors import GridError
from sweeper.grids.files import grid_of_text, parse_grid
from sweeper.grids.schema import Grid
from sweeper.settings import Settings
from sweeper.verbs.requests import PlanRequest
from sweeper.verbs.submissions import submitted_grid
from workers.errors import DataError, InputError

PATTERNS = {"images": "*/images/{id}.png", "masks": "*/masks/{id}.png"}


def quiet(dataset: str, done: int, total: int, case: str) -> None:
    """Preparation in silence."""


def grid_of(name: str = "cells", **dataset: Any) -> Grid:
    table = {"name": name, "reader": "image-folder", "options": PATTERNS, **dataset}
    return parse_grid({"name": "own", "datasets": [table], "losses": [{"name": "ce"}]}, "own")


def save(folder: Path, part: str, case: str, seed: int, shape: tuple[int, int] = (24, 32), *, value: int = 255) -> None:
    for kind in ("images", "masks"):
        (folder / part / kind).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(folder / part / "images" / f"{case}.png")
    mask = (rng.random(shape) < 0.2).astype(np.uint8) * np.uint8(value)
    Image.fromarray(mask).save(folder / part / "masks" / f"{case}.png")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Ten pictures as most public sets have them: folders train, val and test."""
    for i in range(10):
        part = "train" if i < 6 else "val" if i < 8 else "test"
        save(tmp_path / "data" / "cells", part, f"{part}{i}", i)
    return Settings(home=tmp_path / "home", data=tmp_path / "data")


def write(settings: Settings, **parts: str) -> None:
    """A split file in the data set's folder."""
    names = {i: f"{'train' if i < 6 else 'val' if i < 8 else 'test'}{i}" for i in range(10)}
    rows = [f"{names[int(n)]},{part}" for part, numbers in parts.items() for n in numbers]
    (settings.data_root / "cells" / "split.csv").write_text("\n".join(["case,partition", *rows]))


def test_folders_and_files_are_splits(settings: Settings) -> None:
    folders = prepare(grid_of(split={"folders": True}), settings, quiet)["cells"]
    assert folders.split.test == ("test8", "test9")
    assert folders.split.validation == ("val6", "val7")
    write(settings, train="012345", val="67", test="89")
    by_file = prepare(grid_of(split={"file": "split.csv"}), settings, quiet)["cells"]
    drawn = prepare(grid_of(), settings, quiet)["cells"]
    assert by_file.identity == folders.identity  # the same cases, whoever says it
    assert by_file.identity.prepared == drawn.identity.prepared
    assert by_file.identity.split != drawn.identity.split
    about = describe({"cells": by_file})["cells"]
    assert about.split_settings["own"] == "split.csv"
    assert not about.split_settings["official"]
    assert identify(grid_of(split={"file": "split.csv"}), settings)["cells"].tested == 2


def test_a_split_file_that_is_gone_or_changed_is_not_missed_on_resume(settings: Settings) -> None:
    write(settings, train="012345", val="67", test="89")
    grid = grid_of(split={"file": "split.csv"})
    first = prepare(grid, settings, quiet)["cells"]
    known = {"keys": {"cells": first.prepared.key}, "splits": {"cells": first.split.hash}}
    write(settings, train="012389", val="67", test="45")
    assert prepare(grid, settings, quiet, **known)["cells"].split == first.split
    assert prepare(grid, Settings(home=settings.home), quiet, **known)["cells"].split == first.split
    assert prepare(grid, settings, quiet)["cells"].split != first.split


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"train": "012345", "val": "67", "test": "8"}, "'cells': split.csv leaves 1 of 10 cases in no part: 'test9'"),
        ({"train": "0123456", "val": "67", "test": "89"}, "case 'val6' is in train and in validation"),
        ({"train": "01234567", "val": "89"}, "no case is in test"),
    ],
)
def test_a_wrong_split_file_is_found_before_any_work(settings: Settings, parts: dict[str, str], told: str) -> None:
    write(settings, **parts)
    grid = grid_of(split={"file": "split.csv"})
    report = check_data(grid, settings)
    assert not report.ok
    assert [told in problem.message for problem in report.problems] == [True]
    for act in (lambda: identify(grid, settings), lambda: prepare(grid, settings, quiet)):
        with pytest.raises(DataError, match=told):
            act()
    assert not settings.prepared.exists() or not list(settings.prepared.glob("cells-*"))


def test_patients_on_both_sides_are_found_by_check(settings: Settings) -> None:
    write(settings, train="012345", val="67", test="89")
    options = {**PATTERNS, "group": r"([05]|[1-46-9])"}
    report = check_data(grid_of(split={"file": "split.csv"}, options=options), settings)
    assert (report.ok, report.problems) == (True, ())
    report = check_data(
        grid_of(split={"file": "split.csv"}, options={**PATTERNS, "group": "(t)"}, exclude=["val6", "val7"]), settings
    )
    assert report.ok
    assert any("1 of 1 patients or sequences have images in the test set" in p.message for p in report.problems)


LAUNCH = {
    "sizes": (lambda folder: save(folder, "val", "val6", 6, (30, 32)), {}, "val6.png has 30×32 pixels, .* one size"),
    "too few": (lambda folder: None, {"exclude": [*(f"train{i}" for i in range(6)), "val6", "val7"]},
                r"2 cases cannot be split"),
    "no such class": (lambda folder: None, {"options": {**PATTERNS, "classes": ["background", "a", "b"],
                                                        "label_map": {0: 0, 255: 1, 128: 2}}},
                      r"no image has a pixel of class 'b'"),
    "field": (lambda folder: None, {"evaluation": {"field_of_view": True}}, "10 of 10 images have no such mask"),
    "patch": (lambda folder: None, {"training": {"patch": [8, 8, 8]}}, "patch = .8, 8, 8. needs 2 numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", LAUNCH)
def test_check_ends_badly_where_a_launch_would(settings: Settings, case: str) -> None:
    change, table, told = LAUNCH[case]
    change(settings.data_root / "cells")
    grid = grid_of(**table)
    report = check_data(grid, settings)
    assert not report.ok
    (problem,) = (problem for problem in report.problems if problem.severity == "error")
    with pytest.raises((InputError, GridError), match=told) as refused:
        raise InputError(problem.message)
    assert "\n" not in str(refused.value)
    if case != "patch":  # a plan refuses that by the grid alone
        with pytest.raises(InputError, match=told):
            prepare(grid, settings, quiet)
    if case not in ("patch", "no such class"):  # without reading a pixel
        with pytest.raises(InputError, match=told):
            identify(grid, settings)


def test_near_duplicates_across_parts_are_told_and_kept_together(settings: Settings) -> None:
    folder = settings.data_root / "cells"
    picture = np.asarray(Image.open(folder / "train" / "images" / "train0.png"), np.int16)
    Image.fromarray(np.clip(picture + 3, 0, 255).astype(np.uint8)).save(folder / "test" / "images" / "test9.png")
    one = prepare(grid_of(split={"folders": True}), settings, quiet)["cells"]
    assert one.alike == (("test9", "train0"),)
    assert any("look" in text and "test9 and train0" in text for text in one.warnings)
    assert describe({"cells": one})["cells"].alike == 1
    for seed in range(4):
        grid = grid_of(split={"grouped": "near-duplicates", "seed": seed})
        together = prepare(grid, settings, quiet)["cells"]
        assert together.alike == ()
        assert any({"test9", "train0"} <= set(part) for part in (
            together.split.train, together.split.validation, together.split.test))  # fmt: skip
        assert identify(grid, settings)["cells"].identity == together.identity


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('file = "a.csv", folders = true', "choose one"),
        ('file = "a.csv", test = 0.3', "leave test out"),
        ("folders = true, folds = 5", "leave folds out"),
        ('grouped = "patients"', "near-duplicates"),
    ],
)
def test_tables_that_contradict_themselves(table: str, told: str) -> None:
    text = f'name = "own"\n[[datasets]]\nname = "cells"\nsplit = {{ {table} }}\n'
    with pytest.raises(GridError, match=told):
        grid_of_text(text, ())


def test_a_service_reads_no_split_outside_of_its_data(settings: Settings) -> None:
    text = 'name = "own"\n[[datasets]]\nname = "nuclei"\nsplit = { file = "%s" }\n[[losses]]\nname = "ce"\n'
    for place in ("/etc/passwd", "../other/split.csv", "~/split.csv"):
        with pytest.raises(GridError, match="leads out of the service's data folder"):
            submitted_grid(PlanRequest(toml=text % place), settings)
    assert submitted_grid(PlanRequest(toml=text % "split.csv"), settings)[0].datasets[0].split.file == "split.csv"


def test_a_rehearsal_on_synthetic_files_draws_its_split(tmp_path: Path) -> None:
    own = {"file": "splits_final.json", "folds": 5}
    grid = parse_grid({"name": "own", "datasets": [{"name": "drive", "split": own}], "losses": [{"name": "ce"}]}, "own")
    table = rehearsal_of(grid, tmp_path).datasets[0].split
    assert (table.file, table.folds) == (None, 5)
