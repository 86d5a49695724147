"""Goes on with sweeps whose coordinator is gone without a word, such as after `docker compose down` and `up`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from storage.repository import Repository
from sweeper.run import unpublished
from sweeper.run.lease import running
from sweeper.server.duties import EVERY_SECONDS
from sweeper.server.service import Service
from trials.errors import ExpectedError
from trials.states import SweepState

LONGEST_WAIT_SECONDS = 3600.0

_log = logging.getLogger(__name__)


class Recovery:
    """Resumes abandoned sweeps, each time it is asked to.

    A sweep that is abandoned again and again is resumed after 1, 2, 4 … minutes, at most an hour: one whose coordinator
    dies of its own work must not be started for ever at full speed. One that is held when its wait is over is mended.

    What a lost coordinator was limited to, its successor is.

    Args:
        service: what resumes.
        clock: seconds, never going back.
    """

    def __init__(self, service: Service, clock: Callable[[], float] = time.monotonic) -> None:
        self.service, self._clock = service, clock
        self._waits: dict[str, tuple[float, float]] = {}

    def run_once(self) -> list[str]:
        """Resumes what is abandoned and not waiting; the names."""
        repository, now, resumed = self.service.sweeps.repository, self._clock(), []
        lost = abandoned(repository)
        for name, (since, wait) in list(self._waits.items()):
            if name not in lost and now - since >= wait:
                del self._waits[name]
        for name in lost:
            since, wait = self._waits.get(name, (now, 0.0))
            if now - since < wait or self.service.starts.under_way(name):
                continue
            self._waits[name] = now, min(max(2 * wait, EVERY_SECONDS), LONGEST_WAIT_SECONDS)
            try:
                self.service.resume(name, unpublished.left(self.service.sweeps.settings, repository, name))
                resumed.append(name)
                _log.warning("the coordinator of %s is gone without a word; going on with it", name)
            except ExpectedError as error:
                _log.warning("%s is abandoned and cannot be resumed yet: %s", name, error)
        return resumed


def abandoned(repository: Repository) -> list[str]:
    """Sweeps that are running by their state and that no living coordinator holds."""
    return [
        sweep.name
        for sweep in repository.sweeps()
        if sweep.state is SweepState.RUNNING and not running(repository, sweep.name)
    ]
