"""Where the voxels of a volume lie, and whether those of a second file are the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform

from workers.datasets.preprocessing import Affine, Scalar, times
from workers.errors import DataError

MAX_VOXELS = 1 << 30
"""Largest volume that is read, four times 512×512×1000; as float32 it takes 4 GiB."""

TOLERANCE = 0.5
"""How far the corners of two grids may lie apart to be one grid, as a share of the smallest side of a voxel."""

TRUST = 'if its voxels are those of the image all the same, set options.grid = "trust"'


class OtherGridError(DataError):
    """The voxels of a file are not those of its image."""


@dataclass(frozen=True, slots=True)
class Header:
    """The part of a volume's header that is used; names and other text in it are never read.

    Attributes:
        shape: voxels along the file's three axes.
        affine: voxel index to mm (RAS+).
        spacing: voxel size along each axis, mm.
        channels: volumes in the file.
        sized: whether the file gives the size of a voxel; else 1 mm is taken.
        notes: what a person should know of the header, such as that it contradicts itself.
    """

    shape: tuple[int, int, int]
    affine: Affine
    spacing: tuple[float, float, float]
    channels: int = 1
    sized: bool = True
    notes: tuple[str, ...] = ()


def make_header(
    shape: tuple[int, ...], affine: Affine, channels: int = 1, *, sized: bool = True, notes: tuple[str, ...] = ()
) -> Header:
    """A header with the voxel sizes of its affine."""
    (width, height, depth), (x, y, z) = shape, (float(side) for side in voxel_sizes(affine))
    return Header((width, height, depth), affine, (x, y, z), channels, sized, notes)


def turn_onto(
    path: Path, header: Header, like: Header, *, trust: bool = False, image: str = "its image"
) -> npt.NDArray[np.float64] | None:
    """How the voxels of a file have to be turned to be those of its image; None where they are already.

    A label that is stored flipped, with an affine that says so, is on the grid of its image.

    Args:
        path: the file, for messages.
        header: of the file.
        like: of its image.
        trust: go by the shape alone.
        image: what the image is called in messages.

    Raises:
        OtherGridError: it has another grid.
    """
    if header.shape == like.shape and (trust or _apart(header.affine, like) <= TOLERANCE * min(like.spacing)):
        return None
    if not trust:
        turn: npt.NDArray[np.float64] = ornt_transform(io_orientation(header.affine), io_orientation(like.affine))
        shape = tuple(header.shape[int(np.flatnonzero(turn[:, 0] == axis)[0])] for axis in range(3))
        turned = header.affine @ inv_ornt_aff(turn, header.shape)
        if shape == like.shape and _apart(turned, like) <= TOLERANCE * min(like.spacing):
            return turn
    if header.shape != like.shape:
        raise OtherGridError(
            f"{path}: shape {header.shape} differs from that of {image}, {like.shape}; fix or exclude the case"
        )
    lies = _apart(header.affine, like)
    raise OtherGridError(
        f"{path}: lies up to {lies:.3g} mm away from {image} by the two headers"
        f"{''.join(f' ({note})' for note in header.notes)}; fix or exclude the case; {TRUST}"
    )


def turned(array: npt.NDArray[Scalar], turn: npt.NDArray[np.float64] | None) -> npt.NDArray[Scalar]:
    """The array, turned as `turn_onto` says."""
    if turn is None:
        return array
    view: npt.NDArray[Scalar] = apply_orientation(array, turn)
    return view


def three_axes(path: Path, shape: tuple[int, ...]) -> tuple[tuple[int, int, int], int]:
    """Three axes and the number of volumes of a file's shape (x, y, z, volumes).

    Raises:
        DataError: fewer or more axes, or more voxels than are read.
    """
    whole = tuple(int(n) for n in shape)
    further = [n for n in whole[3:] if n != 1]
    if len(whole) < 3 or min(whole) < 1 or len(further) > 1 or (further and whole[3] == 1):
        raise DataError(
            f"{path}: a volume of shape {times(whole) or 'nothing'}; expected three axes. Store one volume per file"
        )
    channels = further[0] if further else 1
    if whole[0] * whole[1] * whole[2] * channels > MAX_VOXELS:
        raise DataError(f"{path}: the header declares {times(whole)} voxels, above the limit of {MAX_VOXELS:,}")
    return (whole[0], whole[1], whole[2]), channels


def require_numbers(path: Path, dtype: np.dtype[np.generic]) -> None:
    """Refuses voxels that are no real numbers."""
    if dtype.kind not in "iufb":
        raise DataError(f"{path}: voxels of type {dtype} cannot be used; expected real numbers")


def _apart(affine: Affine, like: Header) -> float:
    """The largest distance, along an axis, between the corners of two grids of one shape."""
    ends = [(0, n - 1) for n in like.shape]
    corners = np.array([[x, y, z, 1] for x in ends[0] for y in ends[1] for z in ends[2]], np.float64).T
    return float(np.abs((affine - like.affine) @ corners).max())
