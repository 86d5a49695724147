"""What the files of a data set are like: sizes, spacing, intensities, and the structures in the masks."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from workers.datasets.preprocessing import canonical_order
from workers.datasets.reader import Case, CaseFiles, ExcludedCaseError, Reader
from workers.errors import DataError

READ = 40
"""So many cases are read, spread evenly."""

THIN = {2: 6.0, 3: 8.0}
"""A structure is thin when it holds more than so many squares (cubes) of its own thickness; a disk holds 0.8."""

TOMOGRAPHY = -200.0
"""Intensities below this, in whole numbers, are Hounsfield units."""


@dataclass(frozen=True, slots=True)
class Structure:
    """The structures of a class.

    Attributes:
        share: of an image, on average over all cases that were read.
        count: connected structures in an image that has the class; the median.
        thickness: of an image's largest structure, in pixels or voxels; the median. Of thin ones the usual thickness,
            of others that of the thickest place.
        thin: whether they are long for their thickness, as vessels are.
    """

    share: float
    count: float
    thickness: float
    thin: bool


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What was measured. Shapes and spacings are (height, width), or along z, y and x.

    Attributes:
        dimensions, cases, read: of the data set; `read` of the cases were measured.
        shape: the median size.
        shapes: the smallest and largest size along each axis.
        alike: whether all that were read have one size.
        spacings: of each volume that was read; empty for pictures.
        channels: of an image.
        intensities: lowest and highest.
        windows: for each channel that is computed tomography 0.5% and 99.5% of the foreground's intensities, () for
            the others.
        structures: by class.
    """

    dimensions: int
    cases: int
    read: int
    shape: tuple[int, ...]
    shapes: tuple[tuple[int, int], ...]
    alike: bool
    spacings: tuple[tuple[float, ...], ...]
    channels: int
    intensities: tuple[float, float]
    windows: tuple[tuple[float, ...], ...]
    structures: dict[str, Structure]


def measure(reader: Reader, cases: Sequence[CaseFiles]) -> Fingerprint:
    """Reads some of the cases and measures them. What cannot be read is left to `sweeper data check`.

    Raises:
        DataError: none of them can be read.
    """
    step = max(len(cases) / READ, 1.0)
    chosen = [cases[int(i * step)] for i in range(min(len(cases), READ))]
    shapes: list[tuple[int, ...]] = []
    spacings: list[tuple[float, ...]] = []
    ranges: list[tuple[float, float]] = []
    inside: list[npt.NDArray[np.float32]] = []
    shares: dict[str, list[float]] = defaultdict(list)
    found: dict[str, list[_One]] = defaultdict(list)
    lows: list[npt.NDArray[np.float32]] = []
    whole, channels = True, 1
    last: Exception | None = None
    for files in chosen:
        try:
            case = reader.read_case(files)
        except (DataError, ExcludedCaseError) as error:
            last = error
            continue
        shapes.append(_ordered(case.label.shape, case))
        if case.affine is not None:
            spacings.append(_ordered(case.spacing, case))
        ranges.append((float(case.image.min()), float(case.image.max())))
        channels = case.image.shape[-1]
        lows.append(case.image.reshape(-1, channels).min(axis=0))
        whole &= bool((case.image[::3, ::3] == np.rint(case.image[::3, ::3])).all())
        foreground = case.image[(case.label > 0) & (case.label < len(reader.classes))]
        inside.append(foreground[:: max(len(foreground) // 20_000, 1)])
        for index, name in enumerate(reader.classes[1:], start=1):
            mask = case.label >= index if reader.members else case.label == index
            shares[name].append(float(mask.mean()))
            if (one := _structure(mask)) is not None:
                found[name].append(one)
    if not shapes:
        raise DataError(f"none of {len(chosen)} cases can be read; the last: {last}")
    low, high = min(one for one, _ in ranges), max(one for _, one in ranges)
    return Fingerprint(
        dimensions=reader.dimensions,
        cases=len(cases),
        read=len(shapes),
        shape=tuple(int(statistics.median(axis)) for axis in zip(*shapes, strict=True)),
        shapes=tuple((min(axis), max(axis)) for axis in zip(*shapes, strict=True)),
        alike=len(set(shapes)) == 1,
        spacings=tuple(spacings),
        channels=channels,
        intensities=(low, high),
        windows=_windows(inside, np.min(lows, axis=0)) if spacings and whole else (),
        structures={name: _summed(shares[name], found[name], reader.dimensions) for name in reader.classes[1:]},
    )


def _ordered(values: Sequence[int] | Sequence[float], case: Case) -> tuple[int, ...]:
    return tuple(values) if case.affine is None else tuple(canonical_order(values, case.affine))  # type: ignore[arg-type]


class _One(NamedTuple):
    """How many structures an image has; of the largest the size, its thickest place, and its usual thickness."""

    number: int
    size: float
    thickest: float
    usual: float


def _structure(mask: npt.NDArray[np.bool_]) -> _One | None:
    """What an image has of a class; None without any."""
    (labels, count) = ndimage.label(mask, np.ones((3,) * mask.ndim))
    if not count:
        return None
    sizes = np.bincount(labels.ravel())[1:]
    largest = int(sizes.argmax()) + 1
    window = ndimage.find_objects(labels, largest)[largest - 1]
    padded = np.pad(labels[window] == largest, 1)
    depth = ndimage.distance_transform_edt(padded)
    size = float(sizes[largest - 1])
    surface = float(np.count_nonzero(depth == 1))
    return _One(int(count), size, 2 * float(depth.max()) - 1, 2 * size / max(surface, 1.0))


def _summed(shares: Sequence[float], found: Sequence[_One], dimensions: int) -> Structure:
    if not found:
        return Structure(0.0, 0.0, 0.0, False)
    thin = statistics.median(one.size / max(one.thickest, 1.0) ** dimensions for one in found) > THIN[dimensions]
    return Structure(
        share=statistics.fmean(shares),
        count=statistics.median(one.number for one in found),
        thickness=statistics.median(one.usual if thin else one.thickest for one in found),
        thin=thin,
    )


def _windows(inside: Sequence[npt.NDArray[np.float32]], lows: npt.NDArray[np.float32]) -> tuple[tuple[float, ...], ...]:
    values = np.concatenate(inside)
    if not len(values) or not (lows < TOMOGRAPHY).any():
        return ()
    low, high = np.percentile(values, (0.5, 99.5), axis=0)
    return tuple(
        (float(round(low[c])), float(round(high[c]))) if lows[c] < TOMOGRAPHY and round(low[c]) < round(high[c]) else ()
        for c in range(len(lows))
    )
