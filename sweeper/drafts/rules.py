"""From a fingerprint to settings. The rules, their source and their limits are in docs/init.md. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.drafts.fingerprint import Fingerprint

LONGEST = 512
"""Pictures with a longer side are made smaller, or cut into patches where that would lose thin structures."""

PATCH = {2: 512 * 512, 3: 96**3}
"""So many pixels or voxels has a patch at most: what the paper's networks were trained on."""

COARSEST = 4
"""The coarsest level of the network keeps at least so many pixels along each side (nnU-Net)."""

DEEPEST = {2: 4, 3: 3}
"""The depth of the paper's networks."""

ANISOTROPIC = 3.0
"""From this ratio of the largest to the next spacing on, an axis is treated apart (nnU-Net)."""

SMALLEST_THICKNESS = 3.0
"""Structures that would be thinner than this, in pixels, are not made smaller."""

OVERSAMPLING = 0.33
"""Share of the patches that lie on foreground (nnU-Net)."""

FEW_PATCHES = 4
"""At most so many patches of a picture are drawn in an epoch."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the network sees.

    Attributes:
        size: height and width to which pictures are brought; None: as they are.
        spacing: to which volumes are resampled; None: as they are.
        patch: None for whole pictures.
        patches: of each case in an epoch.
        depth: of the network.
        area: whether masks are made smaller by area, so that nothing vanishes.
        why: of the size or the patch, in a few words.
        spaced: why this spacing; empty without one.
    """

    size: tuple[int, int] | None
    spacing: tuple[float, ...] | None
    patch: tuple[int, ...] | None
    patches: int
    depth: int
    area: bool
    why: str
    spaced: str = ""

    def voxels(self, shape: Sequence[int]) -> int:
        """Pixels or voxels that are trained on for each case in an epoch; `shape` is that of whole pictures."""
        return math.prod(self.patch) * self.patches if self.patch else math.prod(self.size or shape)


def sizes_of(found: Fingerprint, scale: float = 1.0) -> Sizes:
    """The sizes for a data set; `scale` makes them smaller for a budget."""
    return _of_pictures(found, scale) if found.dimensions == 2 else _of_volumes(found, scale)


def metrics_of(found: Fingerprint) -> list[tuple[str, str]]:
    """Metrics that suit the structures, each with the reason."""
    thin = [name for name, one in found.structures.items() if one.thin]
    many = [name for name, one in found.structures.items() if one.count >= 3 and not one.thin]
    chosen = []
    if thin:
        chosen.append(("cldice", f"{', '.join(thin)}: long and thin"))
    if many:
        chosen.append(("lesion_f1", f"{', '.join(many)}: several in an image"))
    chosen.append(("boundary_iou", "how well the outlines fit"))
    return chosen


def smallest_thickness(found: Fingerprint) -> float:
    """Of the thinnest class, in pixels as the files have them; infinite without any structure."""
    return min((one.thickness for one in found.structures.values() if one.thickness), default=math.inf)


def _of_pictures(found: Fingerprint, scale: float) -> Sizes:
    height, width = found.shape
    factor = min(LONGEST / max(height, width), 1.0) * scale
    fine = smallest_thickness(found)
    thin = any(one.thin for one in found.structures.values())
    if thin and factor < 1 and fine * factor < SMALLEST_THICKNESS * 2 and max(height, width) > 128:
        side = _multiple(min(math.sqrt(PATCH[2]) * scale, height, width), 16, 64)
        patches = max(1, min(FEW_PATCHES, height * width // side**2))
        why = f"structures of {fine:.0f} pixels would be lost by resizing, so patches of the pictures as they are"
        return Sizes(None, None, (side, side), patches, _depth((side, side), 2), False, why)
    if factor == 1.0 and found.alike:
        return Sizes(None, None, None, 1, _depth(found.shape, 2), False, "all pictures have this size")
    rows, columns = (_multiple(side * factor, 16, 32) for side in (height, width))
    area = fine * factor < SMALLEST_THICKNESS
    why = "the median size" + ("" if factor == 1 else f" × {factor:.2g}") + ", in multiples of 16"
    return Sizes((rows, columns), None, None, 1, _depth((rows, columns), 2), area, why)


def _of_volumes(found: Fingerprint, scale: float) -> Sizes:
    spacing, spaced = _target(found.spacings)
    median = [statistics.median(axis) for axis in zip(*found.spacings, strict=True)]
    shape = [n * have / want for n, have, want in zip(found.shape, median, spacing or median, strict=True)]
    most = PATCH[3] * scale**3
    sides = list(shape)
    while math.prod(sides) > most:  # the longest gives first, so that the patch becomes a cube (nnU-Net)
        longest = max(range(3), key=lambda axis: sides[axis])
        sides[longest] *= 0.95
    patch = tuple(_multiple(side, 8, 16) if side >= 16 else _multiple(side, 4, 8) for side in sides)
    whole = math.prod(shape) <= most
    why = "the median shape" if whole else f"of the median shape, at most {round(most ** (1 / 3))}³ voxels"
    return Sizes(None, spacing, patch, 1, _depth(patch, 3), False, why, spaced)


def _target(spacings: Sequence[Sequence[float]]) -> tuple[tuple[float, ...] | None, str]:
    """The spacing to resample to; None where all volumes have one."""
    axes = [sorted(axis) for axis in zip(*spacings, strict=True)]
    if all(axis[-1] - axis[0] <= 0.05 * axis[0] for axis in axes):
        return None, ""
    target = [statistics.median(axis) for axis in axes]
    widest = max(range(3), key=lambda axis: target[axis])
    others = [target[axis] for axis in range(3) if axis != widest]
    why = "the median spacing"
    if target[widest] > ANISOTROPIC * max(others):
        target[widest] = axes[widest][int(0.1 * (len(axes[widest]) - 1))]
        why += ", of the coarse axis the finest tenth"
    return tuple(float(f"{value:.3g}") for value in target), why


def _depth(shape: Sequence[int], dimensions: int) -> int:
    fitting = math.floor(math.log2(max(min(shape) / COARSEST, 2.0)))
    return max(1, min(DEEPEST[dimensions], fitting))


def _multiple(value: float, of: int, least: int) -> int:
    return max(least, of * round(value / of))
