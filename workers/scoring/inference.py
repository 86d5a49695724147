"""Applying a trained network to one whole image or volume. Imports no TensorFlow: the network is a callable.

2D images are taken whole. Volumes are covered by overlapping windows whose softmax is averaged; the memory needed is
one volume of probabilities and one batch of windows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from workers.errors import InputError, ParameterError

Apply = Callable[[np.ndarray], np.ndarray]
"""From float32 patches (batch, *patch, channels) to probabilities (batch, *patch, classes)."""

Weighting = Literal["uniform", "gaussian"]

GAUSSIAN_SIGMA = 1 / 8
"""Standard deviation of the Gaussian window as a share of its size (Isensee et al. 2021, nnU-Net)."""

_GAUSSIAN_FLOOR = 1e-3
"""Smallest weight along one axis, so that a voxel that one window alone covers keeps its prediction."""


def predict_case(
    apply: Apply,
    image: np.ndarray,
    *,
    patch: Sequence[int] | None,
    overlap: Sequence[int] | None,
    classes: int,
    weighting: Weighting = "uniform",
    batch: int = 1,
) -> np.ndarray:
    """Softmax probabilities of one image.

    Args:
        apply: the network; called with at most `batch` patches at a time, always in the same order, so that equal input
            gives equal output bit for bit.
        image: float32 (*spatial, channels); may be a memory map, of which only the windows are read.
        patch: window size in voxels; None takes the image whole, in one call.
        overlap: overlap of neighbouring windows in voxels, at least 0 and less than the patch; None is half a patch, as
            in the paper. The last window along an axis is moved back to the edge, and so may overlap more.
        classes: number of classes with the background.
        weighting: weight of a window's voxels in the mean.
        batch: windows per call.

    Returns:
        float32 (*spatial, classes).

    Raises:
        ParameterError: patch, overlap, weighting or batch is out of range.
        InputError: the network returned another shape than promised.
    """
    spatial = image.shape[:-1]
    if patch is None:
        whole = np.asarray(image, dtype=np.float32)[np.newaxis]
        probabilities: np.ndarray = _checked(apply(whole), (1, *spatial, classes))[0]
        return probabilities
    size, shared = _window(patch, overlap, len(spatial))
    if batch < 1:
        raise ParameterError(f"batch is {batch}; it must be at least 1")
    axis_weights = [_axis_weights(n, weighting) for n in size]
    window_weights = np.ones((*size, 1), dtype=np.float32)
    for axis, weights in enumerate(axis_weights):
        window_weights *= _along(weights, axis, len(size))

    # A volume smaller than the window is filled up with zero, the mean of an image after z-score, on the far side.
    covered = tuple(max(n, p) for n, p in zip(spatial, size, strict=True))
    padding = [(0, to - n) for n, to in zip(spatial, covered, strict=True)]
    starts = [_starts(n, p, o) for n, p, o in zip(covered, size, shared, strict=True)]
    total = np.zeros((*covered, classes), dtype=np.float32)
    for corners in _batches(list(itertools.product(*starts)), batch):
        regions = [tuple(slice(c, c + p) for c, p in zip(corner, size, strict=True)) for corner in corners]
        patches = np.stack([_read(image, region, padding, size) for region in regions])
        predicted = _checked(apply(patches), (len(corners), *size, classes))
        for region, values in zip(regions, predicted, strict=True):
            total[region] += values * window_weights
    # Windows form a grid and weights are products, so the sum of weights is the product of one sum per axis.
    for axis, (n, axis_starts, weights) in enumerate(zip(covered, starts, axis_weights, strict=True)):
        summed = np.zeros(n, dtype=np.float32)
        for start in axis_starts:
            summed[start : start + weights.size] += weights
        total /= _along(summed, axis, len(size))
    cropped: np.ndarray = total[tuple(slice(n) for n in spatial)]
    return cropped


def predict_labels(
    apply: Apply,
    image: np.ndarray,
    *,
    patch: Sequence[int] | None,
    overlap: Sequence[int] | None,
    classes: int,
    weighting: Weighting = "uniform",
    batch: int = 1,
) -> np.ndarray:
    """The most probable class of each voxel, uint8 (*spatial), the lower of two equal ones; as `predict_case`."""
    probabilities = predict_case(
        apply, image, patch=patch, overlap=overlap, classes=classes, weighting=weighting, batch=batch
    )
    return most_probable(probabilities)


def most_probable(probabilities: np.ndarray) -> np.ndarray:
    """The most probable class of each voxel, uint8 (*spatial), the lower of two equal ones."""
    labels = np.empty(probabilities.shape[:-1], dtype=np.uint8)
    for row, values in zip(labels, probabilities, strict=True):
        # Slice by slice: argmax returns 8 bytes a voxel, as much again as the probabilities of two classes.
        row[...] = values.argmax(axis=-1)
    return labels


def _window(
    patch: Sequence[int], overlap: Sequence[int] | None, dimensions: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    size = tuple(int(p) for p in patch)
    if len(size) != dimensions or min(size) < 1:
        raise ParameterError(f"patch is {size}; {dimensions} sizes of at least 1 voxel are needed")
    shared = tuple(p // 2 for p in size) if overlap is None else tuple(int(o) for o in overlap)
    if len(shared) != dimensions or any(not 0 <= o < p for o, p in zip(shared, size, strict=False)):
        raise ParameterError(f"overlap is {shared}; it must be at least 0 and less than the patch {size} on each axis")
    return size, shared


def _starts(covered: int, size: int, overlap: int) -> list[int]:
    """First voxels of the windows along an axis; the last window ends at the edge."""
    last = covered - size
    return [*range(0, last, size - overlap), last]


def _axis_weights(size: int, weighting: Weighting) -> np.ndarray:
    if weighting == "uniform":
        return np.ones(size, dtype=np.float32)
    if weighting != "gaussian":
        raise ParameterError(f"weighting is {weighting!r}; known: gaussian, uniform")
    distance = (np.arange(size) - (size - 1) / 2) / (size * GAUSSIAN_SIGMA)
    weights: np.ndarray = np.maximum(np.exp(-0.5 * distance**2), _GAUSSIAN_FLOOR).astype(np.float32)
    return weights


def _along(values: np.ndarray, axis: int, dimensions: int) -> np.ndarray:
    """A vector as an array that broadcasts along one spatial axis of (*spatial, classes)."""
    return values.reshape([-1 if a == axis else 1 for a in range(dimensions)] + [1])


def _batches(corners: list[tuple[int, ...]], size: int) -> list[list[tuple[int, ...]]]:
    return [corners[first : first + size] for first in range(0, len(corners), size)]


def _read(
    image: np.ndarray, region: tuple[slice, ...], padding: list[tuple[int, int]], size: tuple[int, ...]
) -> np.ndarray:
    values = np.asarray(image[region], dtype=np.float32)
    return values if values.shape[:-1] == size else np.pad(values, [*padding, (0, 0)])


def _checked(probabilities: np.ndarray, expected: tuple[int, ...]) -> np.ndarray:
    values = np.asarray(probabilities, dtype=np.float32)
    if values.shape != expected:
        raise InputError(f"the network returned probabilities of shape {values.shape}, not {expected}")
    return values
