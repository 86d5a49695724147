"""Whole trials on volumes of three classes: random patches, sliding windows, and the same numbers when resumed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.ndimage
import sklearn.metrics

from trials.messages import Order
from trials.results import Epoch, TrialResult
from trials.spec import DataSpec, EvaluationSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec
from workers.datasets import get_reader
from workers.datasets.prepared import PreparedDataset, prepare
from workers.datasets.splits import make_split
from workers.datasets.synthetic import synthesise
from workers.losses import resolve_parameters
from workers.training.learner import Learners
from workers.training.trial import InterruptedTrialError, Listener, run_trial

pytestmark = pytest.mark.slow

PATCH = (8, 16, 16)


@dataclass(frozen=True)
class Volumes:
    """Synthetic KiTS19 of 24 × 32 × 32 voxels or so, split."""

    root: Path
    whole: PreparedDataset
    split: str

    def spec(self, loss: str = "unified_focal_asym", **training: object) -> TrialSpec:
        settings = TrainingSpec(epochs=3, patch=PATCH, foreground_oversampling=0.5)
        return TrialSpec(
            data=DataSpec("kits19", self.whole.classes, 3, self.whole.key, self.split, "synthetic"),
            loss=LossSpec(loss, resolve_parameters(loss)),
            model=ModelSpec(base_filters=2, depth=1),
            training=replace(settings, **training),  # type: ignore[arg-type]
            evaluation=EvaluationSpec(overlap=(4, 8, 8), surface_distances=True),
        )


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Volumes:
    root = tmp_path_factory.mktemp("volumes")
    source = synthesise("kits19", 8, root / "kits19", seed=0, size=(24, 32, 32))
    whole = prepare(get_reader("kits19"), source, root / "prepared", processes=1)
    split = make_split(whole.cases, seed=0)
    whole.write_split(split)
    return Volumes(root / "prepared", whole, split.hash)


@pytest.fixture(scope="module")
def learners() -> Learners:
    return Learners()


def train(
    volumes: Volumes, spec: TrialSpec, folder: Path, learners: Learners, stop_after: int | None = None
) -> TrialResult:
    def order(record: Epoch) -> Order:
        return Order.STOP if record.epoch == stop_after else Order.CONTINUE

    listener = Listener(lambda epoch, remarks: None, order)
    return run_trial(spec, prepared_root=volumes.root, folder=folder, learners=learners, listener=listener)


def numbers(result: TrialResult) -> object:
    return result.scores, [replace(e, seconds=0.0) for e in result.history], result.best_epoch


def weights(folder: Path) -> list[np.ndarray]:
    arrays: list[np.ndarray] = keras.models.load_model(folder / "model.keras").get_weights()
    return arrays


@pytest.fixture(scope="module")
def trained(volumes: Volumes, learners: Learners, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrialResult]:
    folder = tmp_path_factory.mktemp("trained")
    return folder, train(volumes, volumes.spec(), folder, learners)


def test_a_trial_on_volumes_learns(volumes: Volumes, trained: tuple[Path, TrialResult]) -> None:
    _, result = trained
    assert result.history[-1].loss < result.history[0].loss
    assert [e.steps for e in result.history] == [3, 3, 3]  # five cases, a patch of each, two at a time
    assert {s.label for s in result.scores} == {"kidney", "tumour"}


def test_a_resumed_trial_has_the_weights_of_one_left_alone(
    volumes: Volumes, trained: tuple[Path, TrialResult], learners: Learners, tmp_path: Path
) -> None:
    whole_folder, whole = trained
    with pytest.raises(InterruptedTrialError):
        train(volumes, volumes.spec(), tmp_path, learners, stop_after=1)
    train(volumes, volumes.spec("combo", epochs=1), tmp_path / "another loss", learners)
    resumed = train(volumes, volumes.spec(), tmp_path, learners)
    assert resumed.resumed_from == 1
    assert numbers(resumed) == numbers(whole)
    for ours, theirs in zip(weights(tmp_path), weights(whole_folder), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_scores_are_those_of_the_whole_volumes(volumes: Volumes, trained: tuple[Path, TrialResult]) -> None:
    folder, result = trained
    split = volumes.whole.read_split(volumes.split)
    found = 0
    with np.load(folder / "predictions.npz") as predictions:
        assert set(predictions.files) == set(split.test)
        for score in (s for s in result.scores if s.partition == "test"):
            index = volumes.whole.classes.index(score.label)
            truth, predicted = volumes.whole.label(score.case) == index, predictions[score.case] == index
            assert predicted.shape == truth.shape
            expected = sklearn.metrics.precision_recall_fscore_support(
                truth.ravel(), predicted.ravel(), average="binary", zero_division=0.0
            )[:3]
            assert (score["precision"], score["recall"], score["dsc"]) == pytest.approx(expected)
            assert score["hd95"] is not None
            if predicted.any():
                found += 1
                # A bound by another way: no surface lies further away than the farthest voxel of either mask.
                spacing = volumes.whole.spacing(score.case)
                away = scipy.ndimage.distance_transform_edt(~truth, spacing)[predicted].max()
                back = scipy.ndimage.distance_transform_edt(~predicted, spacing)[truth].max()
                assert 0 <= score["hd95"] <= max(away, back) + np.linalg.norm(spacing)
            else:
                assert score["hd95"] == score["asd"] == np.inf
    assert found


def test_the_validation_loss_is_over_the_same_patches_in_every_epoch(
    volumes: Volumes, learners: Learners, tmp_path: Path
) -> None:
    still = train(volumes, volumes.spec("ce", learning_rate=1e-30), tmp_path, learners).history
    assert len({e.val_loss for e in still}) == 1
    assert len({e.loss for e in still}) == 3


def test_foreground_oversampling_moves_the_patches(
    volumes: Volumes, trained: tuple[Path, TrialResult], learners: Learners, tmp_path: Path
) -> None:
    spec = volumes.spec(foreground_oversampling=0.0)
    assert spec.hash != volumes.spec().hash
    moved = train(volumes, spec, tmp_path, learners)
    assert [e.loss for e in moved.history] != [e.loss for e in trained[1].history]
