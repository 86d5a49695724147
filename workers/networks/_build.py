"""Building a registered network and drawing its initial weights. Imports Keras."""

from __future__ import annotations

import math
from collections.abc import Iterator

import keras
import numpy as np

from trials.spec import ModelSpec
from workers.errors import ParameterError
from workers.networks._registry import check, definition


def build(spec: ModelSpec, input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """See `workers.networks.build`."""
    shape = tuple(int(size) for size in input_shape)
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise ParameterError(f"input_shape is {shape}; it must be (height, width, channels) or with a depth before")
    if classes < 2:
        raise ParameterError(f"classes is {classes}; a segmentation needs at least 2, with the background")
    check(spec, len(shape) - 1)
    model = definition(spec.name).load()(spec, shape, classes)
    expected = (None, *shape[:-1], classes)
    if tuple(model.output_shape) != expected or model.output.dtype != "float32":
        raise ParameterError(
            f"network {spec.name!r} returns {model.output.dtype} of shape {tuple(model.output_shape)};"
            f" it must return float32 probabilities of shape {expected}"
        )
    return model


def initial_weights(model: keras.Model, seed: int) -> list[np.ndarray]:
    """See `workers.networks.initial_weights`."""
    if seed < 0:
        raise ParameterError(f"seed is {seed}; it must not be negative")
    initialisers = dict(_initialisers(model))
    return [
        _draw(variable, initialisers.get(id(variable)), np.random.SeedSequence([seed, index]))
        for index, variable in enumerate(model.weights)
    ]


def _initialisers(layer: keras.layers.Layer) -> Iterator[tuple[int, keras.initializers.Initializer]]:
    """The initialiser of every variable of `layer` and the layers in it, by the variable's identity."""
    for inner in getattr(layer, "layers", ()):
        yield from _initialisers(inner)
    for variable in layer.weights:
        initialiser = getattr(layer, f"{variable.name}_initializer", None)
        if isinstance(initialiser, keras.initializers.Initializer):
            yield id(variable), initialiser


def _draw(
    variable: keras.Variable, initialiser: keras.initializers.Initializer | None, sequence: np.random.SeedSequence
) -> np.ndarray:
    shape = tuple(variable.shape)
    dtype = np.dtype(variable.dtype)
    if isinstance(initialiser, keras.initializers.GlorotUniform) or (initialiser is None and len(shape) > 1):
        return glorot_uniform(shape, np.random.Generator(np.random.PCG64(sequence))).astype(dtype, copy=False)
    if initialiser is None:
        raise ParameterError(
            f"variable {variable.path!r} has no `{variable.name}_initializer` on its layer; the start of a trial must"
            " follow from its seed"
        )
    config = initialiser.get_config()
    if "seed" in config:
        config["seed"] = int(sequence.generate_state(1)[0])
        initialiser = type(initialiser).from_config(config)
    return np.asarray(initialiser(shape, dtype=variable.dtype), dtype=dtype)


def glorot_uniform(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Uniform on ±sqrt(6 / (fan in + fan out)), float32; a kernel's last two axes are its channels."""
    receptive = math.prod(shape[:-2])
    limit = math.sqrt(6.0 / (receptive * (shape[-2] + shape[-1])))
    uniform = generator.random(shape, dtype=np.float32)
    uniform *= 2 * limit
    uniform -= limit
    return uniform
