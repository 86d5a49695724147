"""Networks by name: the paper's U-Nets and further choices. Importing this package imports no TensorFlow.

`build` makes a Keras model from a `ModelSpec`; `initial_weights` draws its weights from a seed alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trials.spec import ModelSpec
from workers.networks._registry import (
    NetworkBuilder,
    NetworkDefinition,
    check,
    default_model,
    definition,
    names,
    register,
)

if TYPE_CHECKING:
    import keras

__all__ = [
    "NetworkBuilder",
    "NetworkDefinition",
    "build",
    "check",
    "default_model",
    "definition",
    "initial_weights",
    "names",
    "prepare_for_xla",
    "register",
]


def build(spec: ModelSpec, *, input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """The network of `spec` for images of `input_shape`, 2D or 3D by its length.

    Args:
        spec: name and settings.
        input_shape: (*spatial, channels) of one image or patch, fixed; need not be divisible by 2**depth.
        classes: number of classes with the background, at least 2.

    Returns:
        A model from float images (batch, *spatial, channels) to softmax probabilities (batch, *spatial, classes) in
        float32, also under a mixed-precision policy. Its weights are Keras' draw: use `initial_weights`.

    Raises:
        UnknownNameError: no network has this name.
        ParameterError: a setting or the shape is out of range, or a plug-in's model does not keep this contract.
    """
    from workers.networks import _build

    return _build.build(spec, input_shape, classes)


def prepare_for_xla(model: keras.Model) -> None:
    """Makes a network's gradient one that XLA compiles where results must be reproducible, as in a worker.

    Its values, its weights and what is saved of it stay as they are.
    """
    from workers.networks import _pooling

    _pooling.write_out_gradients(model)


def initial_weights(model: keras.Model, seed: int) -> list[np.ndarray]:
    """Initial weights of `model` for `model.set_weights`, decided by its architecture and `seed` alone.

    Kernels are Glorot uniform (Glorot and Bengio 2010, eq. 16), the i-th variable drawn by numpy from
    SeedSequence([seed, i]); the others are their layers' constants. Neither layer names, Keras' global seed nor what
    was trained before in this process enter, so that a cold and a warm worker start from the same weights.

    Raises:
        ParameterError: `seed` is negative, or a plug-in's layer has an initialiser that takes no seed.
    """
    from workers.networks import _build

    return _build.initial_weights(model, seed)
