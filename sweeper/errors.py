"""What can go wrong in what a person calls. The command line prints the message and exits with status 2."""

from __future__ import annotations

from trials.errors import ExpectedError


class SweeperError(ExpectedError):
    """Root of every error that `sweeper` raises on purpose."""


class GridError(SweeperError):
    """A grid that does not exist, cannot be read, or says something impossible; names the file and the key."""


class SettingsError(SweeperError):
    """An environment variable or option with a value that cannot be used."""


class MissingDataError(SweeperError):
    """Data sets of a grid are not on this machine: which, where they were looked for, and how to get each."""


class DiskSpaceError(SweeperError):
    """A sweep would not fit on the disk."""


class RayUnavailableError(SweeperError):
    """Nobody answers at RAY_ADDRESS, or the local Ray could not start."""


class NotRunningError(SweeperError):
    """Something was asked of a sweep's coordinator, but nobody is running the sweep."""


class DetachError(SweeperError):
    """A coordinator that was started in the background did not come up."""


class StartingError(SweeperError):
    """The sweep is being started already, and nothing can be asked of it yet."""


class MissingFileError(SweeperError):
    """A log or report that was asked for is not on this machine (yet)."""


class ServerError(SweeperError):
    """A service that can't be started or reached, or that refused what it was asked."""


class BusyError(SweeperError):
    """A service that has as much to do of this kind as it takes at once; the same request succeeds later."""


class TrialFailedError(SweeperError):
    """A trial that was run alone failed."""
