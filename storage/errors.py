"""What can go wrong with what is remembered. One root; each message says what is wrong, where, and how to fix it."""

from __future__ import annotations

from trials.errors import ExpectedError


class StorageError(ExpectedError):
    """Root of every error that `storage` raises on purpose."""


class DatabaseUnavailableError(StorageError):
    """The database cannot be reached, or the connection was lost and retries ran out. Retryable."""


class DatabaseLockedError(DatabaseUnavailableError):
    """Another process holds the SQLite file; the message names it where the system tells."""


class DatabaseURLError(StorageError):
    """The database URL is malformed, names an unknown driver, or a place that cannot be written."""


class NotWritableError(DatabaseURLError):
    """The database may only be read here: the file, its folder, the server or this user's permissions say so."""


class DatabaseFullError(NotWritableError):
    """The database cannot be written any more: its disk is full, a quota is used up, or the disk is read-only now."""


class SchemaMismatchError(StorageError):
    """The database's schema is older or newer than this program's; the message names the command that fixes it."""


class UnknownSweepError(StorageError):
    """No sweep of that name; the message names the nearest ones."""


class UnknownTrialError(StorageError):
    """No trial, or more than one, whose hash starts with the given digits."""


class SweepConflictError(StorageError):
    """A sweep of that name exists with another set of trials."""


class LeaseHeldError(StorageError):
    """Another coordinator holds the sweep until `expires_at` (seconds since the epoch by the database's clock)."""

    def __init__(self, message: str, *, holder: str, expires_at: float) -> None:
        super().__init__(message)
        self.holder, self.expires_at = holder, expires_at


class LeaseLostError(StorageError):
    """This coordinator's lease ran out and was taken over: it must write nothing more."""


class InvalidScoreError(StorageError):
    """A score outside its range; nothing of that result was written."""


class AttemptEndedError(StorageError):
    """The attempt has ended otherwise (lost, failed, stopped): this late report of it was not written."""


class TransferError(StorageError):
    """A folder that cannot be imported: not an export of ours, damaged, or made for reading only."""
