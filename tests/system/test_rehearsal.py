"""The paper's study in small: synthetic files in all five layouts and every loss, from the command to the report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.sweeps import ONE_AT_ONCE, Home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PART = {
    ("cvc_clinicdb", "ce"),
    ("cvc_clinicdb", "tversky"),
    ("drive", "focal"),
    ("drive", "dice"),
    ("bus2017", "unified_focal_sym"),
    ("bus2017", "focal_tversky"),
    ("brats20", "unified_focal_asym"),
    ("kits19", "combo"),
}
"""Eight of the 88 trials, with every data set and every loss among them."""

GRID = 'name = "part"\nextends = "paper"\n' + "\n".join(
    f'[[include]]\ndataset = "{dataset}"\nloss = "{loss}"\n' + ("gamma = 0.5\n" if loss.startswith("unified") else "")
    for dataset, loss in sorted(PART)
)
GRID += ONE_AT_ONCE


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("rehearsal") / "home")


@pytest.fixture(scope="module")
def rehearsed(home: Home) -> str:
    """What the command printed. One data set's pictures are switched off."""
    return home.run("launch", "--grid", home.grid(GRID), "--rehearse", "--set", "datasets.bus2017.pictures=false")


@pytest.fixture(scope="module")
def report(home: Home, rehearsed: str) -> str:
    return (home.folder / "reports" / "part-rehearsal" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def runs(home: Home, rehearsed: str) -> list[Any]:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{home.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sweeper")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=50))


def test_every_data_set_and_loss_runs_to_its_end(home: Home, rehearsed: str) -> None:
    status = home.json("status", "part-rehearsal")
    assert status["state"] == "finished"
    assert {(t["dataset"], t["loss"]) for t in status["trials"]} == PART
    assert {t["state"] for t in status["trials"]} == {"finished"}
    assert all(0 <= t["test_dsc"] <= 1 for t in status["trials"])


def test_all_says_that_it_is_synthetic_and_a_rehearsal(rehearsed: str, report: str, runs: list[Any]) -> None:
    assert "REHEARSAL of part: its scores say nothing about the losses" in rehearsed
    assert "Rehearsal: small networks, few epochs" in report
    assert "Synthetic images: " in report
    assert {run.data.tags["provenance"] for run in runs} <= {"rehearsal", "synthetic"}
    assert {run.data.params["data.provenance"] for run in runs if "loss.name" in run.data.params} == {"synthetic"}


def test_the_report_tells_what_each_data_set_needs_told(report: str) -> None:
    assert "cvc_clinicdb: leakage: neighbouring frames of one video may lie in training and test" in report
    assert "drive: the test set is the official one of its distribution." in report
    assert "no enhancing tumour (label 4)" in report
    assert "excluded by the paper" in report


def test_pictures_that_are_switched_off_are_nowhere(home: Home, report: str, runs: list[Any]) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{home.folder / 'mlflow.db'}")
    trials = [run for run in runs if "loss.name" in run.data.params]
    assert len(trials) == len(PART)
    for run in trials:
        shown = run.data.tags["dataset"] != "bus2017"
        assert bool(client.list_artifacts(run.info.run_id, "segmentations")) is shown
    assert report.count("its pictures are switched off (pictures = false)") == 1
    for trial in home.json("status", "part-rehearsal")["trials"]:
        pictures = {p.name for p in (home.folder / "trials" / trial["hash"]).iterdir()}
        assert bool(pictures & {"segmentations.png", "input_example.npy"}) is (trial["dataset"] != "bus2017")


def test_no_folder_of_the_data_is_told(home: Home, report: str, runs: list[Any]) -> None:
    assert str(home.folder) not in report
    source, prepared = str(home.folder / "rehearsal"), str(home.folder / "prepared")
    for run in runs:
        told = f"{run.data.tags} {run.data.params}"
        assert source not in told
        assert prepared not in told
    texts = [*_texts(home.folder / "mlartifacts"), *_texts(home.folder / "prepared", "manifest.json")]
    assert len(texts) > len(PART)
    for path in texts:
        content = path.read_bytes()
        assert source.encode() not in content, path
        assert prepared.encode() not in content, path


def _texts(folder: Path, name: str = "*") -> Iterator[Path]:
    return (path for path in folder.rglob(name) if path.is_file())
