"""The spool and its replay against a real SQLite store of MLflow; the server and TensorFlow only in slow tests."""

import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.result import CaseScore, EpochRecord, TrialResult
from workers.spec import DataSpec, LossSpec, TrialSpec
from workers.tracking import (
    Replayer,
    Spool,
    SweepTracker,
    TrackingInputError,
    TrackingUnavailableError,
    ensure_store,
    replay,
    run_id,
    runs_page,
)
from workers.tracking.client import connect
from workers.tracking.describe import final_values, metric_key, model_name, run_params, run_tags
from workers.tracking.gauges import Gauges
from workers.tracking.spool import read_records

NOBODY = "http://127.0.0.1:9"  # the discard port: connections are refused at once
CLASSES = ("kidney", "kidney tumour")


def trial(gamma: float = 0.5, repeat: int = 0, scope: str = "") -> TrialSpec:
    loss = LossSpec("unified_focal_asym", {"gamma": gamma, "delta": 0.6})
    return TrialSpec(DataSpec("kits19", CLASSES, 3, "p" * 16, "s" * 16), loss, repeat=repeat, seed=7, scope=scope)


def epoch(number: int, loss: float = 0.5) -> EpochRecord:
    return EpochRecord(number, loss, loss + 0.1, 0.8, 0.1, 10 * number, 1.5)


def outcome(spec: TrialSpec) -> TrialResult:
    scores = [
        CaseScore(partition, f"case{i}", label, dsc=0.5 + 0.1 * i, iou=0.4, precision=0.9, recall=None)
        for partition in ("validation", "test")
        for label in CLASSES
        for i in range(2)
    ]
    history = tuple(epoch(number) for number in (1, 2, 3))
    return TrialResult(spec.hash, tuple(scores), history, 2, True, 0, 30, 1234, 4.5, 0.5, 321.0, {"keras": "3.15.0"})


def write_trial(folder: Path, spec: TrialSpec, *, finish: bool = True) -> Path:
    path = folder / "spool.jsonl"
    with Spool(path) as spool:
        spool.start(spec, sweep="sweep one")
        for number in (1, 2, 3):
            spool.epoch(epoch(number))
        (folder / "overlay.png").write_bytes(b"\x89PNG")
        spool.artifact(folder / "overlay.png", "overlays")
        if finish:
            spool.finish(outcome(spec))
    return path


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables take two seconds to make; every test copies them."""
    folder = tmp_path_factory.mktemp("mlflow")
    ensure_store(f"sqlite:///{folder}/mlflow.db", experiment="untouched")
    return folder / "mlflow.db"


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path) -> str:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    address = f"sqlite:///{tmp_path}/mlflow.db"
    ensure_store(address, experiment="tests", artifact_root=tmp_path / "artifacts")
    return address


def runs(uri: str, experiment: str = "tests") -> list:
    client = connect(uri)
    return list(client.search_runs([client.get_experiment_by_name(experiment).experiment_id]))


def state(uri: str, experiment: str = "tests") -> list[dict]:
    """All that MLflow holds of each run, its own ids aside."""
    client = connect(uri)
    found = []
    for run in runs(uri, experiment):
        ours = f"source_run_id = '{run.info.run_id}'"
        histories = {
            key: sorted((m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, key))
            for key in run.data.metrics
        }
        files = [file.path for file in client.list_artifacts(run.info.run_id, "overlays")]
        found.append(
            {
                "name": run.info.run_name,
                "status": run.info.status,
                "times": (run.info.start_time, run.info.end_time),
                "tags": run.data.tags,
                "params": run.data.params,
                "metrics": histories,
                "files": files,
                "models": [
                    (model.name, model.status, {m.key: m.value for m in model.metrics or []})
                    for model in client.search_logged_models([run.info.experiment_id], ours)
                ],
                "datasets": [d.dataset.name for d in run.inputs.dataset_inputs],
            }
        )
    return sorted(found, key=lambda run: run["name"])


# --- the spool ---------------------------------------------------------------------------------------------------


def test_a_spool_numbers_its_records_and_keeps_relative_paths(tmp_path: Path) -> None:
    path = write_trial(tmp_path / "trial", trial())
    records = list(read_records(path))
    assert [r.number for r in records] == [1, 2, 3, 4, 5, 6]
    assert [r.kind for r in records] == ["start", "metrics", "metrics", "metrics", "artifact", "end"]
    assert records[4].fields == {"path": "overlay.png", "folder": "overlays"}
    assert records[-1].end == path.stat().st_size
    assert all(a.at <= b.at for a, b in itertools.pairwise(records))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_spool_cut_anywhere_is_a_prefix_and_goes_on(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    path = write_trial(folder, trial())
    whole = list(read_records(path))
    cut = data.draw(st.integers(0, path.stat().st_size))
    os.truncate(path, cut)
    complete = [record for record in whole if record.end <= cut]
    assert list(read_records(path)) == complete
    with Spool(path) as spool:
        assert spool.append("metrics", {"step": 9, "values": {}}) == len(complete) + 1
    after = list(read_records(path))
    assert after[:-1] == complete
    assert after[-1].number == len(complete) + 1


def test_a_killed_writer_loses_no_complete_record(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    code = (
        "import sys, itertools; from pathlib import Path; from workers.tracking.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "for i in itertools.count():\n"
        "    spool.append('metrics', {'step': i, 'values': {'loss': 1.0}}); print(i, flush=True)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child, child.stdout:
        for _ in range(200):
            said = child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
    last = int((said + rest).split("\n")[-2])
    steps = [record.fields["step"] for record in read_records(path)]
    assert steps == list(range(len(steps)))
    assert len(steps) > last >= 199


def test_a_repeated_epoch_is_written_once_unless_its_values_differ(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    with Spool(path) as spool:
        spool.epoch(epoch(1))
        spool.epoch(epoch(2, loss=math.nan))
    with Spool(path) as spool:  # a resumed trial repeats the epochs since its checkpoint
        spool.epoch(epoch(1))
        spool.epoch(epoch(2, loss=math.nan))
        spool.epoch(epoch(2, loss=0.25))
    losses = [record.fields["values"]["loss"] for record in read_records(path)]
    assert losses[0] == 0.5
    assert math.isnan(losses[1])
    assert losses[2:] == [0.25]


def test_an_unreadable_line_holds_nothing_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "spool.jsonl"
    with Spool(path) as spool:
        spool.epoch(epoch(1))
    with path.open("ab") as file:
        file.write(b"\x00\x00garbage\n[1]\n")
    with Spool(path) as spool:
        spool.epoch(epoch(2))
    assert [record.fields["step"] for record in read_records(path)] == [1, 2]
    assert str(path) in caplog.text


def test_reading_and_writing_need_neither_mlflow_nor_tensorflow() -> None:
    code = (
        "import sys, workers.tracking, workers.overlays; "
        "print([m for m in ('mlflow', 'tensorflow', 'keras', 'sqlalchemy', 'ray') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


# --- how a trial reads ---------------------------------------------------------------------------------------------


def test_tags_and_parameters_name_all_that_a_person_filters_by() -> None:
    spec = trial(gamma=0.30000000000000004, repeat=2)
    tags = run_tags(spec, sweep="s", attempt=3, provenance="rehearsal")
    expected = {"sweep": "s", "dataset": "kits19", "loss": "unified_focal_asym", "gamma": "0.3", "repeat": "2"}
    assert expected.items() <= tags.items()
    assert tags["provenance"] == "rehearsal"
    assert tags["sweeper.trial"] == spec.hash
    params = run_params(spec)
    assert params["loss.delta"] == "0.6"
    assert params["loss.name"] == "unified_focal_asym"
    assert params["training.learning_rate"] == "0.1"
    assert params["data.classes"] == "kidney, kidney tumour"
    assert not any("None" in value for value in params.values())
    ce = TrialSpec(DataSpec("nuclei", ("nucleus",), 2), LossSpec("ce"))
    assert "gamma" not in run_tags(ce, sweep="s", attempt=1)


def test_final_metrics_are_means_over_images_then_classes() -> None:
    scores = (
        CaseScore("test", "a", "kidney", 0.9, 0.8, None, 1.0),
        CaseScore("test", "b", "kidney", 0.7, 0.6, None, None),
        CaseScore("test", "a", "kidney tumour", 0.2, 0.1, None, 0.5),
        CaseScore("validation", "c", "kidney", 0.6, 0.5, 0.4, 0.3),
    )
    result = TrialResult("h", scores, (), 1, False, 0, 1, 1, 1.0, 1.0, 1.0)
    values = final_values(result)
    assert values["test_dsc_kidney"] == pytest.approx(0.8)
    assert values["test_dsc_kidney_tumour"] == pytest.approx(0.2)
    assert values["test_dsc"] == pytest.approx(0.5)
    assert values["test_recall"] == pytest.approx(0.75)
    assert values["val_dsc_best"] == pytest.approx(0.6)
    assert "test_precision" not in values  # undefined everywhere
    assert "val_dsc" not in values  # the history's name


@given(st.text(max_size=40))
def test_any_class_or_trial_name_becomes_one_that_mlflow_allows(name: str) -> None:
    assert all(sign.isascii() and (sign.isalnum() or sign in "_-.") for sign in metric_key(name))
    spec = TrialSpec(DataSpec(name, ("a",), 2), LossSpec("dice"))
    assert not set(model_name(spec)) & set("/:.%\"'")


def test_gauges_have_the_names_of_mlflows_system_metrics() -> None:
    gauges = Gauges()
    sum(i * i for i in range(200_000))
    values = gauges.read()
    assert 0 < values["system/system_memory_usage_percentage"] < 100
    assert values["system/process_memory_megabytes"] > 10
    assert 0 <= values["system/cpu_utilization_percentage"] <= 100


# --- the replay ------------------------------------------------------------------------------------------------------


def test_a_replay_brings_the_whole_trial_and_a_second_changes_nothing(uri: str, tmp_path: Path) -> None:
    spec = trial()
    path = write_trial(tmp_path / "trial", spec)
    assert run_id(path) == ""
    result = replay(path, uri, experiment="tests", parent_run="the-parent")
    assert run_id(path) == result.run_id == runs(uri)[0].info.run_id
    assert (result.sent, result.left, result.error, result.refused, result.ended) == (6, 0, "", (), True)
    (run,) = state(uri)
    assert run["name"] == spec.label
    assert run["status"] == "FINISHED"
    assert run["tags"]["mlflow.parentRunId"] == "the-parent"
    assert run["tags"]["sweeper.trial"] == spec.hash
    assert run["tags"]["environment.keras"] == "3.15.0"
    assert run["params"] == run_params(spec)
    assert [(step, value) for step, value, _ in run["metrics"]["val_dsc"]] == [(1, 0.8), (2, 0.8), (3, 0.8)]
    assert run["metrics"]["test_dsc"][0][:2] == (2, pytest.approx(0.55))
    assert run["files"] == ["overlays/overlay.png"]
    assert run["datasets"] == ["kits19"]
    again = replay(path, uri, experiment="tests", parent_run="the-parent")
    assert (again.sent, again.left) == (0, 0)
    assert state(uri) == [run]


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code under test may catch it."""


@pytest.mark.parametrize(
    ("module", "place"), [("workers.tracking.client", "_translated"), ("workers.tracking.replay", "_save_position")]
)
def test_a_kill_at_any_moment_repeats_nothing(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, place: str
) -> None:
    """Dies once after the n-th call to MLflow, or before the n-th position is written, for every n there is."""
    folder = tmp_path / "trial"
    folder.mkdir()
    path = with_model(folder, trial(), fake_keras_file(folder / "m.keras"))
    write_trial(folder, trial())  # the same run once more, as after a restart, with metrics and an artifact
    ensure_store(uri, experiment="undisturbed", artifact_root=tmp_path / "artifacts")
    replay(path, uri, experiment="undisturbed")
    undisturbed = state(uri, "undisturbed")
    patched = sys.modules[module]
    original = getattr(patched, place)

    def dies_once_at(turn: int) -> bool:
        seen = 0

        def dying(*args: Any, **keywords: Any) -> Any:
            nonlocal seen
            seen += 1
            mine = seen
            if mine == turn and place == "_save_position":
                raise Killed
            result = original(*args, **keywords)
            if mine == turn:
                raise Killed
            return result

        monkeypatch.setattr(patched, place, dying)
        try:
            replay(path, uri, experiment=f"turn {turn}")
        except Killed:
            return True
        finally:
            monkeypatch.setattr(patched, place, original)
        return False

    for turn in range(1, 100):
        ensure_store(uri, experiment=f"turn {turn}", artifact_root=tmp_path / "artifacts")
        died = dies_once_at(turn)
        result = replay(path, uri, experiment=f"turn {turn}")
        assert (result.left, result.refused, result.error) == (0, (), "")
        for got, expected in zip(state(uri, f"turn {turn}"), undisturbed, strict=True):
            assert got == expected, f"turn {turn}"
        if not died:
            break
    assert turn > 8


def test_a_lost_position_makes_no_second_run_and_no_second_metric(uri: str, tmp_path: Path) -> None:
    path = write_trial(tmp_path / "trial", trial())
    replay(path, uri, experiment="tests")
    before = state(uri)
    path.with_suffix(".position.json").write_text("{ half")
    result = replay(path, uri, experiment="tests")
    assert result.sent == 6
    assert state(uri) == before


def test_a_later_attempt_goes_on_in_the_same_run(uri: str, tmp_path: Path) -> None:
    spec = trial()
    path = write_trial(tmp_path / "trial", spec, finish=False)
    with Spool(path) as spool:
        spool.fail("out_of_memory", "needed 20 GiB of 16")
    first = replay(path, uri, experiment="tests")
    (run,) = state(uri)
    assert run["status"] == "FAILED"
    assert run["tags"]["failure"] == "out_of_memory"
    assert "20 GiB" in run["tags"]["failure_message"]
    with Spool(path) as spool:
        spool.start(spec, sweep="sweep one", attempt=2)
        spool.epoch(epoch(3))
        spool.epoch(epoch(4))
    second = replay(path, uri, experiment="tests")
    assert second.run_id == first.run_id
    assert not second.ended
    assert [r["status"] for r in state(uri)] == ["RUNNING"]
    with Spool(path) as spool:
        spool.finish(outcome(spec))
    assert replay(path, uri, experiment="tests").ended
    (run,) = state(uri)
    assert run["status"] == "FINISHED"
    assert run["tags"]["sweeper.attempt"] == "2"
    assert run["tags"]["state"] == "finished"
    assert [step for step, _, _ in run["metrics"]["loss"]] == [1, 2, 3, 4]


def test_the_next_attempt_of_a_run_that_a_person_deleted_gets_a_new_run(uri: str, tmp_path: Path) -> None:
    spec = trial()
    path = write_trial(tmp_path / "trial", spec)
    first = replay(path, uri, experiment="tests").run_id
    connect(uri).delete_run(first)
    with Spool(path) as spool:
        spool.start(spec, sweep="sweep one", attempt=2)
        spool.finish(outcome(spec))
    result = replay(path, uri, experiment="tests")
    assert result.refused == ()
    assert result.run_id != first
    assert [r["status"] for r in state(uri)] == ["FINISHED"]


def test_a_store_that_lost_its_runs_gets_everything_again(uri: str, tmp_path: Path, empty_store: Path) -> None:
    path = write_trial(tmp_path / "trial", trial(), finish=False)
    replay(path, uri, experiment="tests")
    client = connect(uri)
    from sqlalchemy import text

    with client._tracking_client.store.engine.begin() as connection:  # a backup from before the sweep
        for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
            connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608
    with Spool(path) as spool:
        spool.finish(outcome(trial()))
    result = replay(path, uri, experiment="tests")
    assert result.left == 0
    (run,) = state(uri)
    assert [step for step, _, _ in run["metrics"]["loss"]] == [1, 2, 3]


def test_without_a_server_nothing_is_lost_and_nothing_raised(uri: str, tmp_path: Path) -> None:
    path = write_trial(tmp_path / "trial", trial())
    result = replay(path, NOBODY, experiment="tests", attempts=1)
    assert (result.sent, result.left, result.away) == (0, 6, True)
    assert "could not be reached" in result.error
    with pytest.raises(TrackingUnavailableError, match="could not be reached"):
        replay(path, NOBODY, experiment="tests", attempts=1, strict=True)
    assert replay(path, uri, experiment="tests").sent == 6


def test_two_senders_of_one_spool_do_not_meet(uri: str, tmp_path: Path) -> None:
    from filelock import FileLock

    path = write_trial(tmp_path / "trial", trial())
    with FileLock(path.with_suffix(".lock")):
        result = replay(path, uri, experiment="tests")
    assert (result.sent, result.left, result.away) == (0, 6, False)
    assert "another process" in result.error
    assert replay(path, uri, experiment="tests").left == 0
    assert len(runs(uri)) == 1


def test_one_refused_record_holds_no_other_up(uri: str, tmp_path: Path) -> None:
    path = tmp_path / "trial" / "spool.jsonl"
    spec = trial()
    with Spool(path) as spool:
        spool.start(spec, sweep="s")
        spool.epoch(epoch(1))
        spool.append("metrics", {"step": 2, "values": {"not?allowed": 1.0}})
        spool.epoch(epoch(3))
        spool.artifact(path.parent / "never_written.png", "overlays")
        spool.finish(outcome(spec))
    result = replay(path, uri, experiment="tests")
    assert result.left == 0
    assert len(result.refused) == 2
    assert "never_written.png" in result.refused[1]
    (run,) = state(uri)
    assert [step for step, _, _ in run["metrics"]["loss"]] == [1, 3]
    assert run["status"] == "FINISHED"


def test_more_metrics_than_one_call_takes(uri: str, tmp_path: Path) -> None:
    path = tmp_path / "trial" / "spool.jsonl"
    with Spool(path) as spool:
        spool.start(trial(), sweep="s")
        for number in range(1, 451):
            spool.epoch(epoch(number))
    began = time.monotonic()
    result = replay(path, uri, experiment="tests")
    assert (result.sent, result.left) == (451, 0)
    assert time.monotonic() - began < 20
    history = connect(uri).get_metric_history(result.run_id, "val_loss")
    assert sorted(m.step for m in history) == list(range(1, 451))


def test_nan_and_infinite_losses_are_reported_not_hidden(uri: str, tmp_path: Path) -> None:
    path = tmp_path / "trial" / "spool.jsonl"
    with Spool(path) as spool:
        spool.start(trial(), sweep="s")
        spool.epoch(epoch(1, loss=math.nan))
        spool.epoch(epoch(2, loss=math.inf))
        spool.fail("diverged", "loss became NaN in epoch 1")
    for _ in range(2):
        result = replay(path, uri, experiment="tests")
        path.with_suffix(".position.json").unlink()
    assert result.refused == ()
    values = {m.step: m.value for m in connect(uri).get_metric_history(result.run_id, "loss")}
    assert math.isnan(values[1])
    assert values[2] > 1e300
    assert len(connect(uri).get_metric_history(result.run_id, "loss")) == 2


def test_a_wrong_address_says_what_to_set(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingInputError, match=r"\./mlruns.*MLFLOW_TRACKING_URI"):
        ensure_store("./mlruns")
    path = write_trial(tmp_path / "trial", trial())
    missing = f"sqlite:///{tmp_path}/nowhere/mlflow.db"
    assert "does not exist" in replay(path, missing, experiment="tests").error
    with pytest.raises(TrackingInputError, match="no experiment 'typo'"):
        replay(path, uri, experiment="typo", strict=True)


# --- the thread --------------------------------------------------------------------------------------------------


def test_a_replayer_follows_growing_spools_and_forgets_finished_ones(uri: str, tmp_path: Path) -> None:
    with Replayer(uri, experiment="tests", every=0.05) as replayer:
        paths = [tmp_path / name / "spool.jsonl" for name in ("a", "b")]
        for path in paths:
            replayer.watch(path)  # before the file is there
        for path, gamma in zip(paths, (0.1, 0.9), strict=True):
            write_trial(path.parent, trial(gamma))
        assert replayer.wait(timeout=30)
        assert replayer.close(timeout=10) == {}
    assert [run["status"] for run in state(uri)] == ["FINISHED", "FINISHED"]


def test_a_replayer_sends_what_was_written_just_before_its_close(uri: str, tmp_path: Path) -> None:
    replayer = Replayer(uri, experiment="tests", every=3600)
    path = write_trial(tmp_path / "a", trial(), finish=False)
    replayer.watch(path)
    left = replayer.close(timeout=30)
    assert list(left) == [path]  # not ended, so still of interest to whoever goes on
    assert left[path].left == 0
    assert [run["status"] for run in state(uri)] == ["RUNNING"]


def test_a_replayer_without_a_server_delays_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_trial(tmp_path / "a", trial())
    replayer = Replayer(NOBODY, experiment="tests", every=0.05)
    began = time.monotonic()
    replayer.watch(path)
    replayer.flush()
    assert time.monotonic() - began < 0.5
    deadline = time.monotonic() + 30
    while replayer.pending()[path] is None and time.monotonic() < deadline:
        time.sleep(0.05)
    left = replayer.close(timeout=0.2)
    assert left[path].left == 6
    assert caplog.text.count("could not be reached") == 1


# --- the sweep ---------------------------------------------------------------------------------------------------


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
    began = time.monotonic()
    with pytest.raises(TrackingUnavailableError, match="could not be reached"):
        SweepTracker(NOBODY, "s", experiment="tests")
    assert time.monotonic() - began < 10
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
    import base64
    import zlib

    tracker = SweepTracker(uri, "demo", experiment="tests")
    tracker.start(datasets=["nuclei", 'we"ird'])
    tags = connect(uri).get_experiment(tracker.experiment_id).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    views = {json.loads(v)["name"]: json.loads(v) for k, v in tags.items() if k.startswith("mlflow.sharedViewState.")}
    assert set(views) == {"Best loss on nuclei", 'Best loss on we"ird'}
    packed = views["Best loss on nuclei"]["state"].removeprefix("deflate;")
    table = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert table["orderByKey"] == "metrics.`test_dsc`"
    assert table["orderByAsc"] is False
    # the filter is one that MLflow understands and that finds this data set's runs
    client = connect(uri)
    client.create_run(tracker.experiment_id, tags={"dataset": "nuclei", "provenance": "real"})
    client.create_run(tracker.experiment_id, tags={"dataset": "nuclei", "provenance": "rehearsal"})
    assert len(client.search_runs([tracker.experiment_id], table["searchFilter"])) == 1
    assert runs_page("http://h:1/", "4") == "http://h:1/#/experiments/4/runs?workflowType=machine_learning"


def fake_keras_file(path: Path) -> Path:
    """The part of a `.keras` file that is read without Keras."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.0"}))
    return path


def with_model(folder: Path, spec: TrialSpec, keras_file: Path) -> Path:
    path = folder / "spool.jsonl"
    with Spool(path) as spool:
        spool.start(spec, sweep="s")
        spool.model(keras_file, (None, None, None, 1), CLASSES)
        spool.finish(outcome(spec))
    return path


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
    assert tracker.register_best({"kits19": first.hash}) == [best]
    (moved,) = tracker.register_best({"kits19": second.hash})
    assert moved.version == "2"
    client = connect(uri)
    assert int(client.get_model_version_by_alias("demo-kits19", "best").version) == 2
    (back,) = tracker.register_best({"kits19": first.hash})
    assert back.version == "1"


def test_a_model_is_logged_once_however_often_it_is_sent(uri: str, tmp_path: Path) -> None:
    path = with_model(tmp_path, trial(), fake_keras_file(tmp_path / "m.keras"))
    for _ in range(2):
        result = replay(path, uri, experiment="tests")
        path.with_suffix(".position.json").unlink()
    client = connect(uri)
    run = client.get_run(result.run_id)
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert model.name == model_name(trial())
    assert {m.key: m.value for m in model.metrics}["test_dsc"] == pytest.approx(0.55)
    assert model.tags["loss"] == "unified_focal_asym"


def test_a_file_that_is_no_model_is_refused_by_name(uri: str, tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(b"nothing")
    result = replay(with_model(tmp_path, trial(), tmp_path / "m.keras"), uri, experiment="tests")
    assert result.left == 0
    assert "m.keras is no .keras file" in result.refused[0]
    assert [run["status"] for run in state(uri)] == ["FINISHED"]


@pytest.mark.slow
def test_the_model_loads_with_pyfunc_and_keras_and_predicts_the_same(uri: str, tmp_path: Path) -> None:
    import keras
    import mlflow
    import numpy as np

    inputs = keras.Input((None, None, 3))
    hidden = keras.layers.Activation("relu")(
        keras.layers.GroupNormalization(groups=-1)(keras.layers.Conv2D(4, 3, padding="same")(inputs))
    )
    network = keras.Model(inputs, keras.layers.Conv2D(3, 1, activation="softmax")(hidden))
    network.save(tmp_path / "model.keras")
    batch = np.random.default_rng(0).normal(size=(2, 48, 40, 3)).astype("float32")
    np.save(tmp_path / "example.npy", batch)
    path = tmp_path / "spool.jsonl"
    with Spool(path) as spool:
        spool.start(trial(), sweep="s")
        spool.model(
            tmp_path / "model.keras",
            (None, None, 3),
            CLASSES,
            input_example=tmp_path / "example.npy",
            environment={"tensorflow-cpu": "2.21.0"},
        )
        spool.finish(outcome(trial()))
    result = replay(path, uri, experiment="tests")
    assert result.refused == ()
    client = connect(uri)
    model = client.search_logged_models([client.get_run(result.run_id).info.experiment_id])[0]
    mlflow.set_tracking_uri(uri)
    loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
    assert [spec.shape for spec in loaded.metadata.signature.inputs] == [(-1, -1, -1, 3)]
    assert [spec.shape for spec in loaded.metadata.signature.outputs] == [(-1, -1, -1, 3)]
    assert loaded.input_example.shape == (1, 32, 32, 3)
    np.testing.assert_array_equal(loaded.input_example[0], batch[0, 8:40, 4:36])
    np.testing.assert_allclose(loaded.predict(batch), network.predict(batch, verbose=0), atol=1e-6)
    again = mlflow.keras.load_model(f"models:/{model.model_id}")
    np.testing.assert_allclose(again.predict(batch, verbose=0), network.predict(batch, verbose=0), atol=1e-6)
    requirements = (
        Path(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}")) / "requirements.txt"
    ).read_text()
    assert "tensorflow-cpu==2.21.0" in requirements
    assert f"keras=={keras.__version__}" in requirements


@pytest.mark.slow
def test_a_server_killed_and_started_again_gets_everything_once(tmp_path: Path) -> None:
    import socket
    import urllib.request

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/s.db", "--artifacts-destination", str(tmp_path / "art")]

    def serve() -> subprocess.Popen[bytes]:
        with (tmp_path / "server.log").open("ab") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2).close()  # noqa: S310
            except OSError:
                assert time.monotonic() < deadline, (tmp_path / "server.log").read_text()[-2000:]
                time.sleep(0.3)
            else:
                return server

    def kill(server: subprocess.Popen[bytes]) -> None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()

    server = serve()
    try:
        ensure_store(address, experiment="tests", artifact_root=tmp_path / "ignored")
        specs = [trial(g / 10) for g in range(1, 6)]
        with Replayer(address, experiment="tests", every=0.1, longest_pause=1) as replayer:
            for number, spec in enumerate(specs):
                replayer.watch(write_trial(tmp_path / spec.hash, spec))
                if number == 2:
                    kill(server)
            time.sleep(3)
            assert replayer.pending()
            server = serve()
            assert replayer.wait(timeout=90)
        ensure_store(f"sqlite:///{tmp_path}/other.db", experiment="tests", artifact_root=tmp_path / "a2")
        for spec in specs:
            replay(tmp_path / spec.hash / "spool.jsonl", f"sqlite:///{tmp_path}/other.db", experiment="tests")
        assert state(address) == state(f"sqlite:///{tmp_path}/other.db")
    finally:
        kill(server)
