"""Which part of a case is shown enlarged: where losses disagree most, and in a volume the largest wrong component.

Pure numpy; knows no files and no figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Kind = TypeVar("Kind", bound=np.generic)

SMALLEST = 32
"""A part has at least so many pixels a side, or the whole side."""

_SHARE = 3
"""A part is a third of each side unless a component needs more."""

_AROUND = 1.5
"""A component's part is by this factor larger than the component."""


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a slice, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, picture: npt.NDArray[Kind]) -> npt.NDArray[Kind]:
        """The part of an array whose first two axes are the slice's."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True, slots=True)
class Errors:
    """How many pixels are wrong, and how: marked without need, not marked, or marked as another class."""

    false_positives: int
    false_negatives: int
    other_class: int = 0


def errors(truth: npt.NDArray[np.generic], prediction: npt.NDArray[np.generic]) -> Errors:
    """Counts the wrong pixels of two arrays of class indices."""
    true, marked = truth != 0, prediction != 0
    return Errors(
        int((~true & marked).sum()), int((true & ~marked).sum()), int((true & marked & (truth != prediction)).sum())
    )


def disagreement(predictions: Sequence[Labels]) -> npt.NDArray[np.int64]:
    """How many losses differ, at each pixel, from what most of them say there; 0 where all say the same."""
    stack = np.stack(predictions)
    most = np.zeros(stack.shape[1:], np.int64)
    for label in np.unique(stack):
        most = np.maximum(most, (stack == label).sum(axis=0))
    return len(predictions) - most


def box_of_disagreement(truth: Labels, predictions: Sequence[Labels]) -> Box:
    """The part of a flat image in which the losses disagree most.

    Where they agree everywhere it is the part with the most errors, and where there are none that with the most truth.
    """
    weights = disagreement(predictions)
    for other in (sum((p != truth).astype(np.int64) for p in predictions), (truth > 0).astype(np.int64)):
        if weights.any():
            break
        weights = np.asarray(other)
    height, width = (_side(size) for size in truth.shape)
    return _heaviest(weights, height, width)


def largest_wrong(truth: Labels, predictions: Sequence[Labels]) -> Mask | None:
    """The largest connected set of voxels that one loss has wrong, of all losses; None where all are right."""
    largest, found = 0, None
    for prediction in predictions:
        wrong = prediction != truth
        if int(wrong.sum()) <= largest:
            continue
        components, count = ndimage.label(wrong)
        sizes = np.bincount(components.ravel(), minlength=count + 1)[1:]
        if sizes.size and int(sizes.max()) > largest:
            largest, found = int(sizes.max()), components == int(sizes.argmax()) + 1
    return found


def fullest_slice(mask: Mask, axis: int) -> int:
    """The slice with the most of a mask, the middle one where it is empty."""
    counts = mask.sum(axis=tuple(i for i in range(mask.ndim) if i != axis))
    return int(counts.argmax()) if counts.any() else mask.shape[axis] // 2


def box_around(part: Mask, aspect: float = 1.0) -> Box:
    """The part of a slice with some room around all that a mask marks; its middle where it marks nothing.

    Args:
        part: the mask of the slice.
        aspect: the height of a pixel over its width. As far as the slice goes, the part is as high as wide.
    """
    marked = [np.flatnonzero(part.any(axis=1 - axis)) for axis in (0, 1)]
    ends = [(m[0], m[-1] + 1) if m.size else (size // 2, size // 2) for m, size in zip(marked, part.shape, strict=True)]
    steps = (aspect, 1.0)
    needed = max(
        max(min(SMALLEST, size), size / _SHARE, _AROUND * (high - low)) * step
        for size, (low, high), step in zip(part.shape, ends, steps, strict=True)
    )
    sides = []
    for size, (low, high), step in zip(part.shape, ends, steps, strict=True):
        length = min(size, math.ceil(needed / step))
        sides.append((int(np.clip((low + high - length) // 2, 0, size - length)), length))
    (top, height), (left, width) = sides
    return Box(top, left, height, width)


def _side(size: int) -> int:
    return min(size, max(SMALLEST, round(size / _SHARE)))


def _heaviest(weights: npt.NDArray[np.int64], height: int, width: int) -> Box:
    """The window with the largest sum; of several the one in the middle of them, so that what counts is in its own."""
    sums = np.pad(weights.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    windows = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    places = np.argwhere(windows == windows.max())
    top, left = places[((places - places.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    return Box(int(top), int(left), height, width)
