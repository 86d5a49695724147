"""Names that become files and folders: which there may be, and the one way to join them to a folder.

A sweep's name, a trial's hash or a data set's key may come from a file that somebody sent. Joined as it is, `../../x`
would lead out of the folder that it is meant to be in.
"""

from __future__ import annotations

import re
from pathlib import Path

from trials.errors import InputError

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$"
"""The names of sweeps and labels."""

DATASET_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9_. -]{0,78}[A-Za-z0-9_.-])?$"
"""The names of data sets: they are those of folders, in which spaces are common."""

HASH_PATTERN = r"^[0-9a-f]{16}$"
"""The hashes of trials, splits, environments and plug-ins (`trials.spec.content_hash`)."""

LONGEST = 255
"""So many bytes may the name of a file have."""


class PlaceError(InputError):
    """A name that is none of a file or folder, such as one that leads out of its folder."""


def is_name(text: str) -> bool:
    """Whether `text` can be the name of a sweep or a label."""
    return re.fullmatch(NAME_PATTERN, text) is not None


def is_dataset_name(text: str) -> bool:
    """Whether `text` can be the name of a data set."""
    return re.fullmatch(DATASET_PATTERN, text) is not None


def is_hash(text: str) -> bool:
    """Whether `text` has the form of a content hash."""
    return re.fullmatch(HASH_PATTERN, text) is not None


def below(folder: Path, name: str) -> Path:
    """The file or folder of that name directly in `folder`.

    Raises:
        PlaceError: the name is empty, has a separator or a NUL in it, is too long, or is `.` or `..`.
    """
    wrong = not name or name in (".", "..") or any(sign in name for sign in "/\\\x00")
    if wrong or len(name.encode("utf-8", "surrogateescape")) > LONGEST:
        raise PlaceError(f"{name[:80]!r} cannot be the name of a file in {folder}; it was refused")
    return folder / name
