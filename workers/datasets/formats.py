"""Which format a source file has, and the version of what we read from that format."""

from __future__ import annotations

import gzip
import warnings
import zlib
from pathlib import Path

import tifffile
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from workers.datasets.picture_headers import (
    TIFF_TAGS,
    channels_of,
    deep_png,
    misread_tiff,
    orientation_of,
    orientation_tag,
    tiff_channels,
)
from workers.errors import DataError

TURNED, DEEP_PNG, UNDECLARED = "turned picture", "16-bit colour png", "tiff of undeclared channels"
OTHER_UNITS = "nifti in other units"
"""NIfTI files whose lengths are in metres or micrometres."""

FORMAT_VERSIONS = {
    **{"png": 1, "jpeg": 1, "tiff": 1, "gif": 1, "bmp": 1, "nifti": 1},
    **{TURNED: 2, DEEP_PNG: 2, UNDECLARED: 2, OTHER_UNITS: 2},
}
"""Format, or variant of a format, to the version of its decoding. Whoever changes the arrays that come from one raises
its version: the data sets with such a file are prepared anew, and the others keep their key. A version of 1 is left out
of the key."""

ENDINGS = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".gif": "gif",
    ".bmp": "bmp",
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".hdr": "nifti header",
    ".img": "nifti voxels",
    ".mha": "metaimage",
    ".mhd": "metaimage",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".mgz": "mgh",
    ".mgh": "mgh",
    ".dcm": "dicom",
    ".npy": "numpy",
}
"""The endings of image files, in lower case, and the format that each stands for."""

_FIRST_BYTES = {
    b"\x89PNG": "png",
    b"\xff\xd8\xff": "jpeg",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",  # BigTIFF
    b"MM\0+": "tiff",
    b"GIF8": "gif",
    b"BM": "bmp",
    b"\x1f\x8b": "nifti",  # packed by gzip
    b"\x5c\x01\0\0": "nifti",  # the header's size, 348, or 540 for NIfTI-2
    b"\0\0\x01\x5c": "nifti",
    b"\x1c\x02\0\0": "nifti",
    b"\0\0\x02\x1c": "nifti",
}


def ending_of(name: str) -> str:
    """The ending of an image file's name as it is written there (`.PNG`, `.nii.gz`); empty for any other file."""
    lower = name.lower()
    longest = max((ending for ending in ENDINGS if lower.endswith(ending)), key=len, default="")
    return name[len(name) - len(longest) :] if longest else ""


def formats_of(path: Path) -> set[str]:
    """The format of a file and the variants of `FORMAT_VERSIONS` that it is of.

    Raises:
        DataError: the file cannot be read.
    """
    kind = format_of(path)
    if kind == "nifti":
        return {kind, OTHER_UNITS} if _other_units(path) else {kind}
    return {kind} | (_variants(path) if kind in ("png", "jpeg", "tiff") else set())


def has_orientation_tag(path: Path) -> bool:
    """Whether a file is a picture whose header has an orientation tag by which it is turned."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            return tag_in_header(image) != 1
    except UnidentifiedImageError:
        return TURNED in _variants_of_tiff(path)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return False


def tag_in_header(image: Image.Image) -> int:
    """The orientation tag in the header alone: to look for one behind its pixels would decode each PNG."""
    is_png = isinstance(image, PngImagePlugin.PngImageFile)
    return 1 if is_png and "exif" not in image.info else orientation_tag(image)


def _variants(path: Path) -> set[str]:
    """What a picture's header tells; a damaged file is of none, and its reading says so."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            tiff = tiff_channels(image)
            found = {DEEP_PNG} if deep_png(image) else set()
            turned = tag_in_header(image) != 1
            # Pillow has always turned the TIFF files that it reads well.
            found |= {TURNED} if turned and (tiff is None or tiff.apart or misread_tiff(image)) else set()
            return found | ({UNDECLARED} if tiff is not None and tiff.dropped else set())
    except UnidentifiedImageError:
        return _variants_of_tiff(path)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return set()


def _variants_of_tiff(path: Path) -> set[str]:
    """The same of a TIFF that Pillow does not know."""
    try:
        with tifffile.TiffFile(path) as tiff:
            tags = {name: tag.value for name in TIFF_TAGS if (tag := tiff.pages.first.tags.get(name)) is not None}
    except (tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError):
        return set()
    found = {TURNED} if orientation_of(tags.get("Orientation", 1)) != 1 else set()
    return found | ({UNDECLARED} if channels_of(tags).dropped else set())


def format_of(path: Path) -> str:
    """The format of a file by its first bytes, as decoders go by them; empty for one that is not listed.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return next((name for first, name in _FIRST_BYTES.items() if start.startswith(first)), "")


def _other_units(path: Path) -> bool:
    """Whether the lengths of a NIfTI header are in metres (1) or micrometres (3)."""
    try:
        with path.open("rb") as file, gzip.GzipFile(fileobj=file) as unpacked:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            header = (unpacked if packed else file).read(504)
    except (OSError, EOFError, zlib.error):
        return False
    if len(header) < 504:
        return False
    if header[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c"):  # NIfTI-2 keeps an int32 at byte 500
        code = int.from_bytes(header[500:504], "little" if header[0] else "big")
    else:
        code = header[123]
    return code & 7 in (1, 3)
