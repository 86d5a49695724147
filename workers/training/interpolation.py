"""An image and its mask at given coordinates: SciPy's `map_coordinates` to the last bit, in a fraction of its time.

SciPy takes an image channel by channel, works out the weights of every voxel's neighbours anew for each, and goes over
the mask once more; for a sample that is turned, scaled or deformed that is nearly all of the time. Here one compiled
pass does image and mask with the same arithmetic in the same order, so that no number depends on who did it. It takes
many points at once, since the sum of one point is a chain in which each term waits for the one before it. Imported only
where a sample is moved, since Numba takes a third of a second.
"""

from __future__ import annotations

import numpy as np

from workers.training.compiled import compiled, inlined
from workers.training.filters import coefficients

_POINTS = 128  # a block of points, whose weights and neighbours stay in the first cache


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
    size, channels = coordinates.shape[1:], image.shape[-1]
    shape = (1,) * (3 - label.ndim) + label.shape  # an image is a volume of one slice
    if order == 1:  # the image as it is; a product of float32 and float64 is one of float64
        voxels, step, plane = np.ascontiguousarray(image, np.float32), channels, 1
    else:
        voxels, step, plane = coefficients(image), 1, label.size
        coordinates = coordinates.astype(np.float64, copy=False)
    moved, mask = np.empty((*size, channels), np.float32), np.empty(size, np.uint8)
    _fill(
        _flat(voxels),
        step,
        plane,
        _flat(label),
        shape,
        np.ascontiguousarray(coordinates).reshape(len(coordinates), -1),
        tuple(range(order + 1)),
        moved.reshape(-1, channels),
        mask.reshape(-1),
    )
    return moved, mask


def _flat(array: np.ndarray) -> np.ndarray:
    """One line that cannot be written to, like an array on disk: what else it is makes no other compiled function."""
    line = np.ascontiguousarray(array).reshape(-1)
    line.flags.writeable = False
    return line


@compiled
def _fill(
    voxels: np.ndarray,
    step: int,
    plane: int,
    label: np.ndarray,
    shape: tuple[int, ...],
    coordinates: np.ndarray,
    taps: tuple[int, ...],
    moved: np.ndarray,
    mask: np.ndarray,
) -> None:
    """Moves voxels and label of a volume of `shape`; into (n, channels) and (n).

    `step` and `plane` say how far apart the neighbours along a row and the channels of a voxel are in `voxels`;
    coordinates are (2 or 3, n).
    """
    dimensions, points = coordinates.shape
    order = len(taps) - 1  # by the type of the tuple, so that each order is compiled for itself
    deep = order + 1 if dimensions == 3 else 1
    weights, places = np.ones((3, 4, _POINTS)), np.zeros((3, 4, _POINTS), np.uintp)
    inside, nearest, low = np.empty(_POINTS, np.bool_), np.empty(_POINTS, np.uintp), np.zeros(_POINTS)
    corner, row, total = np.empty(_POINTS, np.uintp), np.empty(4 * _POINTS, voxels.dtype), np.empty(_POINTS)
    for first in range(0, points, _POINTS):
        last = min(first + _POINTS, points)
        for point in range(_POINTS):
            inside[point] = True
            nearest[point] = 0
        stride = 1
        for axis in range(2, 2 - dimensions, -1):
            line = coordinates[dimensions - 3 + axis, first:last]
            _weigh(line, shape[axis], order, stride, weights[axis], low, inside, nearest)
            _place(low, shape[axis], order, stride * step, places[axis])
            stride *= shape[axis]
        together = True
        for point in range(_POINTS):
            together &= places[2, 3, point] == places[2, 0, point] + np.uintp(3)
        for point in range(last - first):
            mask[first + point] = label[nearest[point]] if inside[point] else 0
        for channel in range(moved.shape[1]):
            for point in range(_POINTS):
                total[point] = 0.0
            here = voxels[channel * plane :]
            for a in range(deep):
                for b in range(order + 1):
                    for point in range(_POINTS):
                        corner[point] = places[0, a, point] + places[1, b, point]
                    if order == 1:
                        for point in range(_POINTS):
                            row[2 * point] = here[corner[point] + places[2, 0, point]]
                            row[2 * point + 1] = here[corner[point] + places[2, 1, point]]
                    else:
                        _gather(here, corner, places[2], together, row)
                    _add(row, order, weights[0, a], weights[1, b], weights[2], total)
            for point in range(_POINTS):
                total[point] = total[point] if inside[point] else 0.0
            for point in range(last - first):
                moved[first + point, channel] = total[point]


@inlined
def _weigh(
    line: np.ndarray,
    length: int,
    order: int,
    stride: int,
    weights: np.ndarray,
    low: np.ndarray,
    inside: np.ndarray,
    nearest: np.ndarray,
) -> None:
    """SciPy's get_spline_interpolation_weights along an axis, the voxel below each point, and the nearest one."""
    harmless = np.float64(min(length - 1, 1))  # a point outside reads anything that is there
    for point in range(len(line)):
        x = np.float64(line[point])
        within = (x >= 0) & (x <= length - 1)
        x = x if within else harmless
        inside[point] &= within
        nearest[point] += np.uintp(int(np.floor(x + 0.5) * stride))
        low[point] = np.floor(x)
        y = x - np.floor(x)
        z = 1.0 - y
        if order == 1:
            weights[0, point] = z
            weights[1, point] = y
        else:
            before = z * z * z / 6.0
            left = (y * y * (y - 2.0) * 3.0 + 4.0) / 6.0
            right = (z * z * (z - 2.0) * 3.0 + 4.0) / 6.0
            weights[0, point] = before
            weights[1, point] = left
            weights[2, point] = right
            weights[3, point] = 1.0 - before - left - right


@inlined
def _place(low: np.ndarray, length: int, order: int, step: int, places: np.ndarray) -> None:
    """Where the neighbours along an axis lie, mirrored about the first and the last voxel."""
    period = 2.0 * length - 2.0
    for neighbour in range(order + 1):
        for point in range(_POINTS):
            index = abs(low[point] + (neighbour - order // 2))
            index = index if index < length else min(abs(period - index), length - 1.0)
            places[neighbour, point] = np.uintp(int(index * step))


@inlined
def _gather(voxels: np.ndarray, corner: np.ndarray, places: np.ndarray, together: bool, row: np.ndarray) -> None:
    """Four neighbours along a row of each point, (points * 4): where they lie `together`, they are copied as one."""
    if not together:
        for neighbour in range(4):
            for point in range(_POINTS):
                row[4 * point + neighbour] = voxels[corner[point] + places[neighbour, point]]
        return
    one, two, three = np.uintp(1), np.uintp(2), np.uintp(3)
    for point in range(_POINTS):
        start = corner[point] + places[0, point]
        a, b, c, d = voxels[start], voxels[start + one], voxels[start + two], voxels[start + three]
        row[4 * point], row[4 * point + 1], row[4 * point + 2], row[4 * point + 3] = a, b, c, d


@inlined
def _add(
    row: np.ndarray, order: int, along: np.ndarray, down: np.ndarray, across: np.ndarray, total: np.ndarray
) -> None:
    """Adds the neighbours along a row to the total of each point."""
    if order == 1:
        for point in range(_POINTS):
            a, b = along[point], down[point]
            left, right = row[2 * point], row[2 * point + 1]
            total[point] = total[point] + left * a * b * across[0, point] + right * a * b * across[1, point]
        return
    for point in range(_POINTS):
        a, b = along[point], down[point]
        total[point] = (
            total[point]
            + row[4 * point] * a * b * across[0, point]
            + row[4 * point + 1] * a * b * across[1, point]
            + row[4 * point + 2] * a * b * across[2, point]
            + row[4 * point + 3] * a * b * across[3, point]
        )
