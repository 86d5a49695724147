"""Files that are either whole or not there: written beside, synced, renamed."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
_FULL_WORDS = tuple(os.strerror(number) for number in sorted(_FULL))


def is_disk_full(error: BaseException) -> bool:
    """Whether nothing more can be written: no room, a quota, a limit on the size of files, a disk that is read-only.

    Libraries hide the system's number: HDF5 writes its words into an `OSError`, TensorFlow into a kind of its own.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    known = isinstance(error, OSError) or type(error).__name__ in ("ResourceExhaustedError", "FailedPreconditionError")
    return known and any(words in str(error) for words in _FULL_WORDS)


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A binary file object whose content appears at `path` only when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by tempfile, whose files are the user's alone: who may read it is decided by the umask.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.filename is None and is_disk_full(error):
            error.filename = str(path)  # the system names no file where it cannot write into one
        raise
    finally:
        beside.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes a rename survive a power cut: the folder's own entry has to reach the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
