"""What every network must do, as checks by name: `check_network("my_network")`. Imports TensorFlow.

They build the network small and take seconds. None knows the architecture: that it is the right one, only a test of
its own can say.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from trials.spec import ModelSpec
from workers.conformance import Check, expect, named, run_all
from workers.networks import build, definition, initial_weights

SIZES = {2: ((12, 20, 3), (9, 13, 1)), 3: ((8, 12, 8, 1), (5, 12, 7, 2))}
"""Input shapes by dimensions: one that two halvings divide, and one that they don't."""

CLASSES = 3


def check_network(name: str, *, settings: ModelSpec | None = None) -> None:
    """Runs every check on a registered network, in each of its dimensions.

    Args:
        name: the network.
        settings: how it is built; None: 2 filters, depth 2, instance normalisation.

    Raises:
        ConformanceError: a check does not hold; the message names it and says what was expected.
        UnknownNameError: no such network.
    """
    run_all(network_checks(name, settings=settings))


def network_checks(name: str, *, settings: ModelSpec | None = None) -> dict[str, Check]:
    """The checks of `check_network` by name, for a test that shows each.

    Raises:
        UnknownNameError: no such network.
    """
    spec = settings or ModelSpec(name, base_filters=2, depth=2)
    shapes = [shape for dimensions in definition(name).dimensions for shape in SIZES[dimensions]]
    smallest = SIZES[definition(name).dimensions[0]][-1]
    checks: list[Check] = [
        partial(_gives_probabilities_of_the_images_size, spec, shapes),
        partial(_every_weight_has_a_gradient, spec, shapes),
        partial(_float32_under_mixed_precision, spec, smallest),
        partial(_starts_from_its_seed_alone, spec, smallest),
        partial(_predicts_the_same_when_saved_and_loaded, spec, smallest),
    ]
    return named(f"network {name!r}", checks)


def _gives_probabilities_of_the_images_size(spec: ModelSpec, shapes: Sequence[tuple[int, ...]]) -> None:
    """Sizes that the depth does not divide included."""
    for shape in shapes:
        found = _made(spec, shape)(_images(shape)).numpy()
        where = f"for images of shape {shape}"
        expect(found.shape == (2, *shape[:-1], CLASSES), f"{(2, *shape[:-1], CLASSES)} {where}, not {found.shape}")
        expect(found.dtype == np.float32, f"float32 {where}, not {found.dtype}")
        whole = (found >= 0).all() and np.allclose(found.sum(-1), 1, atol=1e-5)
        expect(whole, f"probabilities that add up to 1 {where}")


def _every_weight_has_a_gradient(spec: ModelSpec, shapes: Sequence[tuple[int, ...]]) -> None:
    for shape in shapes:
        model = _made(spec, shape)
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(tf.math.log(model(_images(shape), training=True)[..., 1] + 1e-7))
        gradients = tape.gradient(loss, model.trainable_variables)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            where = f"of {variable.path} for images of shape {shape}"
            expect(gradient is not None and np.isfinite(gradient).all(), f"a finite gradient {where}")
            expect(np.any(gradient != 0), f"a gradient that is not 0 everywhere {where}")


def _float32_under_mixed_precision(spec: ModelSpec, shape: tuple[int, ...]) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build(spec, input_shape=shape, classes=CLASSES)
    finally:
        keras.config.set_dtype_policy(before)
    found = model(_images(shape)).dtype
    expect(found == tf.float32, f"float32 under mixed_float16, not {found.name}; end in Softmax(dtype='float32')")
    wrong = [v.path for v in model.trainable_variables if v.dtype != "float32"]
    expect(not wrong, f"weights in float32 under mixed_float16, not {', '.join(wrong)}")


def _starts_from_its_seed_alone(spec: ModelSpec, shape: tuple[int, ...]) -> None:
    """Not from Keras' own seed, nor from what was built or trained before in this process."""
    keras.utils.set_random_seed(1)
    first = initial_weights(build(spec, input_shape=shape, classes=CLASSES), 5)
    keras.utils.set_random_seed(2)
    model = build(spec, input_shape=shape, classes=CLASSES)
    model.set_weights([weights + 1 for weights in model.get_weights()])
    again, other = initial_weights(model, 5), initial_weights(model, 6)
    expect(all(map(np.array_equal, first, again)), "the same weights from the same seed")
    expect(not all(map(np.array_equal, first, other)), "other weights from another seed")


def _predicts_the_same_when_saved_and_loaded(spec: ModelSpec, shape: tuple[int, ...]) -> None:
    model = _made(spec, shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        loaded = keras.models.load_model(path, compile=False)
    images = _images(shape)
    expect(np.array_equal(loaded(images), model(images)), "the same prediction after it was saved and loaded by Keras")


def _made(spec: ModelSpec, shape: tuple[int, ...]) -> keras.Model:
    model = build(spec, input_shape=shape, classes=CLASSES)
    model.set_weights(initial_weights(model, 1))
    return model


def _images(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
