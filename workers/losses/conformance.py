"""What every loss must do, as checks by name: `check_loss("my_loss")`. Imports TensorFlow.

They take seconds for a loss. None knows the formula: that its value is the right one, only a test of its own can say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trials.spec import ParameterValue
from workers.conformance import Check, expect, named, run_all
from workers.losses.registry import definition, get_loss, graph_parameters, resolve_parameters
from workers.tensors import Tensor

Array = npt.NDArray[np.float64]
Loss = Callable[..., Tensor]

SHAPES = ((2, 8, 9), (2, 5, 4, 6))
"""Batch and spatial axes of the images and volumes that the checks use."""

HUNDRED = (2, 10, 10)
"""Images of a hundred pixels, of which a share in percent is a whole number."""

STEP = 1e-6

SMOOTHED = 0.02
"""By which share of itself a value may change with the size of a sum, as one that is smoothed does."""


def check_loss(name: str, *, classes: Sequence[int] = (2, 3), **parameters: ParameterValue) -> None:
    """Runs every check on a registered loss.

    Args:
        name: the loss.
        classes: numbers of classes: of the images the first, of the volumes the last. With a vector among the settings
            it is the vector's length.
        **parameters: settings other than the defaults.

    Raises:
        ConformanceError: a check does not hold; the message names it and says what was expected.
        UnknownNameError, ParameterError: no such loss or setting.
    """
    run_all(loss_checks(name, classes=classes, **parameters))


def loss_checks(name: str, *, classes: Sequence[int] = (2, 3), **parameters: ParameterValue) -> dict[str, Check]:
    """The checks of `check_loss` by name, for a test that shows each.

    Raises:
        UnknownNameError, ParameterError: no such loss or setting.
    """
    values = resolve_parameters(name, parameters)
    lengths = {len(value) for value in values.values() if isinstance(value, tuple)}
    classes = sorted(lengths) or sorted(classes)
    loss = get_loss(name, **values)
    shapes = [(*SHAPES[0], classes[0]), (*SHAPES[1], classes[-1])]
    checks: list[Check] = [
        partial(_returns_a_scalar, loss, shapes),
        partial(_finite_at_extremes, loss, shapes),
        partial(_gradient_is_the_slope, loss, classes[-1]),
        partial(_order_of_images_does_not_matter, loss, shapes),
        partial(_number_of_images_does_not_matter, loss, shapes),
        partial(_stays_in_its_range, loss, shapes, definition(name).lowest),
        partial(_better_predictions_have_smaller_losses, loss, shapes),
        partial(_takes_soft_truth, loss, shapes),
        partial(_computes_halves_in_float32, loss, shapes),
        partial(_takes_unknown_shapes, loss, classes[0]),
        partial(_what_is_not_a_number_stays_so, loss, shapes),
        partial(_tensors_are_taken_as_parameters, name, values, classes[0]),
        partial(_keras_brings_it_back, loss, classes[0]),
    ]
    if not (definition(name).truth_map or definition(name).whole):  # a distance depends on where a pixel is
        checks.append(partial(_order_of_pixels_does_not_matter, loss, shapes))
        checks.append(partial(_number_of_pixels_does_not_matter, loss, [(*HUNDRED, n) for n in classes]))
    if definition(name).xla:
        checks.append(partial(_xla_changes_no_number, name, values, loss, classes[-1]))
    return named(f"loss {name!r}", checks)


def _returns_a_scalar(loss: Loss, shapes: Sequence[tuple[int, ...]]) -> None:
    for shape in shapes:
        for dtype in (tf.float32, tf.float64):
            truth, prediction = _case(shape)
            value = loss(tf.constant(truth, dtype), tf.constant(prediction, dtype))
            what = f"for predictions {dtype.name} of shape {shape}"
            expect(tf.is_tensor(value) and value.shape.rank == 0, f"a scalar tensor {what}, not {value!r}")
            expect(value.dtype == dtype, f"a value of type {dtype.name} {what}, not {value.dtype.name}")
            expect(np.isfinite(float(value)), f"a finite value {what}, not {float(value)}")


def _finite_at_extremes(loss: Loss, shapes: Sequence[tuple[int, ...]]) -> None:
    """Masks that are empty or full, and predictions of exactly 0 and 1, which training meets sooner or later."""
    for shape in shapes:
        classes = shape[-1]
        random, soft = _case(shape)
        empty, full = (np.eye(classes)[np.full(shape[:-1], label)] for label in (0, classes - 1))
        cases = {
            "a mask without foreground": (empty, soft),
            "a mask of foreground alone": (full, soft),
            "a perfect prediction": (random, random),
            "a prediction that is wrong everywhere": (random, np.roll(random, 1, axis=-1)),
            "a prediction of background alone": (random, empty),
            "an empty mask that is predicted as empty": (empty, empty),
        }
        for what, (truth, prediction) in cases.items():
            for dtype in (np.float64, np.float32):
                value, gradient = _gradient(loss, truth, tf.constant(prediction.astype(dtype)))
                where = f"for {what}, {np.dtype(dtype).name} of shape {shape}"
                expect(np.isfinite(float(value)), f"a finite value {where}, not {float(value)}")
                expect(gradient is not None, "a gradient in the prediction")
                expect(np.isfinite(gradient.numpy()).all(), f"a finite gradient {where}")


def _gradient_is_the_slope(loss: Loss, classes: int) -> None:
    """Central differences in float64, for each number of the prediction."""
    for shape in ((2, 3, 2, classes), (2, 2, 2, 2, classes)):
        truth, prediction = _case(shape, seed=3)
        compiled = tf.function(loss)
        _, gradient = _gradient(loss, truth, tf.constant(prediction))
        expect(gradient is not None, "a gradient in the prediction")
        for index in np.ndindex(shape):
            above, below = prediction.copy(), prediction.copy()
            above[index] += STEP
            below[index] -= STEP
            slope = (_value(compiled, truth, above) - _value(compiled, truth, below)) / (2 * STEP)
            found = float(gradient[index])
            expect(
                abs(found - slope) <= max(1e-5 * abs(slope), 1e-8),
                f"the slope {slope:.9g} (central differences) as gradient in {index}, not {found:.9g}",
            )


def _order_of_images_does_not_matter(loss: Loss, shapes: Sequence[tuple[int, ...]]) -> None:
    for shape in shapes:
        truth, prediction = _case(shape)
        _same(_value(loss, truth, prediction), _value(loss, truth[::-1], prediction[::-1]), "with the images turned")


def _order_of_pixels_does_not_matter(loss: Loss, shapes: Sequence[tuple[int, ...]]) -> None:
    for shape in shapes:
        truth, prediction = _case(shape)
        order = np.random.default_rng(1).permutation(int(np.prod(shape[1:-1])))
        moved = [array.reshape(shape[0], -1, shape[-1])[:, order].reshape(shape) for array in (truth, prediction)]
        _same(_value(loss, truth, prediction), _value(loss, *moved), "with the pixels in another order")


def _number_of_images_does_not_matter(loss: Loss, shapes: Sequence[tuple[int, ...]]) -> None:
    """A mean over the batch, not a sum: a learning rate then fits every size of batch."""
    for shape in shapes:
        truth, prediction = _case(shape)
        twice = [np.concatenate([array, array]) for array in (truth, prediction)]
        _same(_value(loss, truth, prediction), _value(loss, *twice), "with each image twice in the batch", SMOOTHED)


def _number_of_pixels_does_not_matter(loss: Loss, shapes: Sequence[tuple[int, ...]]) -> None:
    """A mean over pixels, or a quotient of sums: a learning rate then fits every size of patch."""
    for shape in shapes:
        truth, prediction = _case(shape)
        tiled = [np.concatenate([array, array], axis=2) for array in (truth, prediction)]
        _same(_value(loss, truth, prediction), _value(loss, *tiled), "of an image beside its copy", SMOOTHED)


def _stays_in_its_range(loss: Loss, shapes: Sequence[tuple[int, ...]], lowest: float) -> None:
    """From unsure predictions to such that are sure, right and wrong ones; the range is `LossDefinition.lowest`."""
    for shape in shapes:
        for seed, certainty in enumerate((0.1, 1.0, 10.0, 100.0)):
            truth, prediction = _case(shape, seed, certainty)
            for what, guess in (("random", prediction), ("perfect", truth)):
                value = _value(loss, truth, guess)
                where = f"for a {what} prediction of shape {shape}"
                expect(np.isfinite(value), f"a finite value {where}, not {value}")
                expect(value >= lowest - 1e-9, f"a value of at least {lowest:g} (`lowest`) {where}, not {value:.9g}")


def _better_predictions_have_smaller_losses(loss: Loss, shapes: Sequence[tuple[int, ...]]) -> None:
    """Predictions on the way from an unsure one to the truth."""
    for shape in shapes:
        truth, prediction = _case(shape)
        found = [_value(loss, truth, share * truth + (1 - share) * prediction) for share in (0.0, 0.3, 0.6, 0.9)]
        expect(found == sorted(found, reverse=True), f"smaller losses for better predictions, not {found}")
        expect(found[-1] < found[0], f"a smaller loss for a better prediction, not {found}")


def _takes_soft_truth(loss: Loss, shapes: Sequence[tuple[int, ...]]) -> None:
    """Shares of classes in place of one class a pixel, as of smoothed labels and of several annotators."""
    for shape in shapes:
        truth, prediction = _case(shape)
        for share in (0.3, 0.9):
            soft = (1 - share) * truth + share * np.roll(prediction, 1, axis=0)
            value, gradient = _gradient(loss, soft, tf.constant(prediction))
            expect(np.isfinite(float(value)), f"a finite value for a soft truth of shape {shape}, not {float(value)}")
            expect(np.isfinite(gradient.numpy()).all(), f"a finite gradient for a soft truth of shape {shape}")
        nearly = (1 - STEP) * truth + STEP / shape[-1]
        _same(_value(loss, truth, prediction), _value(loss, nearly, prediction), "for a nearly hard truth", 1e-3)


def _computes_halves_in_float32(loss: Loss, shapes: Sequence[tuple[int, ...]]) -> None:
    """As under a mixed-precision policy."""
    truth, prediction = _case(shapes[0])
    half = prediction.astype(np.float16)
    value = loss(tf.constant(truth, tf.float16), tf.constant(half))
    expect(value.dtype == tf.float32, f"a value of type float32 for a prediction in float16, not {value.dtype.name}")
    single = loss(tf.constant(truth, tf.float32), tf.constant(half.astype(np.float32)))
    _same(float(single), float(value), "for a prediction in float16", tolerance=1e-5)


def _takes_unknown_shapes(loss: Loss, classes: int) -> None:
    signature = [tf.TensorSpec((None, None, None, classes), tf.float64)] * 2
    traced = tf.function(loss, input_signature=signature)
    for shape in ((2, 4, 5, classes), (1, 7, 3, classes)):
        truth, prediction = _case(shape)
        _same(_value(loss, truth, prediction), _value(traced, truth, prediction), "where the shape is not known before")


def _what_is_not_a_number_stays_so(loss: Loss, shapes: Sequence[tuple[int, ...]]) -> None:
    """A diverged training must be seen."""
    truth, prediction = _case(shapes[0])
    prediction[0, 3, 3] = np.nan
    value = _value(loss, truth, prediction)
    expect(np.isnan(value), f"not a number for a prediction that is none, not {value}")


def _tensors_are_taken_as_parameters(name: str, values: dict[str, ParameterValue], classes: int) -> None:
    """Those of `graph_parameters` as tensors give what they give as numbers, in one trace for all values."""
    truth, prediction = (tf.constant(x, tf.float32) for x in _case((2, 4, 5, classes)))
    traces = 0

    def loss(tensors: dict[str, Tensor]) -> Tensor:
        nonlocal traces
        traces += 1
        return get_loss(name, **{**values, **tensors})(truth, prediction)

    compiled = tf.function(loss)
    graph = [keyword for keyword in graph_parameters(name) if isinstance(values[keyword], float)]
    if not graph:
        return
    for factor in (1.0, 0.9, 0.5):
        numbers = {keyword: factor * float(values[keyword]) for keyword in graph}  # type: ignore[arg-type]
        found = float(compiled({keyword: tf.constant(number, tf.float32) for keyword, number in numbers.items()}))
        expected = float(get_loss(name, **{**values, **numbers})(truth, prediction))
        _same(expected, found, f"with {numbers} as tensors", tolerance=1e-6)
    expect(traces == 1, f"one trace for all values of {', '.join(graph)}, not {traces}")


def _keras_brings_it_back(loss: Loss, classes: int) -> None:
    """From what Keras saves with a compiled model."""
    import keras

    again = keras.losses.deserialize(keras.losses.serialize(loss))
    truth, prediction = _case((2, 4, 5, classes))
    _same(_value(loss, truth, prediction), _value(again, truth, prediction), "after it was saved and loaded by Keras")


def _xla_changes_no_number(name: str, values: dict[str, ParameterValue], loss: Loss, classes: int) -> None:
    """For losses whose definition does not say `xla=False`; a truth map comes with the batch, as in training."""
    truth, prediction = (tf.constant(x) for x in _case((2, 8, 9, classes)))
    if definition(name).truth_map:
        line = definition(name)
        make = partial(line.load_truth_map(), **{keyword: values[keyword] for keyword in line.truth_map_parameters})
        maps = np.stack([make(labels, classes) for labels in truth.numpy().argmax(-1).astype(np.uint8)])
        loss = partial(loss, truth_map=tf.constant(maps))
    compiled = tf.function(lambda truth, prediction: _gradient(loss, truth, prediction), jit_compile=True)
    _, expected = _gradient(loss, truth, prediction)
    _, found = compiled(truth, prediction)
    expect(np.allclose(found, expected, rtol=1e-9, atol=1e-18), "the same gradient when it is compiled with XLA")


def _case(shape: tuple[int, ...], seed: int = 0, certainty: float = 1.0) -> tuple[Array, Array]:
    """One-hot truth with every class in it, and softmax probabilities in float64."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, shape[-1], shape[:-1])
    logits = certainty * rng.standard_normal(shape)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return np.eye(shape[-1])[labels], probabilities


def _value(loss: Loss, truth: Array, prediction: Array) -> float:
    return float(loss(tf.constant(truth), tf.constant(prediction)))


def _gradient(loss: Loss, truth: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        value = loss(truth, prediction)
    return value, tape.gradient(value, prediction)


def _same(expected: float, found: float, what: str, tolerance: float = 1e-9) -> None:
    close = abs(found - expected) <= max(tolerance * abs(expected), 1e-12)
    expect(close, f"the same value {what}: {expected:.12g}, not {found:.12g}")
