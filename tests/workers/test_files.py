"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from trials.states import FailureKind
from workers.files import atomic_write, is_disk_full
from workers.process.failures import classify


def test_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    with atomic_write(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"


def test_the_umask_decides_who_may_read_it(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "file") as file:
            file.write(b"new")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def write_half(path: Path) -> None:
    with atomic_write(path) as file:
        file.write(b"new")
        raise RuntimeError


def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        write_half(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_known_whatever_library_tells_of_it() -> None:
    class ResourceExhaustedError(Exception):
        """As TensorFlow names it."""

    said = "[Errno 28] Unable to synchronously create file (errno = 28, error message = 'No space left on device')"
    for error in (OSError(errno.ENOSPC, "x"), OSError(errno.EDQUOT, "x"), OSError(errno.EROFS, "x"), OSError(said)):
        assert is_disk_full(error)
        assert classify(error) is FailureKind.DISK_FULL
    assert classify(ResourceExhaustedError("a.keras; No space left on device")) is FailureKind.DISK_FULL
    assert classify(ResourceExhaustedError("OOM when allocating tensor")) is FailureKind.OUT_OF_MEMORY
    assert not is_disk_full(OSError(errno.EACCES, "x"))
    assert not is_disk_full(ValueError("No space left on device"))
