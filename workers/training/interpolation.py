"""An image and its mask at given coordinates: SciPy's `map_coordinates` to the last bit, in a fraction of its time.

SciPy takes an image channel by channel, works out the weights of every voxel's neighbours anew for each, and goes over
the mask once more; for a sample that is turned, scaled or deformed that is nearly all of the time. Here one compiled
pass does image and mask with the same arithmetic in the same order, so that no number depends on who did it. The
spline's prefilter is SciPy's own. Imported only where a sample is moved, since Numba takes a third of a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numba
import numpy as np
from scipy.ndimage import spline_filter

F = TypeVar("F", bound=Callable[..., object])

# A compiled function is read back by pickle: only from beside this file, where whoever can write could change the
# program itself. Where that cannot be written, every process compiles for two to three seconds.
_CACHED = os.access(Path(__file__).parent, os.W_OK)
_compiled: Callable[[F], F] = partial(numba.njit, nogil=True, cache=_CACHED)


def at(image: np.ndarray, label: np.ndarray, coordinates: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """The image at the coordinates by a spline, and the mask there by its nearest voxel; 0 outside the image.

    Args:
        image: float32 (*spatial, channels), 2D or 3D.
        label: uint8 (*spatial).
        coordinates: float (dimensions, *size), in voxels of the image.
        order: of the spline: 1 (linear) or 3 (cubic).

    Returns:
        New arrays: float32 (*size, channels) and uint8 (*size), as `scipy.ndimage.map_coordinates` with
        mode="constant" gives them for each channel as float64, and for the mask with order 0.

    Raises:
        ValueError: another order.
    """
    if order not in (1, 3):
        raise ValueError(f"order is {order}; it must be 1 or 3")
    size = coordinates.shape[1:]
    planes = np.empty((image.shape[-1], *label.shape), np.float64)
    for plane, channel in zip(planes, np.moveaxis(image, -1, 0), strict=True):
        if order == 1:
            plane[...] = channel
        else:
            spline_filter(channel, 3, output=plane)
    depth = (1,) * (3 - label.ndim)  # an image is a volume of one slice
    moved, mask = np.empty((*size, len(planes)), np.float32), np.empty(size, np.uint8)
    _fill(
        planes.reshape(len(planes), *depth, *label.shape),
        np.ascontiguousarray(label).reshape(*depth, *label.shape),
        np.ascontiguousarray(coordinates, np.float64).reshape(len(coordinates), -1),
        order,
        moved.reshape(-1, len(planes)),
        mask.reshape(-1),
    )
    return moved, mask


def _weigh(x: float, order: int, weights: np.ndarray) -> None:
    """SciPy's get_spline_interpolation_weights."""
    y = x - np.floor(x)
    z = 1.0 - y
    if order == 1:
        weights[0] = z
        weights[1] = y
    else:
        weights[1] = (y * y * (y - 2.0) * 3.0 + 4.0) / 6.0
        weights[2] = (z * z * (z - 2.0) * 3.0 + 4.0) / 6.0
        weights[0] = z * z * z / 6.0
        weights[3] = 1.0 - weights[0] - weights[1] - weights[2]


def _place(x: float, length: int, order: int, indices: np.ndarray) -> None:
    """The neighbours along an axis, mirrored about the first and the last voxel."""
    first = int(np.floor(x)) - order // 2
    period = 2 * length - 2
    for neighbour in range(order + 1):
        index = first + neighbour
        if index < 0 or index >= length:
            index = 0 if length == 1 else abs(index) % period
            if index >= length:
                index = period - index
        indices[neighbour] = index


_weigh, _place = _compiled(_weigh), _compiled(_place)


@_compiled
def _fill(
    planes: np.ndarray, label: np.ndarray, coordinates: np.ndarray, order: int, moved: np.ndarray, mask: np.ndarray
) -> None:
    """Planes (channels, *3D), label (*3D), coordinates (2 or 3, n); into (n, channels) and (n)."""
    channels, length, height, width = planes.shape
    volume, last = coordinates.shape[0] == 3, coordinates.shape[0] - 1
    along, down, across = np.ones(4), np.empty(4), np.empty(4)
    slices, rows, columns = np.zeros(4, np.int64), np.empty(4, np.int64), np.empty(4, np.int64)
    deep = order + 1 if volume else 1
    for point in range(coordinates.shape[1]):
        z = coordinates[0, point] if volume else 0.0
        y, x = coordinates[last - 1, point], coordinates[last, point]
        if not (0 <= z <= length - 1 and 0 <= y <= height - 1 and 0 <= x <= width - 1):
            moved[point] = 0
            mask[point] = 0
            continue
        mask[point] = label[int(np.floor(z + 0.5)), int(np.floor(y + 0.5)), int(np.floor(x + 0.5))]
        if volume:
            _weigh(z, order, along)
            _place(z, length, order, slices)
        _weigh(y, order, down)
        _place(y, height, order, rows)
        _weigh(x, order, across)
        _place(x, width, order, columns)
        for channel in range(channels):
            total = 0.0
            for a in range(deep):
                for b in range(order + 1):
                    for c in range(order + 1):
                        voxel = planes[channel, slices[a], rows[b], columns[c]]
                        total += voxel * along[a] * down[b] * across[c]
            moved[point, channel] = total
