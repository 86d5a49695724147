"""Which format a source file has, and the version of what we read from that format."""

from __future__ import annotations

from pathlib import Path

from workers.errors import DataError

FORMAT_VERSIONS = {"png": 1, "jpeg": 1, "tiff": 1, "gif": 1, "bmp": 1, "nifti": 1}
"""Format to the version of its decoding. Whoever changes the arrays that come from a format raises its version: the
data sets with such a file are prepared anew, and the others keep their key. A version of 1 is left out of the key."""

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
