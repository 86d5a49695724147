"""The sweep's parent run, its views, and the registered best model."""

from __future__ import annotations

import base64
import json
import math
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.workers.tracking.tracking_samples import NOBODY, fake_keras_file, runs, trial, with_model
from workers.tracking import SweepTracker, TrackingUnavailableError, replay, run_page, runs_page
from workers.tracking.client import connect
from workers.tracking.records import Dataset
from workers.tracking.views import sweep_views


def test_a_restarted_coordinator_goes_on_in_the_same_parent_run(uri: str, tmp_path: Path) -> None:
    tracker = SweepTracker(uri, "it's a sweep", experiment="tests")
    first = tracker.start(description="# What", tags={"grid": "demo"})
    again = SweepTracker(uri, "it's a sweep", experiment="tests")
    assert again.start() == first
    report = tmp_path / "report"
    (report / "figures").mkdir(parents=True)
    (report / "index.html").write_text("<p>")
    (report / "figures" / "gamma.svg").write_text("<svg/>")
    again.artifacts([report], "report")
    again.artifacts([report / "index.html"])
    again.metrics({"finished": 3})
    again.describe("# Result")
    again.finish()
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as store:
        counted = {table for (table,) in store.execute("SELECT DISTINCT tbl FROM sqlite_stat1")}
    assert {"runs", "tags", "latest_metrics"} <= counted  # or a page of 5,000 trials takes a minute to sort them
    (run,) = runs(uri)
    assert run.info.run_name == "it's a sweep"
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.note.content"] == "# Result"
    assert run.data.tags["grid"] == "demo"
    client = connect(uri)
    assert {f.path for f in client.list_artifacts(first)} == {"index.html", "report"}
    assert {f.path for f in client.list_artifacts(first, "report")} == {"report/figures", "report/index.html"}


def test_a_sweep_waits_for_a_server_that_went_away_but_not_for_one_that_never_was(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    with pytest.raises(TrackingUnavailableError, match="could not be reached"):
        SweepTracker(NOBODY, "s", experiment="tests", patience=math.inf)
    tracker = SweepTracker(uri, "s", experiment="tests", patience=30)
    tracker.start()
    client, failures = connect(uri), 6
    terminate = client.set_terminated

    def failing(*args: Any, **keywords: Any) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise ConnectionError("nobody there")
        terminate(*args, **keywords)

    monkeypatch.setattr(client, "set_terminated", failing)
    tracker.finish()
    assert [run.info.status for run in runs(uri)] == ["FINISHED"]


def test_two_sweeps_have_two_parents(uri: str) -> None:
    names = ["a", "b"]
    ids = {SweepTracker(uri, name, experiment="tests").start() for name in names}
    assert len(ids) == 2


def test_each_data_set_gets_a_view_sorted_by_test_dsc(uri: str) -> None:
    tracker = SweepTracker(uri, "demo", experiment="tests")
    tracker.start(datasets={"nuclei": 1, 'we"ird': 1})
    tags = connect(uri).get_experiment(tracker.experiment_id).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    views = {json.loads(v)["name"]: json.loads(v) for k, v in tags.items() if k.startswith("mlflow.sharedViewState.")}
    own = {"demo", "demo: best loss on nuclei", 'demo: best loss on we"ird'}
    assert set(views) == {"Best loss on nuclei", 'Best loss on we"ird', *own}
    tables = {
        name: json.loads(zlib.decompress(base64.b64decode(view["state"].removeprefix("deflate;"))))
        for name, view in views.items()
    }
    table = tables["Best loss on nuclei"]
    assert table["orderByKey"] == "metrics.`test_dsc`"
    assert table["orderByAsc"] is False
    groups = tables["demo: best loss on nuclei"]["groupBy"]["groupByKeys"]
    assert [key["groupByData"] for key in groups] == ["loss_at_gamma"]
    # the filter is one that MLflow understands and that finds this data set's runs
    client = connect(uri)
    client.create_run(tracker.experiment_id, tags={"dataset": "nuclei", "provenance": "real"})
    below = {"mlflow.parentRunId": tracker.run_id, "dataset": "nuclei", "provenance": "rehearsal"}
    client.create_run(tracker.experiment_id, tags=below)
    for query in (table["searchFilter"], tables["demo: best loss on nuclei"]["searchFilter"]):
        assert len(client.search_runs([tracker.experiment_id], query)) == 1
    assert runs_page("http://h:1/", "4") == "http://h:1/#/experiments/4/runs?workflowType=machine_learning"


def test_the_sweeps_run_has_answer_ranking_and_report_and_links_to_them(uri: str, tmp_path: Path) -> None:
    tracker = SweepTracker(uri, "linked", experiment="tests")
    data = Dataset("nuclei", "k" * 16, "s" * 16, source="https://example.org")
    run = tracker.start(description="What it asks.", datasets={"nuclei": 3}, inputs=[data])
    written = tmp_path / "written"
    (written / "figures").mkdir(parents=True)
    for name in ("report.html", "figures/gamma.svg", "figures/gamma.png"):
        (written / name).write_text("x")
    for _ in range(2):  # repeating it changes nothing
        tracker.answer(["Dice is best."], [{"loss": "dice", "test DSC": 0.9}], written)
        tracker.metrics({"test_dsc/nuclei/nucleus/dice": 0.9})
    client = connect(uri)
    found = client.get_run(run)
    files = f"#/experiments/{tracker.experiment_id}/runs/{run}/artifactPath"
    note = found.data.tags["mlflow.note.content"]
    assert note.endswith("\n\nDice is best.")
    assert f"[the report]({files}/report/report.html?workflowType=machine_learning)" in note
    assert f"[the ranking]({files}/ranking.json?workflowType=machine_learning)" in note
    link = note.partition("[nuclei](")[2].partition(")")[0]
    assert tracker.page("http://h") == f"http://h/{link}"
    table = json.loads(Path(client.download_artifacts(run, "ranking.json", str(tmp_path))).read_text())
    assert table == {"columns": ["loss", "test DSC"], "data": [["dice", 0.9]]}
    assert len(client.get_metric_history(run, "test_dsc/nuclei/nucleus/dice")) == 1
    (used,) = found.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest, used.tags[1].value) == ("nuclei", "k" * 16, "s" * 16)
    kept = {a.path for folder in ("report", "report/figures") for a in client.list_artifacts(run, folder)}
    assert {"report/report.html", "report/figures/gamma.svg", "report/figures/gamma.png"} <= kept


def test_a_large_sweep_shows_single_trials_since_a_mean_over_the_first_hundred_would_be_wrong() -> None:
    for count, grouped in ((100, True), (101, False)):
        ((_, value),) = sweep_views("s", "r", {"nuclei": count}, provenance="real", now=1)
        state = json.loads(zlib.decompress(base64.b64decode(json.loads(value)["state"].removeprefix("deflate;"))))
        assert (state["groupBy"] is not None) == grouped


@pytest.mark.parametrize(
    ("base", "page"),
    [
        ("http://h:5000", "http://h:5000/#/runs/a?workflowType=machine_learning"),
        ("https://name:secret@h/base/", "https://h/base/#/runs/a?workflowType=machine_learning"),
        ("sqlite:////tmp/mlflow.db", ""),
        ("databricks", ""),
        ("", ""),
    ],
)
def test_the_page_of_a_run(base: str, page: str) -> None:
    assert run_page(base, "a") == page
    assert run_page(base, None) == ""


@pytest.mark.slow
def test_the_best_model_is_registered_once_and_its_alias_moves(uri: str, tmp_path: Path) -> None:
    first, second = trial(0.1), trial(0.2)
    for spec in (first, second):
        folder = tmp_path / spec.hash
        folder.mkdir()
        result = replay(with_model(folder, spec, fake_keras_file(folder / "m.keras")), uri, experiment="tests")
        assert result.refused == ()
        assert not list(folder.glob("mlflow-model-*"))
    tracker = SweepTracker(uri, "demo", experiment="tests")
    tracker.start()
    (best,) = tracker.register_best({"kits19": first.hash, "nuclei": "0" * 16})
    assert (best.name, best.version, best.trial) == ("demo-kits19", "1", first.hash)
    assert best.score == pytest.approx(0.55)
    assert tracker.register_best({"kits19": first.hash}, descriptions={"kits19": "What it is not for."}) == [best]
    assert connect(uri).get_model_version("demo-kits19", "1").description == "What it is not for."
    (moved,) = tracker.register_best({"kits19": second.hash})
    assert moved.version == "2"
    client = connect(uri)
    assert int(client.get_model_version_by_alias("demo-kits19", "best").version) == 2
    (back,) = tracker.register_best({"kits19": first.hash})
    assert back.version == "1"
