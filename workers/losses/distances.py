"""Signed distance maps of a truth, for the boundary loss (Kervadec et al. 2019). NumPy and SciPy alone.

They cost many times what a loss does, so that training computes them where a batch is made, as the authors' code does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects


def signed_distances(labels: NDArray[np.uint8], classes: int) -> NDArray[np.float32]:
    """Signed distances to each rare class of one image: labels (spatial...) to float32 (spatial..., classes − 1)."""
    return np.stack([signed_distance(labels == label) for label in range(1, classes)], axis=-1).astype(np.float32)


def of_one_hot(truth: NDArray[np.floating]) -> NDArray[np.floating]:
    """The same of one-hot rare classes, (batch, spatial..., n), in that shape and dtype."""
    distances = np.zeros_like(truth)
    for image in range(truth.shape[0]):
        for label in range(truth.shape[-1]):
            distances[image, ..., label] = signed_distance(truth[image, ..., label] > 0.5)
    return distances


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
