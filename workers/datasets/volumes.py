"""Reading NIfTI volumes as streams: slab by slab, into the type that is wanted, and no further than the header
declares.

nibabel parses the header and composes the affine. The voxels are read here for two reasons: a CT of 512×512×1000 that
is stored as float64 takes 2 GiB, and as much again while it is converted; and a few kilobytes of gzip can unpack to any
size. Whoever changes the arrays raises the version of `nifti` in `workers.datasets.formats`.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.affines import voxel_sizes
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.spatialimages import HeaderDataError

from workers.datasets.preprocessing import WHOLE, Affine, Image, Label
from workers.errors import DataError

MAX_VOXELS = 1 << 30
"""Largest volume that is read, four times 512×512×1000; as float32 it takes 4 GiB."""

_MAX_HEADER = 1 << 24
"""Most bytes between header and voxels (NIfTI extensions) that are skipped over."""

_Number = np.integer | np.floating

_SLAB_BYTES = 1 << 25

_READ_ERRORS = (OSError, EOFError, zlib.error, ValueError, HeaderDataError)


@dataclass(frozen=True, slots=True)
class Header:
    """The part of a NIfTI header that is used; names and other text in it are never read.

    Attributes:
        shape: voxels along the file's three axes.
        affine: voxel index to mm (RAS+).
        spacing: voxel size along each axis, mm.
    """

    shape: tuple[int, int, int]
    affine: Affine
    spacing: tuple[float, float, float]


def read_header(path: Path) -> Header:
    """The grid of a NIfTI file, without its voxels.

    Raises:
        DataError: not a readable NIfTI volume; see `read_volume`.
    """
    with _opened(path) as stream:
        return _parse(path, stream)[0]


def read_volume(path: Path) -> tuple[Image, Header]:
    """A volume as float32 (x, y, z) in the file's own axis order, rescaled as its header says.

    Raises:
        DataError: missing, damaged or truncated, four-dimensional, too large, without orientation, or not real numbers.
    """
    with _opened(path) as stream:
        header, voxels = _parse(path, stream)
        volume = np.empty(header.shape, np.float32, order="F")
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large for float32 is found as infinite
            for part, values in voxels:
                volume[..., part] = values
    return volume, header


def read_labels(path: Path, label_map: Mapping[int, int], like: Header) -> Label:
    """A label volume as uint8 class indices through `label_map` (file's value to class), on the grid of its image.

    Raises:
        DataError: as `read_volume`; another grid than the image's; values that are not whole or not in the map.
    """
    table = np.full(256, 255, np.uint8)
    for value, index in label_map.items():
        table[value] = index
    with _opened(path) as stream:
        header, voxels = _parse(path, stream)
        _check_grid(path, header, like)
        label = np.empty(header.shape, np.uint8, order="F")
        for part, values in voxels:
            with np.errstate(invalid="ignore"):  # NaN and infinity are found by the comparison
                whole = np.rint(values) if values.dtype.kind == "f" else values
                small = np.clip(whole, 0, 255).astype(np.uint8)
                wrong = (small != whole) | (table[small] == 255)
                if whole is not values:
                    wrong |= np.abs(values - whole) > WHOLE
            if wrong.any():
                listed = ", ".join(f"{v:.7g}" for v in np.unique(np.asarray(values)[wrong])[:8])
                raise DataError(f"{path}: label values {listed} are not expected; expected {sorted(label_map)}")
            label[..., part] = table[small]
    return label


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked when they are gzip, whatever the name says. Damage becomes a DataError."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=raw) as stream:
                    yield stream  # type: ignore[misc]
            else:
                yield raw
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except DataError:
        raise
    except _READ_ERRORS as error:
        raise DataError(
            f"{path}: damaged or unreadable NIfTI file ({error}); get it again or exclude the case"
        ) from error


def _parse(path: Path, stream: IO[bytes]) -> tuple[Header, Iterator[tuple[slice, npt.NDArray[_Number]]]]:
    """The header, and the voxels in slabs of the last axis."""
    first = stream.read(4)
    if len(first) < 4:
        raise DataError(f"{path}: the file is empty")
    sizes = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
    kind = sizes.get(int.from_bytes(first, "little")) or sizes.get(int.from_bytes(first, "big"))
    if kind is None:
        raise DataError(f"{path}: not a NIfTI file")
    block = first + _exactly(path, stream, kind.template_dtype.itemsize - 4)
    nifti = kind(block, check=False)
    offset = float(nifti["vox_offset"]) or len(block)  # infinity, too, which nibabel's own check cannot bear
    if bytes(nifti["magic"]).startswith(b"ni") or not len(block) <= offset <= _MAX_HEADER:
        raise DataError(f"{path}: not a single-file NIfTI volume (.nii or .nii.gz)")
    with LoggingOutputSuppressor():
        nifti.check_fix()
    shape = _three(path, nifti.get_data_shape())
    dtype = nifti.get_data_dtype()
    if dtype.kind not in "iuf":
        raise DataError(f"{path}: voxels of type {dtype} cannot be used; expected real numbers")
    affine = np.asarray(nifti.get_best_affine(), np.float64)
    spacing = voxel_sizes(affine)
    if not np.isfinite(affine).all() or not abs(np.linalg.det(affine[:3, :3])) > 1e-12:
        raise DataError(f"{path}: the header gives no usable orientation and voxel size; set its sform or qform")
    _exactly(path, stream, int(offset) - len(block))
    slope, intercept = nifti.get_slope_inter()
    header = Header(shape, affine, (float(spacing[0]), float(spacing[1]), float(spacing[2])))
    return header, _slabs(path, stream, shape, dtype, slope, intercept)


def _slabs(
    path: Path,
    stream: IO[bytes],
    shape: tuple[int, int, int],
    dtype: np.dtype[_Number],
    slope: float | None,
    intercept: float | None,
) -> Iterator[tuple[slice, npt.NDArray[_Number]]]:
    slices = max(1, _SLAB_BYTES // (shape[0] * shape[1] * dtype.itemsize))
    for start in range(0, shape[2], slices):
        depth = min(slices, shape[2] - start)
        content = _exactly(path, stream, shape[0] * shape[1] * depth * dtype.itemsize)
        values = np.frombuffer(content, dtype).reshape((shape[0], shape[1], depth), order="F")
        if slope is not None and (slope, intercept) != (1, 0):
            values = values * np.float64(slope) + np.float64(intercept or 0)
        yield slice(start, start + depth), values
    stream.read(1)  # at the end of a gzip stream, this checks its checksum


def _exactly(path: Path, stream: IO[bytes], count: int) -> bytes:
    content = stream.read(count)
    if len(content) != count:
        raise DataError(
            f"{path}: truncated: {count - len(content)} bytes are missing; get it again or exclude the case"
        )
    return content


def _three(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape of a 3D volume; further axes must have length 1."""
    if len(shape) < 3 or min(shape) < 1 or math.prod(shape[3:]) != 1:
        what = "×".join(str(n) for n in shape) or "nothing"
        raise DataError(f"{path}: a volume of shape {what}; expected three axes. Store one volume per file")
    if math.prod(shape) > MAX_VOXELS:
        raise DataError(
            f"{path}: the header declares {'×'.join(map(str, shape))} voxels, above the limit of {MAX_VOXELS:,}"
        )
    return int(shape[0]), int(shape[1]), int(shape[2])


def _check_grid(path: Path, header: Header, like: Header) -> None:
    if header.shape != like.shape:
        raise DataError(f"{path}: shape {header.shape} differs from its image's {like.shape}; fix or exclude the case")
    corners = np.array([[0, 0, 0, 1], [*(n - 1 for n in like.shape), 1]], np.float64).T
    distance = np.abs((header.affine - like.affine) @ corners).max()
    if distance > 0.5 * min(like.spacing):
        raise DataError(
            f"{path}: lies up to {distance:.3g} mm away from its image by the two headers; fix or exclude the case"
        )
