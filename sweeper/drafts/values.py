"""What the values of masks mean and how many channels images have, as options of the generic readers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from workers.datasets.images import read_binary_mask, read_pixels
from workers.datasets.volumes import read_channels
from workers.errors import DataError

Options = dict[str, Any]
"""Of a reader, as a grid has them."""

LOOKED_AT = 100
"""So many files are read, spread evenly."""

MOST_CLASSES = 32
MOST_EVEN = 8
"""Masks with more values than this, at uneven distances, are taken for smoothed ones."""

IGNORED = 255


def spread(paths: Sequence[Path], most: int = LOOKED_AT) -> list[Path]:
    """At most so many of the files, spread evenly."""
    step = max(len(paths) / most, 1.0)
    return [paths[int(i * step)] for i in range(min(len(paths), most))]


def channels_of(paths: Sequence[Path]) -> tuple[int, str]:
    """How many channels pictures have, and a word on it. Colour files that are grey are read as grey."""
    found: set[int] = set()
    coloured = False
    for path in spread(paths, 20):
        pixels = _quietly(path)
        if pixels is None:
            continue
        count = pixels.shape[-1] if pixels.ndim == 3 else 1
        found.add(count)
        coloured |= count == 3 and not bool((pixels == pixels[..., :1]).all())
    if found <= {1, 3}:
        return (3, "colour") if coloured else (1, "grey")
    return max(found), f"{max(found)} channels"


def picture_options(paths: Sequence[Path]) -> tuple[Options, list[str]]:
    """The options for masks that all classes share, and what is unsure of them."""
    files = spread(paths)
    if (binary := _binary(files)) is not None:
        return binary, []
    values, colours = set[int](), set[int]()
    for path in files:
        pixels = _quietly(path)
        if pixels is None:
            continue
        grey = pixels.ndim == 2 or bool((pixels == pixels[..., :1]).all())
        if grey:
            values |= set(np.unique(pixels if pixels.ndim == 2 else pixels[..., 0]).astype(int).tolist())
        else:
            packed = pixels[..., :3].astype(np.int64) @ np.array([65536, 256, 1])
            colours |= set(np.unique(packed).tolist())
        if len(values) > MOST_CLASSES or len(colours) > MOST_CLASSES:
            return {"foreground": "half"}, [
                f"the masks have more than {MOST_CLASSES} values (the last is {path.name}); what is above half scale "
                "is taken for the structure, which is wrong where the values number structures"
            ]
    if colours:
        colours |= {value * 0x010101 for value in values}
        ordered = sorted(colours)
        if ordered[0] != 0:
            ordered.insert(0, 0)
        names = {f"#{colour:06x}": index for index, colour in enumerate(ordered)}
        return {"colours": names, "classes": _names(len(ordered))}, ["the names of the classes are not in the files"]
    if _smoothed(values):
        return {"foreground": "half"}, [
            f"the masks have {len(values)} values from 0 to {max(values)} at uneven distances, as smoothed outlines "
            "have them; what is above half scale is taken for the structure; if the values are classes, set label_map"
        ]
    return class_options(values)


def _smoothed(values: Iterable[int]) -> bool:
    """Whether grey values are outlines between 0 and the brightest, and not classes: many, far apart, no even row."""
    ordered = sorted(values)
    steps = {after - before for before, after in pairwise(ordered)}
    return len(ordered) > MOST_EVEN and ordered[-1] > IGNORED // 2 and len(steps - {1}) > 2


def class_options(values: Iterable[int]) -> tuple[Options, list[str]]:
    """The options for masks whose values are these."""
    ordered = sorted({0, *values})
    notes = ["the names of the classes are not in the files"]
    options: Options = {}
    if len(ordered) > 3 and ordered[-1] == IGNORED and ordered[-2] == len(ordered) - 2:
        ordered.pop()
        options["ignore_label"] = IGNORED
        notes.append(f"the value {IGNORED} is taken for pixels that do not count, as many sets have it")
    options["classes"] = _names(len(ordered))
    if ordered != list(range(len(ordered))):
        options["label_map"] = {str(value): index for index, value in enumerate(ordered)}
    return options, notes


def volume_values(paths: Sequence[Path]) -> set[int]:
    """The values of label volumes.

    Raises:
        DataError: too many for classes.
    """
    values: set[int] = set()
    for path in spread(paths, 40):
        try:
            volume, _ = read_channels(path)
        except DataError:
            continue  # the check names it
        values |= set(np.unique(np.rint(volume)).astype(int).tolist())
        if len(values) > 255:
            raise DataError(f"{path}: the labels have more than 255 values, so they are no classes; set label_map")
    return {value for value in values if value >= 0}


def _binary(files: Sequence[Path]) -> Options | None:
    for foreground in ("binary", "nonzero"):
        if foreground == "nonzero" and not _two_values(files):
            return None
        try:
            for path in files:
                read_binary_mask(path, foreground)
        except DataError:
            continue
        return {} if foreground == "binary" else {"foreground": foreground}
    return None


def _two_values(files: Sequence[Path]) -> bool:
    found: set[int] = set()
    for path in files:
        pixels = _quietly(path)
        if pixels is None or pixels.ndim != 2:
            return False
        found |= set(np.unique(pixels).astype(int).tolist())
        if len(found) > 2:
            return False
    return 0 in found


def _quietly(path: Path) -> Any:
    """The pixels of a file; None of one that cannot be read, which the check names."""
    try:
        return read_pixels(path)
    except DataError:
        return None


def _names(count: int) -> list[str]:
    return ["background", *([f"class {index}" for index in range(1, count)] if count > 2 else ["foreground"])]
