"""A sweep's life through the command line: real Ray, real training, real MLflow, SQLite."""

from __future__ import annotations

import shutil
from pathlib import Path

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
power = 1.5

"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("sweeps") / "home")


@pytest.fixture(scope="module")
def launched(home: Home) -> str:
    """What the first launch printed."""
    return home.run("launch", "--grid", home.grid())


def test_every_trial_finishes_and_the_report_is_there(home: Home, launched: str) -> None:
    status = home.json("status", "tiny")
    assert status["state"] == "finished"
    assert [t["state"] for t in status["trials"]] == ["finished"] * 3
    assert all(0 <= t["test_dsc"] <= 1 for t in status["trials"])
    with home.repository() as repository:
        assert max(repository.score_columns("tiny")["dsc"]) > 0.5
    assert launched.count("prepared nuclei: 60 of 60 cases") == 1
    assert "Look at it:" in launched
    report = home.folder / "reports" / "tiny" / "report.html"
    assert "unified_focal_asym" in report.read_text() or "Unified Focal (asym)" in report.read_text()


def test_plan_knows_that_it_is_finished(home: Home, launched: str) -> None:
    plan = home.json("plan", "--grid", home.grid())
    assert {t["hash"]: t["state"] for t in plan["trials"]} == home.states("tiny")
    assert plan["finished"] == 3


def test_a_fresh_sweep_would_share_nothing(home: Home, launched: str) -> None:
    plan = home.json("plan", "--grid", home.grid(), "--set", "share=false", "--name", "fresh")
    assert {t["state"] for t in plan["trials"]} == {"new"}


def test_one_cell_alone_gives_its_numbers_again(home: Home, launched: str) -> None:
    trial = min(home.attempts("tiny"))
    assert "scores equal the stored ones" in home.run("run", trial)
    assert home.attempts("tiny")[trial] == 1


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


def test_a_grid_that_grows_by_a_loss_runs_only_what_is_new(home: Home, launched: str, tmp_path: Path) -> None:
    before = home.attempts("tiny")
    grown = home.grid(TINY_GRID.replace("[model]", LOSS + "[model]"), "grown.toml")
    plugin = Path(shutil.copy(EXAMPLES / "jaccard_loss.py", tmp_path / "ours.py"))
    home.run("launch", "--grid", grown, "--plugin", str(plugin), "--extend")
    assert list(home.states("tiny").values()) == ["finished"] * 4
    after = home.attempts("tiny")
    assert set(before) < set(after)
    assert set(after.values()) == {1}


@pytest.fixture(scope="module")
def shared(home: Home, launched: str) -> str:
    """What a launch of the same grid under another name printed."""
    return home.run("launch", "--grid", home.grid(), "--name", "demo")


def test_a_sweep_that_shares_cells_runs_none_of_them(home: Home, shared: str) -> None:
    assert "nothing to train" in shared
    assert list(home.states("demo").values()) == ["finished"] * 3
    assert set(home.attempts("demo").values()) == {1}


def test_the_notebook_of_the_docs_runs(home: Home, shared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    notebook = read_notebook()
    stored = outputs(notebook)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = outputs(notebook)
    assert all(shown)
    assert "unified_focal_asym" in shown[0]
    assert shown[0] != stored[0], "the outputs are the stored ones: nothing was run"
    trials = home.json("status", "demo")["trials"]
    assert all(f"{trial['test_dsc']:.6f}" in shown[0] for trial in trials)
