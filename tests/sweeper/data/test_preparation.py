"""The data sets of a grid: found, guessed at, prepared, and opened again when their source has gone."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from sweeper.data.preparation import identify, locate, prepare, reader_of
from sweeper.data.resolved import resolve
from sweeper.data.summary import describe
from sweeper.errors import GridError, MissingDataError, SettingsError
from sweeper.grids.details import SplitSizes
from sweeper.grids.files import parse_grid
from sweeper.grids.schema import Grid
from sweeper.settings import Settings
from workers.datasets import CaseFiles, synthesise
from workers.datasets.splits import make_splits
from workers.errors import DataError, ParameterError


def silent(dataset: str, done: int, total: int, case: str) -> None:
    """Nobody looks."""


def grid(*datasets: dict[str, Any]) -> Grid:
    return parse_grid({"name": "g", "datasets": list(datasets), "losses": [{"name": "ce"}]}, "g")


DRIVE = {"name": "drive", "options": {"size": [32, 32]}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    synthesise("drive", 10, tmp_path / "data" / "drive", 0, size=(64, 64))
    return Settings(home=tmp_path / "home", data=tmp_path / "data")


def test_what_is_known_before_preparation(settings: Settings) -> None:
    known = identify(grid(DRIVE, {"name": "kits19"}), settings)
    assert known["drive"].identity.prepared == ""
    assert known["drive"].source == settings.data_root / "drive"
    assert (known["drive"].images, known["drive"].voxels) == (6, 32 * 32)
    assert known["kits19"].source is None
    assert (known["kits19"].images, known["kits19"].voxels) == (130, 80 * 160 * 160)  # Table 1
    assert known["kits19"].identity.classes == ("background", "kidney", "tumour")
    assert not settings.home.exists()


def test_what_is_known_after_preparation(settings: Settings) -> None:
    ready = prepare(grid(DRIVE), settings, silent)["drive"]
    known = identify(grid(DRIVE), settings)["drive"]
    assert known.identity == ready.identity
    assert known.identity.prepared == ready.prepared.key
    assert known.identity.provenance == "synthetic"
    assert (known.images, known.voxels) == (ready.images, ready.voxels) == (4, 32 * 32)


def test_a_data_set_is_named_as_its_folder_also_with_spaces(settings: Settings) -> None:
    shutil.move(settings.data_root / "drive", settings.data_root / "my eyes 2")
    own = grid({**DRIVE, "name": "my eyes 2", "reader": "drive"})
    ready = prepare(own, settings, silent)["my eyes 2"]
    assert identify(own, settings)["my eyes 2"].identity == ready.identity
    assert ready.prepared.path.name == f"my eyes 2-{ready.prepared.key}"
    with pytest.raises(GridError, match=r"in a data set's name spaces, too"):
        grid({**DRIVE, "name": "my eyes/2", "reader": "drive"})


def test_image_files_that_belong_to_no_case_are_told_before_and_after_preparation(settings: Settings) -> None:
    """Also of data that were prepared before the file came."""
    own = {"name": "drive", "reader": "image-folder", "options": {"size": [32, 32]}}
    own["options"] |= {"images": "training/images/{id}_training.tif", "masks": "training/1st_manual/{id}_manual1.gif"}
    shutil.rmtree(settings.data_root / "drive" / "test")
    shutil.rmtree(settings.data_root / "drive" / "training" / "mask")
    assert prepare(grid(own), settings, silent)["drive"].warnings == ()
    (settings.data_root / "drive" / "training" / "1st_manual" / "21_manual2.gif").write_bytes(b"GIF")
    told = ("1 image file belongs to no case, because no pattern matches: training/1st_manual/21_manual2.gif",)
    assert identify(grid(own), settings)["drive"].warnings == told
    ready = prepare(grid(own), settings, silent)
    assert ready["drive"].warnings == told
    assert describe(ready)["drive"].unmatched == told[0]


def test_a_changed_file_is_another_data_set(settings: Settings) -> None:
    prepare(grid(DRIVE), settings, silent)
    image = next((settings.data_root / "drive" / "training" / "images").iterdir())
    image.write_bytes(image.read_bytes()[:-1] + b"\x00\x00")
    assert identify(grid(DRIVE), settings)["drive"].identity.prepared == ""


def test_another_split_is_another_identity_of_the_same_arrays(settings: Settings) -> None:
    one = prepare(grid(DRIVE), settings, silent)["drive"].identity
    other = prepare(grid({**DRIVE, "split": {"seed": 1}}), settings, silent)["drive"].identity
    assert one.prepared == other.prepared
    assert one.split != other.split


def test_a_prepared_data_set_is_opened_without_its_source(settings: Settings, tmp_path: Path) -> None:
    """`sweeper resume` is not told `--data` again."""
    first = prepare(grid(DRIVE), settings, silent)
    elsewhere = Settings(home=settings.home)
    with pytest.raises(MissingDataError):
        prepare(grid(DRIVE), elsewhere, silent)
    again = prepare(grid(DRIVE), elsewhere, silent, keys={"drive": first["drive"].prepared.key})
    assert again["drive"].identity == first["drive"].identity
    with pytest.raises(MissingDataError):
        prepare(grid(DRIVE), elsewhere, silent, keys={"drive": "0" * 16})


def test_the_description_is_json_without_paths(settings: Settings) -> None:
    found = describe(prepare(grid(DRIVE), settings, silent))["drive"]
    assert (found.cases, found.split) == (10, SplitSizes(train=4, validation=1, test=5))
    text = json.dumps(found.to_dict())
    assert str(settings.home) not in text
    assert str(settings.data) not in text


def test_progress_is_told_of_every_case(settings: Settings) -> None:
    told: list[tuple[str, int, int]] = []
    prepare(grid(DRIVE), settings, lambda name, done, total, case: told.append((name, done, total)))
    assert told == [("drive", n, 10) for n in range(1, 11)]


def test_folders(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "data" / "mine").mkdir()
    own = grid({"name": "x", "reader": "image-folder", "folder": "mine"}).datasets[0]
    assert locate(own, settings) == tmp_path / "data" / "mine"
    absolute = own.model_copy(update={"folder": str(tmp_path / "data" / "drive")})
    assert locate(absolute, settings) == tmp_path / "data" / "drive"
    with pytest.raises(DataError, match="elsewhere"):
        locate(own.model_copy(update={"folder": "elsewhere"}), settings)
    with pytest.raises(SettingsError, match="nowhere"):
        locate(own, Settings(home=tmp_path, data=tmp_path / "nowhere"))


def test_a_plan_finds_files_that_do_not_fit_and_cases_that_are_not_there(settings: Settings) -> None:
    with pytest.raises(ParameterError, match="'99'"):
        identify(grid({**DRIVE, "exclude": ["99"]}), settings)
    (settings.data_root / "bus2017").mkdir()
    with pytest.raises(DataError, match="bus2017"):
        identify(grid({"name": "bus2017"}), settings)


def small_folder(tmp_path: Path) -> dict[str, Any]:
    """Ten images of five patients."""
    for place, kind in itertools.product(range(10), ("images", "masks")):
        file = tmp_path / "own" / kind / f"p{place // 2}_{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((16, 16), np.uint8)
        pixels[place : place + 4, 4:8] = 255
        Image.fromarray(pixels).save(file)
    return {
        "name": "own", "reader": "image-folder", "folder": str(tmp_path / "own"),
        "options": {"size": [16, 16], "group": "^(p[0-9])"},
    }  # fmt: skip


def test_every_fold_and_every_draw_is_prepared_named_and_described(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    split = {"folds": 5, "resplit": True, "grouped": True}
    several = parse_grid(
        {
            "name": "g",
            "datasets": [{**small_folder(tmp_path), "split": split}],
            "losses": [{"name": "ce"}],
            "repeats": 2,
        },
        "g",
    )
    before = resolve(several, settings)
    ready = prepare(several, settings, silent)
    specs = before.with_data(ready).specs
    assert len({spec.data.split for spec in specs}) == len(specs) == 10
    assert specs == resolve(several, settings).specs
    own = ready["own"]
    tested = [case for spec in specs if spec.repeat == 1 for case in own.prepared.read_split(spec.data.split).test]
    assert sorted(tested) == sorted(own.prepared.case_ids)
    details = describe(ready)["own"]
    assert (details.groups.known, details.groups.shared) == (5, 0)
    assert details.split_settings["folds"] == 5
    assert details.split_settings["fold"] is None
    assert details.split_settings["resplit"] is True


def test_folds_of_an_official_test_set_are_refused_before_anything_is_prepared(settings: Settings) -> None:
    folded = grid({**DRIVE, "split": {"folds": 5}})
    for look in (lambda: identify(folded, settings), lambda: prepare(folded, settings, silent)):
        with pytest.raises(ParameterError, match=r"data set 'drive': .* official test partition: leave out folds"):
            look()
    assert not settings.home.exists()


def test_a_split_without_a_class_in_one_part_is_described_and_known_to_a_plan(tmp_path: Path) -> None:
    own = small_folder(tmp_path)
    for place in range(8, 10):  # patient 4, who is the test set below, has no mark
        Image.new("L", (16, 16)).save(tmp_path / "own" / "masks" / f"p4_{place}.png")
    seed = next(
        seed
        for seed in range(50)
        if set(make_splits(cases_of(own), seed=seed, grouped=True)[0, None].test) == {"p4_8", "p4_9"}
    )
    settings, lacking = Settings(home=tmp_path / "home"), grid({**own, "split": {"seed": seed, "grouped": True}})
    details = describe(prepare(lacking, settings, silent))["own"]
    assert details.missing == (("test", "foreground"),)
    assert details.emptied == ()
    (warning,) = identify(lacking, settings)["own"].warnings
    assert warning.startswith("no test image has a pixel of class 'foreground'")


def cases_of(dataset: dict[str, Any]) -> list[CaseFiles]:
    return reader_of(grid(dataset).datasets[0]).find_cases(Path(dataset["folder"]))


def test_damaged_data_of_a_sweep_are_prepared_anew_and_need_their_source(settings: Settings) -> None:
    """Resumed data are known by their key; six damaged arrays of sixteen once gave a test DSC of 0.144, not 0.414."""
    first = prepare(grid(DRIVE), settings, silent)["drive"]
    keys = {"drive": first.prepared.key}
    array = first.prepared.path / "00002.image.npy"
    held = array.read_bytes()
    array.write_bytes(held[:-4] + b"\x00\x00\x80\x7f")
    with pytest.raises(MissingDataError, match="drive"):
        prepare(grid(DRIVE), Settings(home=settings.home), silent, keys=keys)
    told: list[str] = []
    again = prepare(grid(DRIVE), settings, silent, keys=keys, damaged=told.append)["drive"]
    assert len(told) == 1
    assert "00002.image.npy was changed" in told[0]
    assert array.read_bytes() == held
    assert again.identity == first.identity


def test_a_sweep_is_not_resumed_on_other_files(settings: Settings) -> None:
    """Its trials name the data that they were made for."""
    first = prepare(grid(DRIVE), settings, silent)["drive"]
    shutil.rmtree(first.prepared.path)
    image = next((settings.data_root / "drive" / "training" / "images").iterdir())
    Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    with pytest.raises(DataError, match=rf"'drive': the files in .* \(key {first.prepared.key}, now [0-9a-f]+\)"):
        prepare(grid(DRIVE), settings, silent, keys={"drive": first.prepared.key})


def test_a_plan_knows_the_classes_that_a_description_names(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "liver"
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
        for i in range(8):
            values = np.random.default_rng(i).integers(0, 3, (8, 8, 8)).astype(np.uint8)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / kind / f"l{i}.nii")
    training = [{"image": f"imagesTr/l{i}.nii", "label": f"labelsTr/l{i}.nii"} for i in range(8)]
    labels = {"0": "background", "1": "liver", "2": "tumour"}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "training": training}))
    own, settings = grid({"name": "liver", "reader": "nifti-folder"}), Settings(home=tmp_path, data=tmp_path / "data")
    before = identify(own, settings)["liver"].identity.classes
    assert before == prepare(own, settings, silent)["liver"].identity.classes == ("background", "liver", "tumour")
