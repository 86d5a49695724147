"""What the values of a 2D mask mean: one structure, or classes through a map.

A mask of one structure has two values, or edges that were smoothed or lossily compressed. Anything else is refused with
the options that say what is meant, because numbered classes that are cut at half scale look like a mask, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter, minimum_filter

from workers.datasets.preprocessing import Label
from workers.errors import DataError

Foreground = Literal["binary", "nonzero", "half"]
"""What is foreground in a mask of one structure: the higher of two values; all that is not 0; or what is above half
scale, whatever the values look like."""

Values = npt.NDArray[np.int64]

GREY_SHARE = 0.05
"""Share of a binary mask's pixels that may be neither near black nor near white (smoothed or lossy edges)."""

_PLATEAU_SHARE = 0.35
"""Share of the pixels between lowest and highest value that may form plateaus. Masks of vessels, nuclei and lesions
that were resized, turned, blurred or stored as JPEG have at most 0.16; numbered classes and instances at least 0.6."""

_FEW_LEVELS = 16
"""With fewer values between lowest and highest a mask is not noisy, so that values near to either end count, too."""

_LISTED = 8
"""So many values are named; with more than that, they number instances and no classes."""


def binary_label(values: Values, path: Path, foreground: Foreground = "binary") -> Label:
    """The mask of one structure as uint8 (height, width), 0 background and 1 foreground.

    Accepts 0/1 and 0/full scale, and edges that were smoothed or lossily compressed, cut at half scale.

    Raises:
        DataError: the values are not those of one structure.
    """
    if foreground == "nonzero":
        return np.not_equal(values, 0).astype(np.uint8)
    top = int(values.max(initial=0))
    scale = 1 if top <= 1 else 255 if top <= 255 else 65535
    if foreground == "binary" and (why := _why_not_binary(values, top, scale)) is not None:
        raise DataError(
            f"{path}: not a binary mask: expected 0 and 1, or 0 and {scale if top > 1 else 255}, found "
            f"{listed(values)}{why}; {_options(values)}"
        )
    return (values > scale / 2).astype(np.uint8)


def class_label(values: Values, path: Path, label_map: Mapping[int, int]) -> Label:
    """The mask of several classes as uint8 class indices (height, width), through `label_map` (value to class).

    Raises:
        DataError: a value that the map does not have.
    """
    label, known = np.zeros(values.shape, np.uint8), np.zeros(values.shape, np.bool_)
    for value, index in label_map.items():
        where = values == value
        label[where], known[where] = index, True
    unknown = values[~known]
    if unknown.size:
        raise DataError(f"{path}: mask values {listed(unknown)} are not in the label_map {dict(label_map)}")
    return label


def listed(values: Values) -> str:
    """The first distinct values, for a message."""
    distinct = np.unique(values)
    return ", ".join(str(v) for v in distinct[:_LISTED]) + (", …" if distinct.size > _LISTED else "")


def _why_not_binary(values: Values, top: int, scale: int) -> str | None:
    """What speaks against two values with smoothed edges: empty where the values say it, None where nothing does."""
    if int(values.min(initial=0)) < 0 or (top < 0.9 * scale and top > 0):
        return ""
    between = (values > 0) & (values < top)
    if not between.any():
        return None
    grey = (values > 0.1 * scale) & (values < 0.9 * scale)
    if (share := np.count_nonzero(grey) / values.size) > GREY_SHARE:
        return f" ({share:.0%} of the mask is grey)"
    if _constant(values, 5)[grey].any():
        return " (areas of one grey value are no smoothed edges)"
    return _why_levels(values, between, top, scale)


def _why_levels(values: Values, between: npt.NDArray[np.bool_], top: int, scale: int) -> str | None:
    """The same, by how the values in between lie.

    A pixel of a smoothed edge has a darker and a brighter neighbour. One of a numbered class has equal neighbours, and
    nothing brighter, or nothing darker, beside it: a plateau.
    """
    levels = np.unique(values[between]).size
    edge = between
    if levels >= _FEW_LEVELS:
        edge = (values > 4 / 255 * scale) & (values < top - 4 / 255 * scale)
    below, beside = values[1:] == values[:-1], values[:, 1:] == values[:, :-1]
    equal = np.zeros_like(edge)
    equal[1:] |= below
    equal[:-1] |= below
    equal[:, 1:] |= beside
    equal[:, :-1] |= beside
    slope = (minimum_filter(values, 3) < values) & (values < maximum_filter(values, 3))
    if np.count_nonzero(edge & equal & ~slope) > _PLATEAU_SHARE * np.count_nonzero(edge):
        return f" ({_times(levels)} between them lie side by side, as those of classes do)"
    straight = np.zeros_like(edge)
    straight[1:-1] |= below[1:] & below[:-1]
    straight[:, 1:-1] |= beside[:, 1:] & beside[:, :-1]
    if levels == 1 and np.count_nonzero(edge) >= _LISTED and np.count_nonzero(edge & straight) < 0.9 * edge.sum():
        return " (one value between them is no smoothed edge)"
    return None


def _constant(values: Values, size: int) -> npt.NDArray[np.bool_]:
    """Where a square around the pixel has one value."""
    constant: npt.NDArray[np.bool_] = minimum_filter(values, size) == maximum_filter(values, size)
    return constant


def _times(levels: int) -> str:
    return "pixels of the value" if levels == 1 else f"pixels of {levels} values"


def _options(values: Values) -> str:
    """The options that say what is meant, to paste."""
    distinct = np.unique(values).tolist()
    one = 'foreground = "nonzero" for one structure, or foreground = "half" for edges to be cut at half scale'
    if len(distinct) > _LISTED:
        return f"set an option of the image-folder reader: {one}"
    pairs = ", ".join(f"{value} = {index}" for index, value in enumerate(distinct))
    return f"set options of the image-folder reader: label_map = {{ {pairs} }} with as many `classes`, or {one}"
