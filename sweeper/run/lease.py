"""The right to write a sweep: acquired, renewed by a thread, released; and whether somebody holds it."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from storage.errors import DatabaseUnavailableError, LeaseHeldError, LeaseLostError, NotWritableError
from storage.processes import this_process
from storage.records import Lease
from storage.repository import Repository
from sweeper.errors import NotRunningError

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)


class LeaseKeeper:
    """Holds a sweep's lease while it is open, and renews it three times within its duration.

    Args:
        repository: the database.
        sweep: the sweep's name.
        seconds: how long the lease lasts after each renewal. The sweep of a killed coordinator is free after this time,
            on the same machine at once.
        running: whether the holder runs the sweep, or only writes something.

    Raises:
        LeaseHeldError: (on entering) another coordinator holds the sweep.
    """

    def __init__(self, repository: Repository, sweep: str, seconds: float, *, running: bool = True) -> None:
        self.repository, self.sweep, self.seconds, self.running = repository, sweep, seconds, running
        self.since = 0.0  # by the clock of the database
        self._lease: Lease | None = None
        self._fault: LeaseLostError | NotWritableError | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self.since = self.repository.database.now()
        self._lease = self.repository.acquire_lease(
            self.sweep, holder_name(), self.seconds, running=self.running, process=this_process()
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_renewing()
        self.repository.release_lease(self.lease)

    @property
    def lease(self) -> Lease:
        if self._lease is None:
            raise LeaseLostError(f"the lease of sweep {self.sweep!r} was not acquired yet")
        return self._lease

    def check(self) -> None:
        """Raises why nothing more is written under this lease: another coordinator has taken the sweep over, or the
        database cannot be written any more (`go_on` tries again).

        Raises:
            LeaseLostError, NotWritableError: see above.
        """
        if self._fault is not None:
            raise self._fault

    def go_on(self) -> None:
        """Forgets that the database could not be written: room was made."""
        if isinstance(self._fault, NotWritableError):
            self._fault = None

    def write(self, method: Callable[Concatenate[Lease, P], T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Calls a method of the repository under the lease. A lease that has expired, but that nobody took, is renewed.

        Raises:
            LeaseLostError: another coordinator has taken the sweep over; nothing was written.
            NotWritableError: the database cannot be written any more; nor is anything that would follow.
        """
        self.check()
        try:
            try:
                return method(self.lease, *arguments, **keywords)
            except LeaseLostError:
                self._lease = self.repository.renew_lease(self.lease, self.seconds)
                return method(self.lease, *arguments, **keywords)
        except NotWritableError as error:
            self._fault = error
            raise

    def stop_renewing(self) -> None:
        """Ends the renewals; the lease itself stays until it expires or is released."""
        self._closing.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._closing.wait(self.seconds / 3):
            try:
                self._lease = self.repository.renew_lease(self.lease, self.seconds)
            except LeaseLostError as error:
                self._fault = error
                return
            except NotWritableError as error:
                self._fault = error
            except DatabaseUnavailableError as error:
                _log.warning("the database is unreachable, retrying: %s", error)


def holder_name() -> str:
    """Names this coordinator in a lease: host and process."""
    return f"{socket.gethostname()} (pid {os.getpid()})"


def running(repository: Repository, sweep: str) -> bool:
    """Whether a coordinator holds the sweep: its lease has not expired by the database's clock."""
    lease = repository.lease(sweep)
    return lease is not None and lease.expires_at > repository.database.now()


def refuse_running(repository: Repository, sweep: str) -> None:
    """Raises `LeaseHeldError` where a coordinator holds the sweep."""
    lease = repository.lease(sweep)
    if lease is not None and running(repository, sweep):
        raise LeaseHeldError(
            f"sweep {sweep!r} is run by {lease.holder}; watch it with: sweeper attach {sweep}. "
            f"If that process was killed, the sweep is free in {lease.expires_at - repository.database.now():.0f} s",
            holder=lease.holder,
            expires_at=lease.expires_at,
        )


def require_running(repository: Repository, sweep: str) -> None:
    """Raises `NotRunningError` where no coordinator holds the sweep."""
    if not running(repository, sweep):
        raise NotRunningError(f"nobody is running {sweep}; resume it with: sweeper resume {sweep}")
