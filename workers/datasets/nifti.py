"""Reading NIfTI files as streams: slab by slab, and no further than the header declares.

nibabel parses the header and composes the affine. The voxels are read here for two reasons: a CT of 512×512×1000 that
is stored as float64 takes 2 GiB, and as much again while it is converted; and a few kilobytes of gzip can unpack to any
size.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel import imageglobals
from nibabel.affines import voxel_sizes
from nibabel.orientations import aff2axcodes
from nibabel.spatialimages import HeaderDataError

from workers.datasets.grids import Header, make_header, require_numbers, three_axes
from workers.datasets.preprocessing import Affine
from workers.errors import DataError

_MAX_HEADER = 1 << 24
"""Most bytes between header and voxels (NIfTI extensions) that are skipped over."""

Values = npt.NDArray[np.integer | np.floating]

Slabs = Iterator[tuple[int, slice, Values]]
"""Channel, part of the last axis, and its values (x, y, depth)."""

_SLAB_BYTES = 1 << 25

_READ_ERRORS = (OSError, EOFError, zlib.error, ValueError, HeaderDataError)

_MILLIMETRES = {1: ("metre", 1000.0), 3: ("micrometre", 0.001)}
"""The code of a unit in `xyzt_units`: its name, and how many mm it has. All other codes mean mm."""


@contextmanager
def open_nifti(path: Path) -> Iterator[tuple[Header, Slabs]]:
    """The header of a NIfTI file, and its voxels in slabs of the last axis, read as they are asked for.

    Raises:
        DataError: missing, damaged or truncated, too large, without orientation, or not real numbers.
    """
    with _opened(path) as stream:
        yield _parse(path, stream)


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


def _parse(path: Path, stream: IO[bytes]) -> tuple[Header, Slabs]:
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
    with quiet_nibabel():
        nifti.check_fix()
    header = header_of(path, nifti)
    _exactly(path, stream, int(offset) - len(block))
    slope, intercept = nifti.get_slope_inter()
    return header, _slabs(path, stream, header, nifti.get_data_dtype(), slope, intercept)


@contextmanager
def quiet_nibabel() -> Iterator[None]:
    """Within it nibabel prints nothing of what it repairs in headers; `check` says what matters."""
    before = imageglobals.logger.disabled
    imageglobals.logger.disabled = True
    try:
        yield
    finally:
        imageglobals.logger.disabled = before


def header_of(path: Path, nifti: nibabel.Nifti1Header) -> Header:
    """The grid that a NIfTI header tells, in mm.

    Raises:
        DataError: it tells none, or the voxels are no real numbers.
    """
    shape, channels = three_axes(path, nifti.get_data_shape())
    require_numbers(path, nifti.get_data_dtype())
    with np.errstate(all="ignore"):
        affine = np.array(nifti.get_best_affine(), np.float64)
        whole = np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-12
        if not whole or not _axes(affine):
            raise DataError(f"{path}: the header gives no usable orientation and voxel size; set its sform or qform")
        notes = _contradictions(nifti, affine)
    unit, factor = _MILLIMETRES.get(int(nifti["xyzt_units"]) & 7, ("", 1.0))
    if unit:
        affine[:3] *= factor
        sizes = times_of(tuple(float(side) for side in voxel_sizes(affine)))
        notes = (*notes, f"the header's lengths are in {unit}s (xyzt_units): its voxels are {sizes} mm")
    return make_header(shape, affine, channels, notes=notes)


def times_of(sizes: tuple[float, ...]) -> str:
    """Lengths in words."""
    return " × ".join(f"{size:.3g}" for size in sizes)


def _axes(affine: Affine) -> str:
    """Where the axes run, such as RAS; empty where two of them run the same way."""
    codes = aff2axcodes(affine)
    return "" if None in codes else "".join(codes)


def _contradictions(nifti: nibabel.Nifti1Header, affine: Affine) -> tuple[str, ...]:
    """What the header leaves open, or says twice and differently."""
    sform, qform = int(nifti["sform_code"]), int(nifti["qform_code"])
    axes = _axes(affine)
    if not sform and not qform:
        return (
            f"the header does not say which way the axes run (sform and qform codes are 0), so left and right are not "
            f"known; {axes} is taken",
        )
    if not sform:
        return ()
    sides = np.asarray(nifti.get_zooms()[:3], np.float64)
    own = np.asarray(voxel_sizes(affine), np.float64)
    notes: list[str] = []
    if qform:
        try:
            other = _axes(nifti.get_qform()) or axes
        except HeaderDataError:
            other = axes
        if other != axes:
            notes.append(f"sform and qform disagree on the axes ({axes} and {other}); {axes}, of the sform, is taken")
    if np.abs(sides - own).max() > 0.01 * own.max():
        notes.append(
            f"sform and pixdim disagree on the voxel size ({times_of(tuple(own))} and {times_of(tuple(sides))}); the "
            "sform's is taken"
        )
    return tuple(notes)


def _slabs(
    path: Path,
    stream: IO[bytes],
    header: Header,
    dtype: np.dtype[np.integer | np.floating],
    slope: float | None,
    intercept: float | None,
) -> Slabs:
    width, height, slices = header.shape
    step = max(1, _SLAB_BYTES // (width * height * dtype.itemsize))
    for channel in range(header.channels):
        for start in range(0, slices, step):
            depth = min(step, slices - start)
            content = _exactly(path, stream, width * height * depth * dtype.itemsize)
            values = np.frombuffer(content, dtype).reshape((width, height, depth), order="F")
            if slope is not None and (slope, intercept) != (1, 0):
                with np.errstate(over="ignore", invalid="ignore"):
                    values = values * np.float64(slope) + np.float64(intercept or 0)
            yield channel, slice(start, start + depth), values
    stream.read(1)  # at the end of a gzip stream, this checks its checksum


def _exactly(path: Path, stream: IO[bytes], count: int) -> bytes:
    content = stream.read(count)
    if len(content) != count:
        raise DataError(
            f"{path}: truncated: {count - len(content)} bytes are missing; get it again or exclude the case"
        )
    return content
