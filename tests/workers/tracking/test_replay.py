"""The replay of a spool into a real SQLite store of MLflow: everything once, whatever goes wrong."""

from __future__ import annotations

import errno
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.workers.tracking.tracking_samples import (
    NAME,
    NOBODY,
    epoch,
    fake_keras_file,
    outcome,
    runs,
    state,
    trial,
    with_model,
    write_trial,
)
from trials.states import FailureKind
from workers.tracking import Spool, TrackingInputError, TrackingUnavailableError, ensure_store, replay, run_id
from workers.tracking.client import connect
from workers.tracking.describe import run_params
from workers.tracking.records import MetricsRecord


@pytest.mark.slow
def test_a_replay_brings_the_whole_trial_and_a_second_changes_nothing(uri: str, tmp_path: Path) -> None:
    spec = trial()
    path = write_trial(tmp_path / "trial", spec)
    assert run_id(path) == ""
    result = replay(path, uri, experiment="tests", parent_run="the-parent")
    assert run_id(path) == result.run_id == runs(uri)[0].info.run_id
    assert (result.sent, result.left, result.error, result.refused, result.ended) == (6, 0, "", (), True)
    (run,) = state(uri)
    assert run["name"] == NAME
    assert run["status"] == "FINISHED"
    assert run["tags"]["mlflow.parentRunId"] == "the-parent"
    assert run["tags"]["sweeper.trial"] == spec.hash
    assert run["tags"]["environment.keras"] == "3.15.0"
    assert run["params"] == run_params(spec)
    assert [(step, value) for step, value, _ in run["metrics"]["val_dsc"]] == [(1, 0.8), (2, 0.8), (3, 0.8)]
    assert run["metrics"]["test_dsc"][0][:2] == (2, pytest.approx(0.55))
    assert run["files"] == ["overlays/overlay.png"]
    inputs = {"mlflow.data.context": "training", "split": "s" * 16}
    assert run["datasets"] == [("kits19", "p" * 16, '{"url": "https://example.org/kits"}', inputs)]
    assert "/runs/RUN/artifactPath/overlays/overlay.png" in run["tags"]["mlflow.note.content"]
    again = replay(path, uri, experiment="tests", parent_run="the-parent")
    assert (again.sent, again.left) == (0, 0)
    assert state(uri) == [run]
    with Spool(path) as spool:
        spool.label("another name", "dice (smooth=2)")
        spool.scores(2, {"test_nsd": 0.5})
    more = replay(path, uri, experiment="tests", parent_run="the-parent")
    assert (more.sent, more.refused, more.ended) == (2, (), True)
    (renamed,) = state(uri)
    assert (renamed["name"], renamed["status"]) == ("another name", "FINISHED")
    assert renamed["tags"]["loss_at_gamma"] == "dice (smooth=2)"
    assert renamed["metrics"]["test_nsd"][0][:2] == (2, 0.5)


@pytest.mark.slow
def test_a_full_disk_is_an_mlflow_that_is_away(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_trial(tmp_path / "trial", trial())

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["workers.tracking.replay"], "_save_position", full)
        assert "No space left on device" in replay(path, uri, experiment="tests").error
        with pytest.raises(TrackingUnavailableError, match="No space left"):
            replay(path, uri, experiment="tests", strict=True)
    result = replay(path, uri, experiment="tests")
    assert (result.left, result.error) == (0, "")
    assert len(runs(uri)) == 1


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code under test may catch it."""


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_lost_position_makes_no_second_run_and_no_second_metric(uri: str, tmp_path: Path) -> None:
    path = write_trial(tmp_path / "trial", trial())
    replay(path, uri, experiment="tests")
    before = state(uri)
    path.with_suffix(".position.json").write_text("{ half")
    result = replay(path, uri, experiment="tests")
    assert result.sent == 6
    assert state(uri) == before


@pytest.mark.slow
def test_a_lost_folder_makes_no_second_run_and_no_second_metric(uri: str, tmp_path: Path) -> None:
    spec = trial()
    path = write_trial(tmp_path / "trial", spec, finish=False)
    first = replay(path, uri, experiment="tests")
    shutil.rmtree(path.parent)
    path = write_trial(tmp_path / "trial", spec, seconds=2.5)  # the same epochs, at another time
    assert replay(path, uri, experiment="tests").run_id == first.run_id
    (run,) = state(uri)
    for name, kept in (("loss", 0.5), ("epoch_seconds", 1.5)):
        assert [(step, value) for step, value, _ in run["metrics"][name]] == [(1, kept), (2, kept), (3, kept)]
    assert run["status"] == "FINISHED"


def test_a_later_attempt_goes_on_in_the_same_run(uri: str, tmp_path: Path) -> None:
    spec = trial()
    path = write_trial(tmp_path / "trial", spec, finish=False)
    with Spool(path) as spool:
        spool.fail(FailureKind.OUT_OF_MEMORY, "needed 20 GiB of 16")
    first = replay(path, uri, experiment="tests")
    (run,) = state(uri)
    assert run["status"] == "FAILED"
    assert run["tags"]["failure"] == "out_of_memory"
    assert "20 GiB" in run["tags"]["failure_message"]
    with Spool(path) as spool:
        spool.start(spec, label=NAME, sweep="sweep one", attempt=2)
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
        spool.start(spec, label=NAME, sweep="sweep one", attempt=2)
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
    assert (result.sent, result.left, result.unreachable) == (0, 6, True)
    assert "could not be reached" in result.error
    with pytest.raises(TrackingUnavailableError, match="could not be reached"):
        replay(path, NOBODY, experiment="tests", attempts=1, strict=True)
    assert replay(path, uri, experiment="tests").sent == 6


def test_two_senders_of_one_spool_do_not_meet(uri: str, tmp_path: Path) -> None:
    from filelock import FileLock

    path = write_trial(tmp_path / "trial", trial())
    with FileLock(path.with_suffix(".lock")):
        result = replay(path, uri, experiment="tests")
    assert (result.sent, result.left, result.unreachable) == (0, 6, False)
    assert "another process" in result.error
    assert replay(path, uri, experiment="tests").left == 0
    assert len(runs(uri)) == 1


def test_one_refused_record_holds_no_other_up(uri: str, tmp_path: Path) -> None:
    path = tmp_path / "trial" / "spool.jsonl"
    spec = trial()
    with Spool(path) as spool:
        spool.start(spec, label=NAME, sweep="s")
        spool.epoch(epoch(1))
        spool.append(MetricsRecord(2, {"not?allowed": 1.0}))
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


def test_more_metrics_than_one_call_takes(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trial" / "spool.jsonl"
    with Spool(path) as spool:
        spool.start(trial(), label=NAME, sweep="s")
        for number in range(1, 451):
            spool.epoch(epoch(number))
    client, calls = connect(uri), []
    log_batch = client.log_batch

    def counted(run_id: str, **values: Any) -> None:
        calls.append(len(values.get("metrics", ())))
        log_batch(run_id, **values)

    monkeypatch.setattr(client, "log_batch", counted)
    result = replay(path, uri, experiment="tests")
    assert (result.sent, result.left) == (451, 0)
    assert max(calls) <= 1000, "MLflow takes no more in one call"
    assert len(calls) < 10, "one call costs the same whatever it carries"
    history = connect(uri).get_metric_history(result.run_id, "val_loss")
    assert sorted(m.step for m in history) == list(range(1, 451))


def test_nan_and_infinite_losses_are_reported_not_hidden(uri: str, tmp_path: Path) -> None:
    path = tmp_path / "trial" / "spool.jsonl"
    with Spool(path) as spool:
        spool.start(trial(), label=NAME, sweep="s")
        spool.epoch(epoch(1, loss=math.nan))
        spool.epoch(epoch(2, loss=math.inf))
        spool.fail(FailureKind.DIVERGED, "loss became NaN in epoch 1")
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


def test_an_attempt_that_was_lost_before_it_began_has_no_run(uri: str, tmp_path: Path) -> None:
    """Its spool has an end alone; `launch` ended with an error about it. The next attempt has its run."""
    folder = tmp_path / "trial"
    folder.mkdir()
    with Spool(folder / "spool.jsonl") as spool:
        spool.fail(FailureKind.LOST, "the training process (pid 7) ended with exit code 1")
    result = replay(folder / "spool.jsonl", uri, experiment="tests")
    assert (result.left, result.error, result.refused) == (0, "", ())
    assert runs(uri) == []
    replay(write_trial(folder, trial()), uri, experiment="tests")
    (run,) = state(uri)
    assert run["status"] == "FINISHED"
