"""Two of SciPy's filters along the lines of every axis, to the last bit and in a fraction of their time.

SciPy takes one line after the other, and within a line most operations wait for the one before. Here many lines go side
by side, as columns that stay in the cache, each with SciPy's arithmetic in SciPy's order (`ni_splines.c`,
`NI_Correlate1D` in `ni_filters.c`). Imported only where a sample is moved, since Numba takes a third of a second.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from workers.training.compiled import compiled, inlined

_POLE = -0.267949192431122706472553658494127633  # √3 - 2, with more digits than the difference would keep
_GAIN = (1.0 - _POLE) * (1.0 - 1.0 / _POLE)
_TRUNCATE = 4.0  # in σ: where SciPy cuts a Gaussian


def coefficients(image: np.ndarray) -> np.ndarray:
    """Of the image's cubic spline: `scipy.ndimage.spline_filter(channel, 3)` of each channel, mirrored at its ends.

    Args:
        image: float32 (*spatial, channels), 2D or 3D.

    Returns:
        float64 (channels, *spatial).
    """
    planes = np.array(np.moveaxis(image, -1, 0), np.float64, order="C")
    for plane in planes:
        if plane.ndim == 3:
            _prefilter(plane, 0)
        for piece in plane.reshape(-1, *plane.shape[-2:]):  # a slice stays in the cache for both of its axes
            _prefilter(piece, 0)
            _prefilter(piece, 1)
    return planes


def smooth(field: np.ndarray, sigma: float) -> None:
    """Makes the field `scipy.ndimage.gaussian_filter(field, sigma, mode="constant", cval=0)`.

    Args:
        field: float64 of any shape, in rows; it is changed.
        sigma: in voxels.
    """
    weights = _gaussian(sigma)
    for axis in range(field.ndim):
        _correlate(field.reshape(-1), _lines(field.shape, axis), weights)


def _prefilter(array: np.ndarray, axis: int) -> None:
    """Filters float64 in rows along an axis, in place."""
    n = array.shape[axis]
    if n > 1:  # a line of one voxel is its own coefficient
        # The C library's power, which SciPy calls: another way of computing it differs in the last bit.
        _filter(array.reshape(-1), _lines(array.shape, axis), _POLE, _GAIN, math.pow(_POLE, n - 1))


def _gaussian(sigma: float) -> np.ndarray:
    """SciPy's weights from the first to the one in the middle, whose other half is the same."""
    radius = int(_TRUNCATE * sigma + 0.5)
    weights: np.ndarray = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    weights /= weights.sum()
    return weights[: radius + 1]


Lines: TypeAlias = tuple[int, int, int, int, int]
"""How the lines along an axis lie: blocks of lines side by side, voxels in a line, lines in a block; from a voxel of a
line to the next, and from a line to the next."""


def _lines(shape: tuple[int, ...], axis: int) -> Lines:
    before, n, after = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    return (1, n, before, 1, n) if after == 1 else (before, n, after, after, 1)


@compiled
def _filter(voxels: np.ndarray, layout: Lines, pole: float, gain: float, far: float) -> None:
    """Filters the lines in place; `far` is the pole to the power of n - 1."""
    blocks, n, across, step, apart = layout
    lanes = _lanes(across, 64 if apart == 1 else 16)
    columns = np.zeros((n, lanes))
    for block in range(blocks):
        for first in range(0, across, lanes):
            here, count = voxels[block * n * across + first * apart :], min(lanes, across - first)
            for i in range(n):
                for lane in range(count):
                    columns[i, lane] = here[i * step + lane * apart]
            _recur(columns, pole, gain, far)
            for i in range(n):
                for lane in range(count):
                    here[i * step + lane * apart] = columns[i, lane]


@compiled
def _correlate(voxels: np.ndarray, layout: Lines, weights: np.ndarray) -> None:
    """Sums the lines in place, with the weights up to the middle one and zeros outside."""
    blocks, n, across, step, apart = layout
    lanes, radius = _lanes(across, 16), len(weights) - 1
    padded, total = np.zeros((n + 2 * radius, lanes)), np.empty((n, lanes))
    for block in range(blocks):
        for first in range(0, across, lanes):
            here, count = voxels[block * n * across + first * apart :], min(lanes, across - first)
            for i in range(n):
                for lane in range(count):
                    padded[radius + i, lane] = here[i * step + lane * apart]
            _sum(padded.reshape(-1), lanes, weights, total.reshape(-1))
            for i in range(n):
                for lane in range(count):
                    here[i * step + lane * apart] = total[i, lane]


@inlined
def _lanes(lines: int, most: int) -> int:
    """How many lines go side by side: nearly equal parts, so that the last holds few idle ones."""
    return -(-lines // -(-lines // most))


@inlined
def _recur(columns: np.ndarray, pole: float, gain: float, far: float) -> None:
    """SciPy's apply_filter for a pole and mirrored ends, on the columns of (n, lanes)."""
    n, lanes = columns.shape
    first, most = np.zeros(lanes), np.zeros(lanes)
    for i in range(n):
        for lane in range(lanes):
            columns[i, lane] *= gain
            most[lane] += abs(columns[i, lane])
    for lane in range(lanes):
        first[lane] = columns[0, lane] + far * columns[n - 1, lane]
    power = pole
    for i in range(1, n - 1):
        if i % 8 == 0 and _is_settled(first, most, power):
            break
        for lane in range(lanes):
            first[lane] += power * (columns[i, lane] + far * columns[n - 1 - i, lane])
        power *= pole
    for lane in range(lanes):
        columns[0, lane] = first[lane] / (1.0 - far * far)
    for i in range(1, n):
        for lane in range(lanes):
            columns[i, lane] += pole * columns[i - 1, lane]
    for lane in range(lanes):
        columns[n - 1, lane] = (pole * columns[n - 2, lane] + columns[n - 1, lane]) * pole / (pole * pole - 1.0)
    for back in range(n - 1):
        i = n - 2 - back
        for lane in range(lanes):
            columns[i, lane] = pole * (columns[i + 1, lane] - columns[i, lane])


@inlined
def _is_settled(sums: np.ndarray, most: np.ndarray, power: float) -> bool:
    """Whether no term that is still to come can change a bit of a sum, since each is far below half of its last digit.

    `most` is no less than any voxel of the line, so that a term is at most twice `power` times it. A line that is not
    finite, or a sum of zero, never settles.
    """
    settled = True
    for lane in range(len(sums)):
        settled &= 2.0 * abs(power) * most[lane] < abs(sums[lane]) * 2.0**-56
    return settled


@inlined
def _sum(padded: np.ndarray, lanes: int, weights: np.ndarray, total: np.ndarray) -> None:
    """The middle first, then each pair of neighbours from the farthest to the nearest."""
    radius, length = len(weights) - 1, len(total)
    middle, weight = padded[radius * lanes :], weights[radius]
    for k in range(length):
        total[k] = middle[k] * weight
    if radius % 2:
        left, right, weight = padded, padded[2 * radius * lanes :], weights[0]
        for k in range(length):
            total[k] += (left[k] + right[k]) * weight
    for tap in range(radius % 2, radius, 2):  # two at once: a total is read and written once for both
        left, right, weight = padded[tap * lanes :], padded[(2 * radius - tap) * lanes :], weights[tap]
        left_2, right_2, weight_2 = left[lanes:], padded[(2 * radius - tap - 1) * lanes :], weights[tap + 1]
        for k in range(length):
            total[k] = total[k] + (left[k] + right[k]) * weight + (left_2[k] + right_2[k]) * weight_2
