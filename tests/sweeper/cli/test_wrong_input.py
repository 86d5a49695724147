"""What a person can get wrong: each is one line that names the thing and the fix, status 2, and nothing is written."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.database import open_database
from storage.repository import Repository

EXTENDING = 'name = "{name}"\nextends = "{parent}"\n'

WRONG: dict[str, tuple[list[str], list[str]]] = {
    "unknown command": (["lunch"], ["'lunch'", "'launch'", "sweeper --help"]),
    "unknown option": (["launch", "--grd", "demo"], ["--grd", "--grid", "sweeper launch --help"]),
    "no number": (["launch", "--limit", "few"], ["--limit", "integer"]),
    "limit of nothing": (["launch", "--limit", "0"], ["--limit", "1"]),
    "unknown grid": (["launch", "--grid", "dmeo"], ["'dmeo'", "'demo'", "gamma", "paper", ".toml"]),
    "no such file": (["plan", "--grid", "none.toml"], ["none.toml", "demo, gamma, odyssey, paper"]),
    "a folder as grid": (["plan", "--grid", "./"], ["cannot be read", "directory"]),
    "unknown key": (["plan", "--set", "training.epoch=5"], ["'training.epoch'", "'epochs'", "learning_rate"]),
    "unknown table": (["plan", "--set", "trainin.epochs=5"], ["'trainin'", "'training'"]),
    "too small": (["plan", "--set", "training.epochs=0"], ["training.epochs = 0", "at least 1"]),
    "too large": (["plan", "--set", "model.depth=9"], ["model.depth = 9", "at most 8"]),
    "a word for a number": (["plan", "--set", "training.epochs=many"], ["training.epochs = 'many'", "whole number"]),
    "infinite": (["plan", "--set", "training.learning_rate=inf"], ["training.learning_rate", "finite"]),
    "infinite option": (["plan", "--set", "datasets.nuclei.options.clip=[-inf, 1]"], ["clip", "finite"]),
    "no such choice": (["plan", "--set", 'model.normalisation="layer"'], ["'layer'", "'instance'", "'batch'"]),
    "γ outside its range": (
        ["launch", "--set", "losses.unified_focal_sym.gamma=1.5"],
        ["unified_focal_sym", "gamma = 1.5", "0 ≤ gamma < 1"],
    ),
    "γ is a word": (
        ["plan", "--set", 'losses.ce.name="focal"', "--set", 'losses.focal.gamma="big"'],
        ["focal", "'big'", "number"],
    ),
    "γ for a loss without γ": (["launch", "--set", "losses.ce.gamma=0.5"], ["'ce'", "'gamma'"]),
    "unknown loss": (["plan", "--set", 'losses.ce.name="unified_focal_assym"'], ["unified_focal_asym"]),
    "unknown network": (["plan", "--set", 'model.name="unett"'], ["'unett'", "'unet'", "residual_unet"]),
    "unknown reader": (["plan", "--set", 'datasets.nuclei.reader="image_folder"'], ["'image_folder'", "image-folder"]),
    "unknown option of a reader": (["plan", "--set", "datasets.nuclei.options.sise=[64, 64]"], ["'sise'", "'size'"]),
    "patch of a wrong length": (["plan", "--set", "training.patch=[8, 8, 8]"], ["training.patch", "2 numbers"]),
    "patch of no size": (["plan", "--set", "training.patch=[0, 8]"], ["training.patch", "at least 1"]),
    "overlap without patch": (["plan", "--set", "evaluation.overlap=[8, 8]"], ["evaluation.overlap", "training.patch"]),
    "overlap of a whole patch": (
        ["plan", "--set", "training.patch=[8, 8]", "--set", "evaluation.overlap=[8, 4]"],
        ["evaluation.overlap", "smaller"],
    ),
    "an empty grid": (["launch", "--set", "losses=[]"], ["'demo'", "empty"]),
    "the same cell twice": (["launch", "--set", 'losses.ce.name="dice"'], ["«nuclei · dice»", "twice"]),
    "unknown device": (["plan", "--device", "V100"], ["'V100'", "A100, H100, P100"]),
    "a data set twice": (["plan", "--set", 'datasets=[{name="nuclei"}, {name="nuclei"}]'], ["'nuclei'", "twice"]),
    "a seed twice": (["plan", "--set", "seeds=[3, 3]"], ["seeds", "3", "twice"]),
    "a negative seed": (["plan", "--set", "seeds=[-1]"], ["-1", "at least 0"]),
    "no seeds": (["plan", "--set", "seeds=[]"], ["seeds", "empty"]),
    "seeds against repeats": (["plan", "--set", "seeds=[1, 2]", "--set", "repeats=3"], ["repeats = 3", "2 seeds"]),
    "a rule for no loss": (["plan", "--set", 'exclude=[{loss="dise"}]'], ["exclude", "'dise'", "'dice'"]),
    "a rule for no data set": (["plan", "--set", 'include=[{dataset="drive"}]'], ["include", "'drive'"]),
    "a loss for no data set": (["plan", "--set", 'losses.ce.datasets=["nucle"]'], ["'nucle'", "'nuclei'"]),
    "fold without folds": (["plan", "--set", "datasets.nuclei.split.fold=0"], ["fold = 0", "add folds"]),
    "a search over all folds": (
        ["plan", "--set", "datasets.nuclei.split.folds=5", "--set", 'search="tpe"'],
        ["'nuclei'", "folds = 5 without fold", "one split"],
    ),
    "a search over several splits": (
        ["plan", "--set", "datasets.nuclei.split.resplit=true", "--set", 'search="tpe"'],
        ["'nuclei'", "resplit = true", "one split"],
    ),
    "a fold beyond the last": (["plan", "--set", "datasets.nuclei.split={folds=5, fold=5}"], ["fold = 5", "4"]),
    "name with a slash": (["launch", "--name", "a/b"], ["'a/b'", "letters, digits"]),
    "name with a space": (["launch", "--name", "a b"], ["'a b'", "letters, digits"]),
    "--set without a value": (["plan", "--set", "nonsense"], ["'nonsense'", "key=value"]),
    "--set without a key": (["plan", "--set", "=5"], ["'=5'", "key=value"]),
    "--set of an unknown entry": (["plan", "--set", "losses.cee.alpha=1"], ["'cee'", "'ce'", "dice"]),
    "--set below a value": (["plan", "--set", "name.x=1"], ["'name.x=1'", "not a table"]),
    "--set of an entry": (["plan", "--set", "losses.dice=3"], ["losses.dice=3", "key"]),
    "--set extends": (["plan", "--set", 'extends="paper"'], ["extends", "--grid"]),
    "no plug-in file": (["launch", "--plugin", "mine.py"], ["mine.py", "does not exist"]),
    "no data folder": (["launch", "--grid", "paper", "--data", "nowhere"], ["nowhere", "--data", "sweeper data list"]),
    "no data folder for a plan": (["plan", "--data", "nowhere"], ["nowhere"]),
    "no folder of a data set": (["launch", "--set", 'datasets.nuclei.folder="mine"'], ["'nuclei'", "data/mine"]),
    "unknown data set": (["data", "check", "drivee"], ["'drivee'", "'drive'"]),
    "no synthetic form": (["data", "synth", "nuclei", "--to", "new"], ["'nuclei'", "kits19"]),
    "scores that are not there": (["analyse", "none.csv", "--out", "report"], ["none.csv", "no file"]),
    "scores without a folder to write to": (["analyse", "none.csv"], ["--out", "sweeper analyse --help"]),
    "scores below a file": (["analyse", "none.csv", "--out", os.devnull + "/report"], [os.devnull, "not a folder"]),
    "a report below a file": (["report", "--out", os.devnull + "/report"], [os.devnull, "not a folder"]),
    "retry of nothing": (["retry", "demo"], ["--failed", "--trial"]),
    **{
        f"{words[0]} before any launch": (words, ["no sweep was launched yet", "sweeper launch --grid demo"])
        for words in (
            ["status"],
            ["resume"],
            ["stop"],
            ["report"],
            ["show", "1f"],
            ["logs", "1f"],
            ["retry", "--failed"],
        )
    },
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_words_are_one_clear_line(sweeper: Any, home: Path, case: str) -> None:
    words, told = WRONG[case]
    answer = sweeper(*words)
    assert_told(answer, told)
    assert not home.exists()
    assert not list(Path.cwd().iterdir())


def assert_told(answer: Any, told: list[str], lines: int = 1) -> None:
    assert answer.status == 2, answer
    assert answer.out == ""
    assert answer.err.startswith("sweeper: ")
    assert len(answer.err.strip().splitlines()) == lines, answer.err
    assert "Traceback" not in answer.err
    for words in told:
        assert words in answer.err


BROKEN_FILES = {
    "broken TOML": ("name = [", ["grid.toml", "not valid TOML"]),
    "no name": ("[[datasets]]\nname = 'nuclei'\n", ["grid.toml", "'name' is missing"]),
    "a name is not inherited": ("extends = 'demo'\n", ["grid.toml", "'name' is missing"]),
    "extends itself": ("name = 'x'\nextends = 'grid.toml'\n", ["circle", "grid.toml → "]),
    "extends itself by a longer way": ("name = 'x'\nextends = '../here/grid.toml'\n", ["circle"]),
    "extends nothing": ("name = 'x'\nextends = 'papr'\n", ["grid.toml", "'papr'", "'paper'"]),
    "extends a number": ("name = 'x'\nextends = 5\n", ["extends = 5"]),
    "a loss without a name": ("name = 'x'\n[[losses]]\ngamma = 0.5\n", ["losses.0.name", "missing"]),
    "bold brackets": ("name = '[bold]x[/bold]'\n", ["'[bold]x[/bold]'"]),
}


@pytest.mark.parametrize("case", BROKEN_FILES)
def test_broken_grid_files_are_named(sweeper: Any, home: Path, case: str) -> None:
    text, told = BROKEN_FILES[case]
    Path("grid.toml").write_text(text, encoding="utf-8")
    assert_told(sweeper("launch", "--grid", "grid.toml"), told)
    assert not home.exists()


def test_a_circle_of_two_grids_is_told(sweeper: Any) -> None:
    Path("a.toml").write_text(EXTENDING.format(name="a", parent="b.toml"), encoding="utf-8")
    Path("b.toml").write_text(EXTENDING.format(name="b", parent="a.toml"), encoding="utf-8")
    assert_told(sweeper("plan", "--grid", "a.toml"), ["circle", "a.toml → ", "b.toml → "])


def test_a_grid_that_is_no_text(sweeper: Any) -> None:
    Path("grid.toml").write_bytes(b"\xff\xfe\x00")
    assert_told(sweeper("plan", "--grid", "grid.toml"), ["grid.toml", "cannot be read"])


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("SWEEPER_DATABASE_URL", "foo", ["'foo'", "sqlite:///FILE", "postgresql://"]),
        ("SWEEPER_DATABASE_URL", "mysql://me:secret@host/x", ["mysql", "not supported", "sqlite:///FILE"]),
        ("SWEEPER_LEASE_SECONDS", "soon", ["SWEEPER_LEASE_SECONDS=soon", "number"]),
        ("SWEEPER_DATA", "nowhere", ["nowhere", "SWEEPER_DATA"]),
        ("RAY_ADDRESS", "somewhere", ["RAY_ADDRESS=somewhere", "HOST:PORT"]),
        ("RAY_ADDRESS", "ray://localhost:port", ["RAY_ADDRESS=ray://localhost:port", "HOST:PORT"]),
        ("MLFLOW_TRACKING_URI", "http://", ["MLFLOW_TRACKING_URI=http://", "HOST:PORT"]),
    ],
)
def test_wrong_settings_are_named_and_nothing_is_written(
    sweeper: Any, home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: list[str]
) -> None:
    monkeypatch.setenv(variable, value)
    answer = sweeper("launch")
    assert_told(answer, told)
    assert "secret" not in answer.err
    assert not home.exists()


@pytest.mark.parametrize(
    ("variable", "form"),
    [("RAY_ADDRESS", "{}"), ("RAY_ADDRESS", "ray://{}"), ("MLFLOW_TRACKING_URI", "http://{}")],
)
def test_a_server_that_nobody_runs_is_told_at_once(
    sweeper: Any, home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, form: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = form.format(f"127.0.0.1:{free.getsockname()[1]}")
        monkeypatch.setenv(variable, address)
        assert_told(sweeper("launch"), [f"{variable}={address}", "Connection refused", f"unset {variable}"])
    assert not home.exists()


@pytest.mark.parametrize(
    "words", [["launch"], ["launch", "--rehearse", "--grid", "paper"], ["data", "prepare", "nuclei"]]
)
def test_a_home_that_cannot_be_written(sweeper: Any, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    Path("file").write_text("", encoding="utf-8")
    monkeypatch.setenv("SWEEPER_HOME", str(Path("file/home").absolute()))
    answer = sweeper(*words)
    assert answer.status == 2
    assert answer.err.strip().endswith("set SWEEPER_HOME to a folder that you may write")
    assert "file is not a folder" in answer.err


def test_launch_without_data_says_how_to_get_each_set(sweeper: Any, home: Path) -> None:
    answer = sweeper("launch", "--grid", "paper")
    assert answer.status == 2
    assert "5 of 5 data sets of grid 'paper' are missing" in answer.err
    for name, page in {
        "cvc_clinicdb": "https://polyp.grand-challenge.org/CVCClinicDB/",
        "drive": "https://drive.grand-challenge.org/",
        "bus2017": "docm.mmu.ac.uk",
        "brats20": "https://www.med.upenn.edu/cbica/brats2020",
        "kits19": "https://github.com/neheller/kits19",
    }.items():
        assert f"looked in {home / 'data' / name}" in answer.err
        assert page in answer.err
    assert answer.err.count("licence: ") == 5
    assert "training/1st_manual/21_manual1.gif" in answer.err  # the expected folder
    assert "--rehearse" in answer.err
    assert not home.exists()


def test_launch_with_some_data_names_only_what_is_missing(sweeper: Any, home: Path, tmp_path: Path) -> None:
    for name in ("drive", "bus2017"):
        assert sweeper("data", "synth", name, "--cases", "4", "--to", str(tmp_path / "data" / name)).status == 0
    answer = sweeper("launch", "--grid", "gamma", "--data", str(tmp_path / "data"))
    assert answer.status == 2
    assert "1 of 3 data sets" in answer.err
    assert f"looked in {tmp_path / 'data' / 'cvc_clinicdb'}" in answer.err
    assert "'drive'" not in answer.err
    assert not home.exists()


def test_a_data_folder_with_something_else_in_it(sweeper: Any, home: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "nuclei").mkdir(parents=True)
    answer = sweeper("launch", "--data", str(tmp_path / "data"))
    assert answer.status == 2
    assert str(tmp_path / "data" / "nuclei") in answer.err
    assert not home.exists()


def test_names_and_hashes_that_are_not_stored(sweeper: Any, stored: Path) -> None:
    assert_told(sweeper("status", "dmo"), ["'dmo'", "'demo'"])
    assert_told(sweeper("resume", "dmo"), ["'dmo'"])
    assert_told(sweeper("show", "zz"), ["'zz'", "sweeper status"])
    assert_told(sweeper("logs", "zz"), ["'zz'"])
    assert_told(sweeper("retry", "demo", "--trial", "zz"), ["'zz'"])
    assert_told(sweeper("scale", "demo", "2"), ["nobody is running demo", "sweeper resume demo"])
    assert_told(sweeper("report", "demo", "--format", "docx"), ["'docx'", "html, pdf, latex, csv, md"])
    assert not (stored / "reports").exists()


def test_the_first_digits_of_several_hashes(sweeper: Any, stored: Path) -> None:
    hashes = [trial["hash"] for trial in json.loads(sweeper("status", "--json").out)["trials"]]
    digit = next(d for d in "0123456789abcdef" if sum(h.startswith(d) for h in hashes) > 1)
    assert_told(sweeper("show", digit), [f"'{digit}'", "more digits", *[h for h in hashes if h.startswith(digit)][:2]])


def test_a_name_that_exists_with_another_grid_is_found_before_data_are_prepared(sweeper: Any, stored: Path) -> None:
    others = [
        "18 new: «nuclei · ce», «nuclei · ce · repeat 1», «nuclei · ce · repeat 2» and 15 more",
        "18 not in it: «nuclei · ce»",
    ]
    assert_told(sweeper("launch"), ["'demo' exists with another grid", *others, "training.epochs 2 → 12", "--name"])
    epochs = ["--set", "training.epochs=2"]
    fewer = [*epochs, "--set", "losses.unified_focal_asym.gamma=[0.1, 0.5]"]
    assert_told(sweeper("launch", *fewer), ["(3 not in it: «nuclei · unified_focal_asym · γ=0.9»"])
    assert_told(sweeper("launch", *fewer, "--extend"), ["--extend only grows", "lacks 3", "γ=0.9", "--name"])
    more = [*epochs, "--set", "losses.unified_focal_sym.gamma=[0.5, 0.7]"]
    assert_told(sweeper("launch", *more), ["(3 new: «nuclei · unified_focal_sym · γ=0.7»", "--extend"])
    assert not (stored / "prepared").exists()


@pytest.mark.slow
def test_the_same_grid_on_other_data_is_another_one(sweeper: Any, stored: Path) -> None:
    """Only preparing tells that."""
    answer = sweeper("launch", "--set", "training.epochs=2")
    assert answer.status == 2
    assert "prepared nuclei: 60 of 60" in answer.out
    assert "18 new" in answer.err
    assert "18 not in it" in answer.err


def test_no_room_for_the_models(sweeper: Any, home: Path) -> None:
    answer = sweeper("launch", "--set", "model.base_filters=4096", "--set", "model.depth=8")
    assert_told(answer, ["the sweep needs about ", f" GB in {home}, ", " are free; make room, or set SWEEPER_HOME"])
    assert not (home / "prepared").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_no_room_on_a_small_disk(sweeper: Any, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_HOME", str(small_disk / "home"))
    assert "TOO LITTLE, `launch` will refuse" in sweeper("plan").out
    assert_told(sweeper("launch"), [f"MB in {small_disk / 'home'}, ", " MB are free; make room"])
    assert not (small_disk / "home" / "prepared").exists()


def test_a_sweep_that_somebody_runs_is_left_alone(sweeper: Any, stored: Path) -> None:
    with open_database(f"sqlite:///{stored / 'sweeper.db'}") as database:
        Repository(database).acquire_lease("demo", "somebody", 60)
    for words in (["resume", "demo"], ["resume", "demo", "--detach"]):
        assert_told(sweeper(*words), ["'demo' is run by somebody", "sweeper attach demo", "free in"])
    assert not (stored / "prepared").exists()


def test_places_that_cannot_be_written(sweeper: Any, stored: Path) -> None:
    Path("file").write_text("", encoding="utf-8")
    assert_told(sweeper("report", "demo", "--out", "file/report"), ["file/report", "not a folder"])
    assert_told(sweeper("data", "show", "nuclei", "--to", str(Path.cwd())), [str(Path.cwd()), "is a folder"])
    assert_told(sweeper("data", "synth", "drive", "--to", "file/x"), ["file/x", "not a folder"])


@pytest.mark.slow
@pytest.mark.parametrize("words", [["grids"], ["plan", "--grid", "paper", "--json"]])
def test_nothing_follows_a_reader_that_has_gone(home: Path, words: list[str]) -> None:
    """`sweeper plan | head -1`, with less and with more than a buffer full."""
    call = [sys.executable, "-m", "sweeper", *words]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode != 0
