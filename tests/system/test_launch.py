"""A sweep's life through the command line: real Ray, real training, real MLflow, SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage.database import open_database
from storage.repository import Repository
from storage.studies import Studies
from tests.system.sweeps import TINY_GRID, Home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("sweeps") / "home")


@pytest.fixture(scope="module")
def launched(home: Home) -> str:
    """What the first launch printed."""
    return home.run("launch", "--grid", home.grid())


def scores(home: Home, sweep: str) -> dict[str, Any]:
    with open_database(f"sqlite:///{home.folder / 'sweeper.db'}", create=False) as database:
        return dict(Repository(database).score_columns(sweep))


def test_every_trial_finishes_and_the_report_is_there(home: Home, launched: str) -> None:
    status = home.json("status", "tiny")
    assert status["state"] == "finished"
    assert [t["state"] for t in status["trials"]] == ["finished"] * 3
    assert all(0 <= t["test_dsc"] <= 1 for t in status["trials"])
    assert launched.count("prepared nuclei: 60 of 60 cases") == 1
    assert "Look at it:" in launched
    report = home.folder / "reports" / "tiny" / "report.html"
    assert "unified_focal_asym" in report.read_text() or "Unified Focal (asym)" in report.read_text()


def test_plan_knows_that_it_is_finished(home: Home, launched: str) -> None:
    plan = home.json("plan", "--grid", home.grid())
    assert {t["hash"]: t["state"] for t in plan["trials"]} == home.states("tiny")
    assert plan["finished"] == 3


def test_a_second_launch_trains_nothing(home: Home, launched: str) -> None:
    before = home.attempts("tiny")
    assert "nothing to train" in home.run("launch", "--grid", home.grid())
    assert home.attempts("tiny") == before == dict.fromkeys(before, 1)


def test_mlflow_has_a_parent_and_a_child_for_each_trial(home: Home, launched: str) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{home.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sweeper")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=50)
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert [r.info.run_name for r in parents] == ["tiny"]
    assert len(children) == 3
    states = home.json("status", "tiny")["trials"]
    by_id = {r.info.run_id: r for r in children}
    for trial in states:
        run = by_id[trial["mlflow_run"]]
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test_dsc"] == pytest.approx(trial["test_dsc"])
        assert run.data.tags["dataset"] == "nuclei"
        assert run.data.params["training.epochs"] == "2"
        assert len(client.get_metric_history(run.info.run_id, "val_dsc")) >= 2
        assert client.list_artifacts(run.info.run_id, "segmentations")


def test_optuna_has_a_study_of_gamma(home: Home, launched: str) -> None:
    with open_database(f"sqlite:///{home.folder / 'sweeper.db'}", create=False) as database:
        study = Studies(database).study("tiny/nuclei/unified_focal_asym")
        finished = {t.user_attrs["hash"]: t for t in study.trials}
    expected = {t["hash"]: t for t in home.json("status", "tiny")["trials"] if t["gamma"] is not None}
    assert {h: t.params["gamma"] for h, t in finished.items()} == {h: t["gamma"] for h, t in expected.items()}
    for trial_hash, trial in expected.items():
        assert finished[trial_hash].value == pytest.approx(trial["val_dsc"])
        assert finished[trial_hash].user_attrs["test_dsc"] == pytest.approx(trial["test_dsc"])
        assert finished[trial_hash].user_attrs["mlflow_run"] == trial["mlflow_run"]


def test_a_grown_grid_runs_only_what_is_new(home: Home, launched: str) -> None:
    before = home.attempts("tiny")
    grown = home.grid(TINY_GRID.replace('name = "ce"', 'name = "ce"\n\n[[losses]]\nname = "dice"'), "grown.toml")
    message = home.run("launch", "--grid", grown, code=2)
    assert "--extend" in message
    home.run("launch", "--grid", grown, "--extend")
    after = home.attempts("tiny")
    assert len(after) == 4
    assert {h: n for h, n in after.items() if h in before} == before
    assert set(home.states("tiny").values()) == {"finished"}


def test_a_sweep_that_shares_cells_runs_none_of_them(home: Home, launched: str) -> None:
    before = home.attempts("tiny")
    assert "nothing to train" in home.run("launch", "--grid", home.grid(), "--name", "again")
    assert set(home.states("again").values()) == {"finished"}
    assert dict(home.attempts("again").items()) == {h: before[h] for h in home.attempts("again")}


def test_a_limited_sweep_is_resumed(home: Home, launched: str) -> None:
    other = TINY_GRID.replace("epochs = 2", "epochs = 1").replace('"tiny"', '"limited"')
    home.run("launch", "--grid", home.grid(other, "limited.toml"), "--limit", "1")
    states = list(home.states("limited").values())
    assert sorted(states) == ["finished", "queued", "queued"]
    home.run("resume", "limited")
    assert set(home.states("limited").values()) == {"finished"}
    assert set(home.attempts("limited").values()) == {1}


def test_the_same_seed_gives_the_same_scores_in_another_home(home: Home, launched: str, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.run("launch", "--grid", other.grid())
    ours, theirs = scores(home, "again"), scores(other, "tiny")
    assert max(ours["dsc"]) > 0.5
    keys = ("trial", "partition", "case", "label", "dsc", "iou", "precision", "recall")
    assert sorted(zip(*(ours[k] for k in keys), strict=True)) == sorted(zip(*(theirs[k] for k in keys), strict=True))
