"""Ignored pixels enter no loss and no validation score; nested regions are validated as regions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trials.spec import DataSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec
from workers import losses
from workers.datasets.preprocessing import IGNORED
from workers.errors import ParameterError
from workers.losses import resolve_parameters
from workers.training.learner import Learner, LossInput, hard_dsc

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, (2, 6, 8), np.uint8)
OUTPUT = RNG.dirichlet([1.0, 1.0], (2, 6, 8)).astype(np.float32)


def ignored() -> np.ndarray:
    """Nothing counts in the last three columns."""
    labels = LABELS.copy()
    labels[..., 5:] = IGNORED
    return labels


QUICK = ("ce", "dice", "boundary", "batch_dice", "hausdorff_erosion", "cldice_dice")
SUMS = ("ce+batch_dice", "ce+hausdorff_erosion", "ce+cldice_dice")
"""Of a loss of each image's pixels and one of whole arrays."""


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in (*losses.names(), *SUMS)]
)
def test_the_loss_is_that_of_the_other_pixels(name: str) -> None:
    spec = LossInput(TrialSpec(DataSpec("x", ("background", "x"), 2), LossSpec(name, resolve_parameters(name))))
    function: Any = losses.get_loss(name, **{**spec.constants, **spec.tensors})
    maps, few = {}, {}
    if (make := spec.truth_maps(2)) is not None:
        both = tf.constant(np.stack([make(label) for label in LABELS]))
        maps, few = {"truth_map": both}, {"truth_map": both[:, :, :5]}
        if "cldice_dice" in name:  # a skeleton's pixel depends on its neighbours
            maps = {"truth_map": tf.constant(np.stack([make(label) for label in ignored()]))}
            few = {"truth_map": tf.constant(np.stack([make(label[:, :5]) for label in LABELS]))}
    output = tf.constant(OUTPUT)
    with tf.GradientTape() as tape:
        tape.watch(output)
        value = function(tf.one_hot(ignored(), 2), output, counted=ignored() != IGNORED, **maps)
    gradient = tape.gradient(value, output).numpy()
    alone = tf.constant(OUTPUT[:, :, :5])
    with tf.GradientTape() as tape:
        tape.watch(alone)
        expected = function(tf.one_hot(LABELS[..., :5], 2), alone, **few)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    assert not gradient[:, :, 5:].any()
    np.testing.assert_allclose(gradient[:, :, :5], tape.gradient(expected, alone), rtol=1e-4, atol=1e-7)
    assert gradient[:, :, :5].any()


def test_a_skeleton_that_training_computes_within_the_step_sees_no_ignored_pixel_either() -> None:
    function: Any = losses.get_loss("cldice_dice", iterations=1.0)
    value = function(tf.one_hot(ignored(), 2), OUTPUT, counted=ignored() != IGNORED)
    alone = function(tf.one_hot(LABELS[..., :5], 2), OUTPUT[:, :, :5])
    assert float(value) == pytest.approx(float(alone), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["exponential_logarithmic", "focal+batch_dice"])
def test_the_compiled_gradient_is_that_of_the_loss(name: str) -> None:
    """Parameters come from outside the branch that an image's counted pixels are in."""

    @tf.function(autograph=False)
    def compiled(tensors: Any) -> Any:
        function: Any = losses.get_loss(name, **tensors)
        output = tf.constant(OUTPUT)
        with tf.GradientTape() as tape:
            tape.watch(output)
            value = function(tf.one_hot(ignored(), 2), output, counted=ignored() != IGNORED)
        return tape.gradient(value, output)

    values = resolve_parameters(name)
    tensors = {keyword: tf.constant(values[keyword], tf.float32) for keyword in losses.graph_parameters(name)}
    np.testing.assert_allclose(compiled(tensors), compiled.python_function(tensors), rtol=1e-4, atol=1e-7)


def test_an_image_without_a_pixel_that_counts_has_no_part() -> None:
    function: Any = losses.get_loss("ce", **resolve_parameters("ce"))

    def value(labels: np.ndarray) -> float:
        return float(function(tf.one_hot(labels, 2), OUTPUT[: len(labels)], counted=labels != IGNORED))

    labels = ignored()
    one = value(labels[:1])
    labels[1] = IGNORED
    assert value(labels) == pytest.approx(one)
    labels[0] = IGNORED
    assert value(labels) == 0


def spec(**training: object) -> TrialSpec:
    data = DataSpec("x", ("background", "x"), 2)
    loss = LossSpec("ce", resolve_parameters("ce"))
    return TrialSpec(data, loss, ModelSpec(base_filters=2, depth=1), TrainingSpec(**training))  # type: ignore[arg-type]


@pytest.mark.slow
def test_training_and_validation_do_not_see_them() -> None:
    """Labels that differ under the ignored pixels' place do not exist: other images there, and the same numbers."""
    trial = spec()
    learner = Learner(trial.model, trial.training, (8, 8, 1), 2, ignores=True)
    images = RNG.normal(size=(2, 8, 8, 1)).astype(np.float32)
    labels = RNG.integers(0, 2, (2, 8, 8), np.uint8)
    labels[:, 4:] = IGNORED
    learner.reset(0)
    loss = learner.train_epoch(LossInput(trial), [(images, labels)], 0.1).loss
    assert np.isfinite(loss)
    dsc = learner.validate(LossInput(trial), [(images, labels)]).dsc
    predicted = learner.apply(tf.constant(images)).numpy().argmax(-1)
    truth, guess = labels[:, :4] == 1, predicted[:, :4] == 1
    expected = [2 * (t & g).sum() / max(t.sum() + g.sum(), 1) for t, g in zip(truth, guess, strict=True)]
    assert dsc == pytest.approx(np.mean(expected), abs=1e-6)


def test_xla_is_refused_with_ignored_pixels() -> None:
    trial = spec(xla=True)
    with pytest.raises(ParameterError, match=r"ignored pixels.*xla = false"):
        Learner(trial.model, trial.training, (8, 8, 1), 2, ignores=True)


def test_validation_scores_whole_regions() -> None:
    """Class 1 that is taken for class 2 within it, and the other way round, is right for the region of both."""
    labels = tf.constant([[[0, 1, 1, 2]]], tf.uint8)
    predicted = tf.constant([[[0, 2, 1, 1]]], tf.int64)
    np.testing.assert_allclose(hard_dsc(labels, predicted, 3, ((0,), (1, 2), (2,))), [[1, 0]])
    np.testing.assert_allclose(hard_dsc(labels, predicted, 3, ()), [[0.5, 0]])
