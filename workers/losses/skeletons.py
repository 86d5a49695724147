"""Skeletons of a truth, for the losses that look at connections. NumPy, SciPy and scikit-image alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter, minimum_filter

TUBE = 2
"""By how many pixels a skeleton is widened, as in the code of Kirchhoff et al. 2024."""


def tubed_skeletons(labels: NDArray[np.uint8], classes: int) -> NDArray[np.float32]:
    """Skeletons of each rare class, widened: labels (spatial...) to float32 (spatial..., classes − 1)."""
    return np.stack([tubed_skeleton(labels == label) for label in range(1, classes)], axis=-1).astype(np.float32)


def tubed_skeletons_of_one_hot(truth: NDArray[np.floating]) -> NDArray[np.floating]:
    """The same of one-hot rare classes, (batch, spatial..., n), in that shape and dtype."""
    made = np.zeros_like(truth)
    for image in range(truth.shape[0]):
        for label in range(truth.shape[-1]):
            made[image, ..., label] = tubed_skeleton(truth[image, ..., label] > 0.5)
    return made


def tubed_skeleton(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The skeleton of a mask, widened by `TUBE` pixels, but not beyond the mask."""
    from skimage.morphology import skeletonize

    if not inside.any():
        return inside
    skeleton = np.asarray(skeletonize(inside), bool)
    if not skeleton.any():  # of a mask of a few pixels
        return inside
    box = np.ones((3,) * inside.ndim, bool)
    tube: NDArray[np.bool_] = binary_dilation(skeleton, box, iterations=TUBE) & inside
    return tube


def soft_skeletons(labels: NDArray[np.uint8], classes: int, *, iterations: float) -> NDArray[np.float32]:
    """Soft skeletons of each rare class (Shit et al. 2021); shapes as for `tubed_skeletons`.

    A label that is no class is an ignored pixel: to the skeletons it is as if it lay outside the image.
    """
    counted = labels < classes
    masks = [(labels == label).astype(np.float32) for label in range(1, classes)]
    return np.stack([soft_skeleton(mask, int(iterations), counted) for mask in masks], axis=-1)


def soft_skeleton(mask: NDArray[np.float32], iterations: int, counted: NDArray[np.bool_]) -> NDArray[np.float32]:
    """What opening takes away of a mask and of its erosions, of which there are `iterations`; 0 where none counts."""
    skeleton = np.zeros_like(mask)
    for step in range(iterations + 1):
        mask = _eroded(mask, counted) if step else mask
        within = np.where(counted, _eroded(mask, counted), np.float32(0))
        opened = maximum_filter(within, size=3, mode="nearest")
        lost = np.maximum(mask - opened, 0.0)
        skeleton = skeleton + np.maximum(lost - skeleton * lost, 0.0)
    return np.where(counted, skeleton, np.float32(0))


def _eroded(mask: NDArray[np.float32], counted: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Least of each pixel and its next neighbours along each axis, of those that lie within and count."""
    least = mask = np.where(counted, mask, np.float32(1))
    for axis in range(mask.ndim):
        size = [3 if place == axis else 1 for place in range(mask.ndim)]
        least = np.minimum(least, minimum_filter(mask, size=size, mode="nearest"))
    return least
