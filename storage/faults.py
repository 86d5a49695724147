"""Reads the errors of the two drivers: which pass by themselves, and what the others mean to a person."""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import InterfaceError as DriverInterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from storage.errors import (
    DatabaseFullError,
    DatabaseLockedError,
    DatabaseUnavailableError,
    DatabaseURLError,
    NotWritableError,
    StorageError,
)
from storage.processes import lock_holders
from trials.addresses import hide_password

_READ_ONLY = ("readonly database", "read-only transaction")
_NO_ENTRY = (
    "password authentication failed", "no password supplied", "no pg_hba.conf entry", "does not exist",
    "is not permitted to log in", "authentication failed",
)  # fmt: skip
_NOT_A_DATABASE = ("file is not a database", "disk image is malformed")
_FULL = frozenset({
    "SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC", "SQLITE_IOERR_TRUNCATE",
    "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_SHMMAP", "53100",
})  # fmt: skip
"""What SQLite and Postgres answer where nothing more can be written: no room, a quota, or a disk that is read-only now.
Only a disk without any room gets SQLite's own FULL; the others are errors of writing."""


def first_line(error: BaseException) -> str:
    """What the driver said, without the statement and its parameters."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(cause).strip().splitlines()
    return hide_password(lines[0]) if lines else type(cause).__name__


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed if tried again: lost connection, lock, serialisation failure."""
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError) or _permanent(error) is not None:
        return False
    if error.connection_invalidated:
        return True
    text = first_line(error).lower()
    if type(error.orig).__module__.startswith("sqlite3"):
        return any(word in text for word in ("locked", "busy", "disk i/o error"))
    # psycopg files lost connections, shutdowns, deadlocks and serialisation failures under these two.
    return isinstance(error, OperationalError | DriverInterfaceError)


def explain(error: SQLAlchemyError, url: str, file: Path | None = None) -> StorageError | None:
    """Our error for `error` at the database `url` (its password already hidden), or None for a defect of ours.

    `file` is that of an SQLite database.
    """
    if isinstance(error, DBAPIError):
        if _full(error) or ((_no_file(error) or _read_only(error)) and file is not None and _no_room(file)):
            return DatabaseFullError(f"{url}: {first_line(error)}; {_why_full(error, file)}")
        meaning = _permanent(error)
        if meaning is not None:
            kind = NotWritableError if _read_only(error) or _forbidden(error) else DatabaseURLError
            return kind(f"{url}: {first_line(error)}; {meaning}")
    if is_transient(error):
        if file is not None and first_line(error).startswith("database is locked"):
            beside = [file.with_name(f"{file.name}-{end}") for end in ("shm", "wal", "journal")]
            holders = " and ".join(lock_holders(file, *beside)) or "another process"
            return DatabaseLockedError(f"{url}: database is locked: {holders} holds it; end that one, or wait for it")
        return DatabaseUnavailableError(
            f"{url}: {first_line(error)}; the database did not answer in time: is it running, and reachable from here?"
        )
    return None


def _permanent(error: DBAPIError) -> str | None:
    text = str(error.orig).lower()
    state = getattr(error.orig, "sqlstate", None)
    if _full(error):
        return "it cannot be written any more"
    if _read_only(error):
        return "the database is read-only here: give this user write permission on the file and its folder"
    if _forbidden(error):
        return "this user lacks the permission: GRANT it, or name another user in the URL"
    if any(word in text for word in _NOT_A_DATABASE):
        return "not a healthy SQLite database: name another file, or restore it from a backup"
    if _no_file(error):
        return "check that the folder exists and that this user may write in it"
    connecting = isinstance(error, OperationalError) and (state is None or state[:2] in ("28", "3D"))
    if connecting and any(word in text for word in _NO_ENTRY):
        return "check user, password and database name in the URL"
    return None


def _read_only(error: DBAPIError) -> bool:
    return any(word in str(error.orig).lower() for word in _READ_ONLY)


def _full(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None)
    return code in _FULL


def _no_file(error: DBAPIError) -> bool:
    return "unable to open database file" in str(error.orig).lower()


def _no_room(file: Path) -> bool:
    """Whether the disk of a file is full."""
    try:
        return shutil.disk_usage(file.parent).free < _LEAST_ROOM
    except OSError:
        return False


def _why_full(error: DBAPIError, file: Path | None) -> str:
    if file is None:
        return "the disk of the database's server is full: make room there"
    if getattr(error.orig, "sqlite_errorname", None) == "SQLITE_FULL" or _no_room(file):
        return "make room on its disk (sweeper gc)"
    return (
        f"the disk of {file.parent} has room: put right what forbids to write, a quota, a limit on the size of files, "
        "or a disk that has become read-only"
    )


_LEAST_ROOM = 2**17
"""Bytes; what SQLite needs beside a file to read it is 32 KiB."""


def _forbidden(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "42501"
