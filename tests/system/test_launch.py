"""A sweep's life through the command line: real Ray, real training, real MLflow, SQLite."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from nbclient import NotebookClient

from storage.database import open_database
from storage.studies import Studies
from tests.docs.test_notebook import outputs, read_notebook
from tests.system.sweeps import TINY_GRID, Home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

LOSS = """
[[losses]]
name = "power_jaccard"
power = [1.5, 3.0]

"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("sweeps") / "home")


@pytest.fixture(scope="module")
def launched(home: Home) -> str:
    """What the first launch printed."""
    return home.run("launch", "--grid", home.grid())


def scores(home: Home, sweep: str) -> dict[str, Any]:
    with home.repository() as repository:
        return dict(repository.score_columns(sweep))


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


def test_a_grid_that_grows_by_a_loss_runs_only_what_is_new_and_is_resumed_without_the_loss_s_file(
    home: Home, launched: str, tmp_path: Path
) -> None:
    before = home.attempts("tiny")
    grown = home.grid(TINY_GRID.replace("[model]", LOSS + "[model]"), "grown.toml")
    plugin = Path(shutil.copy(EXAMPLES / "jaccard_loss.py", tmp_path / "ours.py"))
    launch = ("launch", "--grid", grown, "--plugin", str(plugin), "--limit", "1")
    assert "--extend" in home.run(*launch, code=2)
    home.run(*launch, "--extend")
    assert sorted(home.states("tiny").values()) == ["finished"] * 4 + ["queued"]
    plugin.unlink()
    home.run("resume", "tiny")
    assert list(home.states("tiny").values()) == ["finished"] * 5
    after = home.attempts("tiny")
    assert set(before) < set(after)
    assert set(after.values()) == {1}


def test_a_sweep_that_shares_cells_runs_none_of_them(home: Home, launched: str) -> None:
    before = home.attempts("tiny")
    assert "nothing to train" in home.run("launch", "--grid", home.grid(), "--name", "again")
    assert set(home.states("again").values()) == {"finished"}
    assert dict(home.attempts("again").items()) == {h: before[h] for h in home.attempts("again")}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Another home, with the same sweep under another name."""
    other = Home(tmp_path_factory.mktemp("sweeps") / "other")
    other.run("launch", "--grid", other.grid(), "--name", "demo")
    return other


def test_the_same_seed_gives_the_same_scores_in_another_home(home: Home, launched: str, other: Home) -> None:
    ours, theirs = scores(home, "tiny"), scores(other, "demo")
    assert max(theirs["dsc"]) > 0.5
    keys = ("trial", "partition", "case", "label", "dsc", "iou", "precision", "recall")
    trained = set(theirs["trial"])  # the first home's sweep may have grown since
    assert sorted(row for row in zip(*(ours[k] for k in keys), strict=True) if row[0] in trained) == sorted(
        zip(*(theirs[k] for k in keys), strict=True)
    )
    assert len(trained) == 3


def test_the_notebook_of_the_docs_runs(other: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in other.environment.items():
        monkeypatch.setenv(name, value)
    notebook = read_notebook()
    stored = outputs(notebook)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = outputs(notebook)
    assert all(shown)
    assert "unified_focal_asym" in shown[0]
    assert shown[0] != stored[0], "the outputs are the stored ones: nothing was run"
    trials = other.json("status", "demo")["trials"]
    assert all(f"{trial['test_dsc']:.6f}" in shown[0] for trial in trials)
