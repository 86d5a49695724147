"""Trained networks as functions of patches. TensorFlow is imported here.

A network is built for the size of its input. The last size is kept, so that a folder of images of one size is traced
once.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from workers import networks
from workers.errors import DataError, ParameterError
from workers.inference.recipe import Recipe
from workers.scoring.inference import Apply


class TrainedNetworks:
    """The networks of an ensemble, or one alone, that share a recipe.

    Args:
        recipe: how they are applied.
        files: their weights, as Keras files. Only weights are read: no layer, function or class comes from them.
    """

    def __init__(self, recipe: Recipe, files: Sequence[Path]) -> None:
        self._recipe, self._files = recipe, tuple(files)
        self._shape: tuple[int, ...] = ()
        self._applied: list[Apply] = []

    def __call__(self, spatial: tuple[int, ...]) -> Sequence[Apply]:
        """The networks for inputs of this size.

        Raises:
            DataError: the size is too small for the network, or a file of weights cannot be read.
        """
        if spatial != self._shape or not self._applied:
            self._applied, self._shape = [], spatial
            keras.backend.clear_session()
            self._applied = [self._load(file, spatial) for file in self._files]
        return self._applied

    def _load(self, file: Path, spatial: tuple[int, ...]) -> Apply:
        recipe = self._recipe
        own = networks.definition(recipe.model.name).source
        if own != recipe.model.source:
            raise ParameterError(
                f"network {recipe.model.name!r} was trained from source {recipe.model.source or 'built-in'}, but here "
                f"it is {own or 'built-in'}"
            )
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(recipe.precision)
        try:
            model = networks.build(
                recipe.model, input_shape=(*spatial, recipe.intake.channels), classes=len(recipe.classes)
            )
        except ParameterError as error:
            size = "×".join(map(str, spatial))
            why = str(error).split(";", 1)[0]  # the rest says how a grid is fixed
            raise DataError(f"{size} pixels are too few for the network ({why})") from error
        finally:
            keras.config.set_dtype_policy(before)
        if recipe.xla:
            networks.prepare_for_xla(model)
        try:
            model.load_weights(file)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"the trained network {file.name} cannot be read ({error})") from error
        compiled: Callable[[tf.Tensor], tf.Tensor] = tf.function(
            lambda images: model(images, training=False), autograph=False, jit_compile=True if recipe.xla else None
        )

        def apply(patches: np.ndarray) -> np.ndarray:
            result: np.ndarray = compiled(tf.constant(patches)).numpy()
            return result

        return apply
