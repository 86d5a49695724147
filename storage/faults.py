"""Reads the errors of the two drivers: which pass by themselves, and what the others mean to a person."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import InterfaceError as DriverInterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from storage.errors import DatabaseUnavailableError, DatabaseURLError, NotWritableError, StorageError
from trials.addresses import hide_password

_READ_ONLY = ("readonly database", "read-only transaction")
_NO_ENTRY = (
    "password authentication failed", "no password supplied", "no pg_hba.conf entry", "does not exist",
    "is not permitted to log in", "authentication failed",
)  # fmt: skip
_NOT_A_DATABASE = ("file is not a database", "disk image is malformed")


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
        return any(word in text for word in ("locked", "busy", "disk is full", "disk i/o error"))
    # psycopg files lost connections, shutdowns, deadlocks, serialisation failures and full disks under these two.
    return isinstance(error, OperationalError | DriverInterfaceError)


def explain(error: SQLAlchemyError, url: str) -> StorageError | None:
    """Our error for `error` at the database `url` (its password already hidden), or None for a defect of ours."""
    if isinstance(error, DBAPIError):
        meaning = _permanent(error)
        if meaning is not None:
            kind = NotWritableError if _read_only(error) or _forbidden(error) else DatabaseURLError
            return kind(f"{url}: {first_line(error)}; {meaning}")
    if is_transient(error):
        return DatabaseUnavailableError(
            f"{url}: {first_line(error)}; the database did not answer in time: is it running, and reachable from here?"
        )
    return None


def _permanent(error: DBAPIError) -> str | None:
    text = str(error.orig).lower()
    state = getattr(error.orig, "sqlstate", None)
    if _read_only(error):
        return "the database is read-only here: give this user write permission on the file and its folder"
    if _forbidden(error):
        return "this user lacks the permission: GRANT it, or name another user in the URL"
    if any(word in text for word in _NOT_A_DATABASE):
        return "not a healthy SQLite database: name another file, or restore it from a backup"
    if "unable to open database file" in text:
        return "check that the folder exists and that this user may write in it"
    connecting = isinstance(error, OperationalError) and (state is None or state[:2] in ("28", "3D"))
    if connecting and any(word in text for word in _NO_ENTRY):
        return "check user, password and database name in the URL"
    return None


def _read_only(error: DBAPIError) -> bool:
    return any(word in str(error.orig).lower() for word in _READ_ONLY)


def _forbidden(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "42501"
