"""Resumes sweeps whose coordinator is lost, such as after `docker compose down` and `up`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from storage.records import IMPORTED
from storage.repository import Repository
from sweeper.run import unpublished
from sweeper.run.lease import running
from sweeper.server.duties import EVERY_SECONDS
from sweeper.verbs.control import start
from sweeper.verbs.host import Host
from trials.errors import ExpectedError
from trials.states import SweepState

LONGEST_WAIT_SECONDS = 3600.0

_log = logging.getLogger(__name__)


class Recovery:
    """Resumes abandoned sweeps, each time it is asked to.

    A sweep that is abandoned again and again is resumed after 1, 2, 4 … minutes, at most an hour: one whose coordinator
    dies of its own work must not be restarted in a fast loop. One that is running when its wait ends has recovered.

    A new coordinator keeps the limit of the lost one, and its end.

    Args:
        host: where they are resumed.
        clock: seconds, never going back.
    """

    def __init__(self, host: Host, clock: Callable[[], float] = time.monotonic) -> None:
        self.host, self._clock = host, clock
        self._waits: dict[str, tuple[float, float]] = {}

    def run_once(self) -> list[str]:
        """Resumes what is abandoned and not waiting; the names."""
        repository, now, resumed = self.host.repository, self._clock(), []
        lost = abandoned(repository)
        for name, (since, wait) in list(self._waits.items()):
            if name not in lost and now - since >= wait:
                del self._waits[name]
        for name in lost:
            since, wait = self._waits.get(name, (now, 0.0))
            if now - since < wait or self.host.starts.in_progress(name):
                continue
            self._waits[name] = now, min(max(2 * wait, EVERY_SECONDS), LONGEST_WAIT_SECONDS)
            try:
                start(self.host, name, self._left(name))
                resumed.append(name)
                _log.warning("the coordinator of %s is lost; resuming the sweep", name)
            except ExpectedError as error:
                _log.warning("%s is abandoned and cannot be resumed yet: %s", name, error)
        return resumed

    def _left(self, sweep: str) -> int | None:
        """How many trials the next coordinator may start; none where the time of the lost one is over."""
        end = unpublished.until(self.host.settings, sweep)
        if end is not None and end <= time.time():
            return 0
        return unpublished.left(self.host.settings, self.host.repository, sweep)


def abandoned(repository: Repository) -> list[str]:
    """Sweeps whose state is running, without a coordinator that holds the lease.

    None that was imported is among them, also where a person has resumed it: what to train came from somebody else.
    """
    return [
        sweep.name
        for sweep in repository.sweeps()
        if sweep.state is SweepState.RUNNING and IMPORTED not in sweep.details and not running(repository, sweep.name)
    ]
