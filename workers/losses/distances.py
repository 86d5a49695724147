"""Distance maps of a truth, for the losses that look at contours (Kervadec et al. 2019). NumPy and SciPy alone.

They cost many times what a loss does, so that training computes them where a batch is made, as the authors' code does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects


def signed_distances(labels: NDArray[np.uint8], classes: int) -> NDArray[np.float32]:
    """Signed distances to each rare class of one image: labels (spatial...) to float32 (spatial..., classes − 1)."""
    return np.stack([signed_distance(labels == label) for label in range(1, classes)], axis=-1).astype(np.float32)


def of_one_hot(truth: NDArray[np.floating]) -> NDArray[np.floating]:
    """The same of one-hot rare classes, (batch, spatial..., n), in that shape and dtype."""
    return _each(signed_distance, truth)


def contour_distances(labels: NDArray[np.uint8], classes: int) -> NDArray[np.float32]:
    """Distances to the contour of each rare class, both ways; shapes as for `signed_distances`."""
    return np.stack([contour_distance(labels == label) for label in range(1, classes)], axis=-1).astype(np.float32)


def contour_distances_of_one_hot(truth: NDArray[np.floating]) -> NDArray[np.floating]:
    """The same of one-hot rare classes, (batch, spatial..., n), in that shape and dtype."""
    return _each(contour_distance, truth)


def contour_nearness(labels: NDArray[np.uint8], classes: int) -> NDArray[np.float32]:
    """How near the contour a pixel lies within the region of its class: labels (spatial...) to float32 (spatial..., 1).

    1 for the pixels of a region that lie next to another class, 0 for the farthest of each class. Where one class
    fills the image there is no contour, and all is 0.
    """
    return _nearness(labels, classes).astype(np.float32)


def _nearness(labels: NDArray[np.uint8], classes: int) -> NDArray[np.float64]:
    nearness = np.zeros(labels.shape)
    for label in range(classes):
        inside = labels == label
        if inside.any() and not inside.all():
            distance = distance_transform_edt(inside)[inside]
            nearness[inside] = (distance.max() - distance) / (distance.max() - 1.0) if distance.max() > 1.0 else 1.0
    return nearness[..., np.newaxis]


def contour_nearness_of_one_hot(truth: NDArray[np.floating]) -> NDArray[np.floating]:
    """The same of one-hot truth with every class, (batch, spatial..., classes) to (batch, spatial..., 1)."""
    labels = truth.argmax(axis=-1).astype(np.uint8)
    return np.stack([_nearness(image, truth.shape[-1]) for image in labels]).astype(truth.dtype)


def contour_distance(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance in pixels to the nearest pixel on the other side of a mask's contour; 0 everywhere without a contour."""
    if not inside.any() or inside.all():
        return np.zeros(inside.shape)
    distance: NDArray[np.float64] = distance_transform_edt(inside) + distance_transform_edt(~inside)
    return distance


def _each(
    make: Callable[[NDArray[np.bool_]], NDArray[np.float64]], truth: NDArray[np.floating]
) -> NDArray[np.floating]:
    """What `make` gives for each image and class."""
    made = np.zeros_like(truth)
    for image in range(truth.shape[0]):
        for label in range(truth.shape[-1]):
            made[image, ..., label] = make(truth[image, ..., label] > 0.5)
    return made


def signed_distance(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance in pixels (voxels) to the contour of a mask (spatial...).

    Outside it is the distance to the nearest pixel of the mask; inside, 1 minus the distance to the nearest pixel that
    is not of it, so that a pixel of the contour has 0. A mask without pixels, or without others, has 0 everywhere, as
    in the authors' code.
    """
    if not inside.any() or inside.all():
        return np.zeros(inside.shape)
    signed: NDArray[np.float64] = distance_transform_edt(~inside)
    # What lies nearest outside is at most one pixel beyond the box of the mask, a small part of most images.
    box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in find_objects(inside.astype(np.uint8))[0])
    within = inside[box]
    signed[box][within] = 1.0 - distance_transform_edt(within)[within]
    return signed
