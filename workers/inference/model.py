"""A registered network that takes raw images by itself: what `mlflow.pyfunc.load_model` loads.

Beside Keras' file lies the recipe, which is JSON. Nothing is unpickled, and of the network's file only the weights are
read. This package must be installed where the model is loaded; no database, no prepared data and no sweep are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workers.datasets.intake import Raw, from_array, read_raw
from workers.datasets.preprocessing import Label
from workers.errors import DataError
from workers.inference.applying import predict_raw
from workers.inference.recipe import Recipe

RECIPE_FILE = "recipe.json"
WEIGHTS_FILE = "model.keras"


class ImageModel:
    """A trained network with its preprocessing.

    Args:
        recipe: how it is applied.
        weights: the Keras file.
    """

    def __init__(self, recipe: Recipe, weights: Path) -> None:
        from workers.inference.network import TrainedNetworks

        self.recipe = recipe
        self._networks = TrainedNetworks(recipe, [weights])

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Label | list[Label]:
        """The label map of an image, or those of several: class indices, uint8, on the image's own grid.

        Args:
            data: an image, as the path of a file (or a list of paths for the files of its channels, in a list of
                images), as an array, or as `{"image": array, "affine": 4×4}`; a list of images; a batch of pictures
                (batch, height, width, channels); or a table with one column of paths.
            params: not used.

        Raises:
            DataError: an image cannot be read, or is none that the network takes.
        """
        if hasattr(data, "columns") and hasattr(data, "iloc"):
            if len(data.columns) != 1:
                raise DataError(f"a table with {len(data.columns)} columns; expected one, with paths of images")
            data = data.iloc[:, 0].tolist()
        if isinstance(data, list | tuple):
            return [self._one(image) for image in data]
        if isinstance(data, np.ndarray) and data.ndim == 4 and not self.recipe.intake.volumes:
            return [self._one(image) for image in data]
        return self._one(data)

    def _one(self, image: Any) -> Label:
        raw = self._raw(image)
        name = str(image) if isinstance(image, str | Path) else "image"
        return predict_raw(self._networks, raw, self.recipe, name).labels

    def _raw(self, image: Any) -> Raw:
        if isinstance(image, str | Path):
            return read_raw(self.recipe.intake, [Path(image)])
        if isinstance(image, Sequence) and image and all(isinstance(one, str | Path) for one in image):
            return read_raw(self.recipe.intake, [Path(one) for one in image])
        if isinstance(image, Mapping) and "image" in image:
            affine = image.get("affine")
            known = None if affine is None else np.asarray(affine, np.float64)
            return from_array(self.recipe.intake, np.asarray(image["image"]), known)
        if isinstance(image, np.ndarray):
            return from_array(self.recipe.intake, image)
        raise DataError(f"{type(image).__name__} is no image; give a path, an array, or an array with its affine")


def _load_pyfunc(path: str) -> ImageModel:
    """What MLflow calls to load the model. `path` is the folder with the Keras file."""
    folder = Path(path)
    try:
        text = (folder / RECIPE_FILE).read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder / RECIPE_FILE} cannot be read ({error.strerror})") from error
    return ImageModel(Recipe.from_json(text), folder / WEIGHTS_FILE)
