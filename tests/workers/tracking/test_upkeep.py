"""A sweep that is renamed or deleted, as MLflow has it afterwards."""

from __future__ import annotations

from pathlib import Path

from tests.workers.tracking.tracking_samples import runs, trial, write_trial
from workers.tracking import SweepTracker, replay
from workers.tracking.client import connect
from workers.tracking.upkeep import delete_sweep, rename_sweep


def written(uri: str, folder: Path, sweep: str, *gammas: float) -> list[str]:
    """A sweep's run with those of its trials, and a registered model; the runs' ids, the sweep's first."""
    tracker = SweepTracker(uri, sweep, experiment="tests")
    ids = [tracker.start()]
    for gamma in gammas:
        path = folder / sweep / str(gamma)
        path.mkdir(parents=True)
        replayed = replay(write_trial(path, trial(gamma)), uri, experiment="tests", parent_run=tracker.run_id)
        assert replayed.refused == ()
    connect(uri).create_registered_model(f"{sweep}-kits19", tags={"dataset": "kits19", "sweep": sweep})
    return ids


def models(uri: str) -> list[str]:
    return sorted(model.name for model in connect(uri).search_registered_models())


def test_runs_and_models_have_the_new_name(uri: str, tmp_path: Path) -> None:
    (parent,) = written(uri, tmp_path, "old", 0.1)
    written(uri, tmp_path, "older")
    for _ in range(2):  # repeating it changes nothing
        rename_sweep(uri, "old", "new", experiment="tests")
    assert models(uri) == ["new-kits19", "older-kits19"]
    names = {run.data.tags["sweep"] for run in runs(uri)}
    assert names == {"new", "older"}
    assert SweepTracker(uri, "new", experiment="tests").start() == parent
    assert connect(uri).get_run(parent).info.run_name == "new"


def test_the_runs_of_trials_that_go_are_marked_and_those_of_others_stay(uri: str, tmp_path: Path) -> None:
    written(uri, tmp_path, "gone", 0.1, 0.2)
    written(uri, tmp_path, "stays")
    kept = trial(0.2).hash
    assert delete_sweep(uri, "gone", trials={trial(0.1).hash}, runs=[], experiment="tests") == 2
    left = {run.data.tags.get("sweeper.trial") or run.data.tags["sweep"] for run in runs(uri)}
    assert left == {kept, "stays"}
    assert models(uri) == ["stays-kits19"]
    assert delete_sweep(uri, "gone", trials={trial(0.1).hash}, runs=[], experiment="tests") == 0


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    rename_sweep(uri, "a", "b", experiment="tests")
    assert delete_sweep(uri, "a", trials=(), runs=(), experiment="tests") == 0
    assert list(tmp_path.iterdir()) == []
