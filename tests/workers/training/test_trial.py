"""Whole trials, really trained: the same numbers cold, warm, resumed; and every way in which one can end."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tiny_trials import TinyData, tiny_data
from trials.messages import Order
from trials.results import Epoch, TrialResult
from trials.spec import TrialSpec
from workers import losses
from workers.errors import DataError, DivergedError, ParameterError
from workers.losses.registry import LOSSES
from workers.scoring.cases import score_prediction
from workers.training import keeping_up
from workers.training.learner import Learner, Learners, LossInput, Trained
from workers.training.trial import InterruptedTrialError, Listener, read_result, run_trial


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    return tiny_data(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def learners() -> Learners:
    return Learners()


@pytest.fixture(scope="module")
def others() -> Learners:
    """The networks of another process."""
    return Learners()


def train(
    data: TinyData,
    spec: TrialSpec,
    folder: Path,
    learners: Learners,
    order: Callable[[Epoch], Order] = lambda record: Order.CONTINUE,
    started: Callable[[int, tuple[str, ...]], None] = lambda epoch, remarks: None,
) -> TrialResult:
    return run_trial(spec, prepared_root=data.root, folder=folder, learners=learners, listener=Listener(started, order))


def numbers(result: TrialResult) -> object:
    """Everything of a result but its times."""
    history = [replace(e, seconds=0.0) for e in result.history]
    return result.scores, history, result.best_epoch, result.stopped_early, result.parameters


def assert_same_weights(one: Path, other: Path) -> None:
    """The final networks of two trials' folders are equal bit for bit."""
    ours, theirs = (keras.models.load_model(folder / "model.keras").get_weights() for folder in (one, other))
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_trial_learns_and_leaves_its_result(data: TinyData, learners: Learners, tmp_path: Path) -> None:
    spec = data.spec("ce", epochs=6)
    result = train(data, spec, tmp_path, learners)
    assert result.history[-1].loss < result.history[0].loss
    assert result.steps == 6 * 6
    assert {s.partition for s in result.scores} == {"validation", "test"}
    assert read_result(tmp_path, spec.hash) == result
    assert {p.name for p in tmp_path.iterdir()} >= {"model.keras", "predictions.npz", "result.json"}
    assert not list(tmp_path.glob("epoch-*"))
    (tmp_path / "predictions.npz").unlink()  # somebody removed the folder just before the result was written
    assert read_result(tmp_path, spec.hash) is None


@pytest.mark.slow
def test_scores_at_native_resolution_are_of_the_same_predictions(
    data: TinyData, learners: Learners, tmp_path: Path
) -> None:
    spec = data.spec("ce", epochs=2)
    native = replace(spec, evaluation=replace(spec.evaluation, native=True))
    assert native.hash != spec.hash
    train(data, spec, tmp_path / "prepared", learners)
    result = train(data, native, tmp_path / "native", learners)
    with np.load(tmp_path / "prepared" / "predictions.npz") as predictions:
        expected = [
            score
            for case in data.whole.read_split(data.split).test
            for score in score_prediction(data.whole, case, predictions[case], native.evaluation, "test")
        ]
    assert [s for s in result.scores if s.partition == "test"] == expected


def test_a_finished_trial_is_not_trained_again(data: TinyData, learners: Learners, tmp_path: Path) -> None:
    spec = data.spec("ce", epochs=1)
    first = train(data, spec, tmp_path, learners)
    reports: list[Epoch] = []

    def report(record: Epoch) -> Order:
        reports.append(record)
        return Order.CONTINUE

    again = train(data, spec, tmp_path, learners, report)
    assert again == replace(first, steps=0, resumed_from=1)
    assert reports == []


@pytest.mark.slow
def test_cold_equals_warm_after_another_loss(data: TinyData, learners: Learners, tmp_path: Path) -> None:
    spec = data.spec(gamma=0.3, epochs=2)
    cold = train(data, spec, tmp_path / "cold", Learners())
    train(data, data.spec("combo", epochs=1, seed=5), tmp_path / "other", learners)
    train(data, data.spec(gamma=0.9, epochs=1), tmp_path / "gamma", learners)
    warm = train(data, spec, tmp_path / "warm", learners)
    assert numbers(warm) == numbers(cold)
    assert_same_weights(tmp_path / "warm", tmp_path / "cold")


@pytest.mark.slow
def test_a_resumed_trial_ends_as_one_left_alone(
    data: TinyData, learners: Learners, others: Learners, tmp_path: Path
) -> None:
    spec = data.spec(gamma=0.5, epochs=4, momentum=0.5)
    whole = train(data, spec, tmp_path / "whole", learners)
    for stop_after in (1, 2):
        check_resumed(data, spec, learners, others, tmp_path, stop_after, whole)


def check_resumed(
    data: TinyData,
    spec: TrialSpec,
    learners: Learners,
    others: Learners,
    tmp_path: Path,
    stop_after: int,
    whole: TrialResult,
) -> None:
    folder = tmp_path / f"resumed after {stop_after}"
    with pytest.raises(InterruptedTrialError) as interrupted:
        train(data, spec, folder, learners, lambda r: Order.STOP if r.epoch == stop_after else Order.CONTINUE)
    assert interrupted.value.epoch == stop_after
    resumed = train(data, spec, folder, others)
    assert resumed.resumed_from == stop_after
    assert resumed.steps == (4 - stop_after) * 6
    assert numbers(resumed) == numbers(whole)
    assert_same_weights(folder, tmp_path / "whole")
    with np.load(tmp_path / "whole/predictions.npz") as a, np.load(folder / "predictions.npz") as b:
        assert a.files == b.files
        for case in a.files:
            np.testing.assert_array_equal(a[case], b[case])


@pytest.mark.slow
def test_a_weight_that_moves_is_the_same_after_a_resume(
    data: TinyData, learners: Learners, others: Learners, tmp_path: Path
) -> None:
    spec = data.spec("boundary", epochs=4, alpha=0.9, alpha_start=0.1, ramp=3)
    whole = train(data, spec, tmp_path / "whole", learners)
    check_resumed(data, spec, learners, others, tmp_path, 2, whole)
    still = train(data, data.spec("boundary", epochs=1, alpha=0.9), tmp_path / "still", learners)
    assert still.history[0].loss != whole.history[0].loss


def test_an_epoch_is_reported_when_its_checkpoint_is_on_the_disk_and_the_next_one_trains_meanwhile(
    data: TinyData, learners: Learners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener answers to the first epoch only when the second trains; its order ends that one."""
    second, reported = threading.Event(), []
    train_epoch = Learner.train_epoch

    def trained(self: Learner, *arguments: Any) -> Trained:
        if begun.is_set():
            second.set()
        begun.set()
        return train_epoch(self, *arguments)

    def report(record: Epoch) -> Order:
        reported.append((record.epoch, (tmp_path / f"epoch-{record.epoch:06d}.npz").exists(), second.wait(60)))
        return Order.STOP

    begun = threading.Event()
    monkeypatch.setattr(Learner, "train_epoch", trained)
    with pytest.raises(InterruptedTrialError) as interrupted:
        train(data, data.spec("ce", epochs=3), tmp_path, learners, report)
    assert (interrupted.value.epoch, interrupted.value.order) == (1, Order.STOP)
    assert reported == [(1, True, True)]
    assert [path.name for path in tmp_path.glob("epoch-*")] == ["epoch-000001.npz"]


@pytest.mark.slow
def test_says_from_which_epoch_and_what_was_damaged(data: TinyData, learners: Learners, tmp_path: Path) -> None:
    spec = data.spec(epochs=4)
    with pytest.raises(InterruptedTrialError):
        train(data, spec, tmp_path, learners, lambda r: Order.STOP if r.epoch == 3 else Order.CONTINUE)
    newest = tmp_path / "epoch-000003.npz"
    newest.write_bytes(newest.read_bytes()[:100])
    told: list[tuple[int, tuple[str, ...]]] = []
    train(data, spec, tmp_path, learners, started=lambda epoch, remarks: told.append((epoch, remarks)))
    assert told[0][0] == 2
    assert "epoch-000003.npz is damaged" in told[0][1][0]


@pytest.mark.slow
def test_never_starts_afresh_in_silence(data: TinyData, learners: Learners, tmp_path: Path) -> None:
    spec = data.spec(epochs=3)
    with pytest.raises(InterruptedTrialError):
        train(data, spec, tmp_path, learners, lambda r: Order.STOP)
    for path in tmp_path.glob("epoch-*"):
        path.write_bytes(b"")
    told: list[tuple[int, tuple[str, ...]]] = []
    result = train(data, spec, tmp_path, learners, started=lambda epoch, remarks: told.append((epoch, remarks)))
    assert told[0][0] == result.resumed_from == 0
    assert "epoch-000001.npz is damaged" in told[0][1][0]


def test_the_best_epoch_is_evaluated_not_the_last(data: TinyData, learners: Learners, tmp_path: Path) -> None:
    result = train(data, data.spec("ce", epochs=8, learning_rate=3.0, seed=2), tmp_path, learners)
    losses = [e.val_loss for e in result.history]
    assert result.best_epoch == 1 + losses.index(min(losses))
    validation = [s["dsc"] for s in result.scores if s.partition == "validation" and s["dsc"] is not None]
    assert np.mean(validation) == pytest.approx(result.history[result.best_epoch - 1].val_dsc, abs=1e-6)


def test_early_stopping(data: TinyData, learners: Learners, tmp_path: Path) -> None:
    spec = data.spec("ce", epochs=50, learning_rate=1e-12, min_delta=0.5, early_stopping_patience=2)
    result = train(data, spec, tmp_path, learners)
    assert result.stopped_early
    assert len(result.history) == 3
    assert result.best_epoch == 1


def test_a_nan_loss_is_told_apart(data: TinyData, learners: Learners, tmp_path: Path) -> None:
    spec = data.spec("ce", epochs=2, learning_rate=1e30)
    with pytest.raises(DivergedError, match="became nan in epoch") as diverged:
        train(data, spec, tmp_path, learners)
    assert diverged.value.epoch in (1, 2)
    assert read_result(tmp_path, spec.hash) is None


@pytest.mark.slow
def test_another_seed_gives_another_result(data: TinyData, learners: Learners, tmp_path: Path) -> None:
    one = train(data, data.spec(epochs=1, seed=1), tmp_path / "1", learners)
    two = train(data, data.spec(epochs=1, seed=2), tmp_path / "2", learners)
    assert one.history[0].loss != two.history[0].loss


@pytest.mark.slow
def test_gamma_needs_no_new_trace(data: TinyData, learners: Learners, tmp_path: Path) -> None:
    learner = learners.get(data.spec(), (32, 32, 3), 2)
    train(data, data.spec(gamma=0.1, epochs=1), tmp_path / "first", learners)
    before = learner.traces
    assert before > 0
    for gamma in (0.5, 0.9):
        train(data, data.spec(gamma=gamma, epochs=1), tmp_path / str(gamma), learners)
    assert learner.traces == before


def test_data_of_other_classes_are_refused(data: TinyData, learners: Learners, tmp_path: Path) -> None:
    spec = data.spec()
    wrong = replace(spec, data=replace(spec.data, classes=("background", "a", "b")))
    with pytest.raises(DataError, match="expects 2D"):
        train(data, wrong, tmp_path, learners)


def test_a_missing_split_is_named(data: TinyData, learners: Learners, tmp_path: Path) -> None:
    spec = data.spec()
    with pytest.raises(DataError, match="0000000000000000"):
        train(data, replace(spec, data=replace(spec.data, split="0" * 16)), tmp_path, learners)


def test_a_damaged_result_is_not_trusted(data: TinyData, learners: Learners, tmp_path: Path) -> None:
    spec = data.spec("ce", epochs=1)
    first = train(data, spec, tmp_path, learners)
    (tmp_path / "result.json").write_text(json.dumps(first.to_dict())[:100])
    assert numbers(train(data, spec, tmp_path, learners)) == numbers(first)


def test_arrays_that_changed_on_the_disk_are_not_trained_on(learners: Learners, tmp_path: Path) -> None:
    data = tiny_data(tmp_path / "prepared")
    array = sorted(data.root.glob("*/*.image.npy"))[2]
    held = array.read_bytes()
    array.write_bytes(held[:-1] + bytes([held[-1] ^ 1]))
    with pytest.raises(DataError, match=rf"damaged \({array.name} was changed\); run `sweeper data prepare`"):
        train(data, data.spec("ce", epochs=1), tmp_path / "trial", learners)


@pytest.mark.slow
def test_gradient_clipping_changes_the_result(data: TinyData, learners: Learners, tmp_path: Path) -> None:
    free = train(data, data.spec("ce", epochs=1), tmp_path / "free", learners)
    clipped = train(data, data.spec("ce", epochs=1, gradient_clip=1e-3), tmp_path / "clipped", learners)
    assert clipped.history[0].val_loss != free.history[0].val_loss


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_learns(data: TinyData, learners: Learners, tmp_path: Path, precision: str) -> None:
    result = train(data, data.spec("dice", epochs=2, precision=precision), tmp_path, learners)
    assert result.history[1].loss < result.history[0].loss


@pytest.mark.slow
def test_loading_processes_move_no_number_and_end_with_the_trial(
    data: TinyData,
    learners: Learners,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spec = data.spec(epochs=3, augmentation_probability=0.8)
    alone = train(data, spec, tmp_path / "alone", learners)
    assert all(epoch.waited is not None and 0 <= epoch.waited <= epoch.seconds for epoch in alone.history)
    listener = Listener(lambda epoch, remarks: None, lambda record: Order.CONTINUE)
    loaded = run_trial(
        spec, prepared_root=data.root, folder=tmp_path / "loaded", learners=learners, listener=listener, loaders=1
    )
    assert not caplog.records  # nothing is added to so short a training
    monkeypatch.setattr(keeping_up, "is_bound", lambda share, seconds: True)
    monkeypatch.setattr(keeping_up, "loaders_for", lambda now, share, idle: 1)
    added = train(data, spec, tmp_path / "added", learners)
    assert "1 processes load from now on" in caplog.text  # after the second epoch
    for name, result in (("loaded", loaded), ("added", added)):
        assert numbers(result) == numbers(alone)
        assert_same_weights(tmp_path / name, tmp_path / "alone")
    assert not multiprocessing.active_children()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_xla_is_a_setting_that_learns_the_same(data: TinyData, tmp_path: Path, precision: str) -> None:
    tf.config.experimental.enable_op_determinism()  # as in a worker: XLA compiles less then
    plain, spec = (data.spec("ce", epochs=2, precision=precision, xla=xla) for xla in (False, True))
    assert spec.hash != plain.hash
    first = train(data, spec, tmp_path / "first", Learners())
    again = train(data, spec, tmp_path / "again", Learners())
    assert numbers(again) == numbers(first)
    assert_same_weights(tmp_path / "again", tmp_path / "first")
    without = train(data, plain, tmp_path / "without", Learners())
    tolerance = 1e-3 if precision == "float32" else 5e-2
    assert [e.loss for e in first.history] == pytest.approx([e.loss for e in without.history], rel=tolerance)


def test_a_loss_that_is_not_a_number_ends_its_epoch_early(data: TinyData, learners: Learners) -> None:
    spec = data.spec("ce", epochs=2)
    learner = learners.get(spec, (32, 32, 3), 2)
    learner.reset(0)
    images, labels = np.full((2, 32, 32, 3), np.nan, np.float32), np.zeros((2, 32, 32), np.uint8)
    trained = learner.train_epoch(LossInput(spec), [(images, labels)] * 120, 0.1)
    assert np.isnan(trained.loss)
    assert trained.steps == 50  # looked at every fifty steps: the rest of a long epoch is not trained


def test_a_loss_that_xla_cannot_compile_is_refused(data: TinyData, learners: Learners, tmp_path: Path) -> None:
    before = dict(LOSSES)
    losses.register(losses.LossDefinition("on_the_host", "workers.losses.boundary:boundary", xla=False))
    try:
        with pytest.raises(ParameterError, match="loss 'on_the_host' can't be compiled with XLA"):
            train(data, data.spec("on_the_host", xla=True), tmp_path, learners)
    finally:
        LOSSES.replace(before)


@pytest.mark.slow
def test_distance_maps_come_with_the_batches_of_the_boundary_loss(
    data: TinyData, learners: Learners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = data.spec("boundary", epochs=2)
    with_maps = train(data, spec, tmp_path / "maps", learners)
    monkeypatch.setattr(LossInput, "truth_maps", lambda loss, classes: None)
    within_the_step = train(data, spec, tmp_path / "step", learners)
    assert numbers(with_maps) == numbers(within_the_step)


@pytest.mark.slow
def test_a_plugin_of_another_source_is_refused(data: TinyData, learners: Learners, tmp_path: Path) -> None:
    spec = data.spec("ce")
    with pytest.raises(ParameterError, match="loss 'ce': the trial was made with source 0123, but here it is built-in"):
        train(data, replace(spec, loss=replace(spec.loss, source="0123")), tmp_path, learners)
    with pytest.raises(ParameterError, match="network 'unet': the trial was made with source 0123"):
        train(data, replace(spec, model=replace(spec.model, source="0123")), tmp_path, learners)
