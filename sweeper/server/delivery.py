"""Sends MLflow what it lacks of sweeps that have ended: it was unreachable, or the coordinator died too early."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from storage.errors import UnknownSweepError
from storage.repository import Repository
from sweeper.run import unpublished
from sweeper.run.lease import running
from sweeper.server.duties import EVERY_SECONDS
from sweeper.server.tokens import without_tokens
from sweeper.services import mlflow_fault
from sweeper.verbs.host import Host
from trials.places import below
from trials.states import SweepState
from workers.files import is_disk_full

LONGEST_WAIT_SECONDS = 3600.0

_log = logging.getLogger(__name__)

Send = Callable[[str, Path], Callable[[], bool]]
"""Starts to send what MLflow lacks of a sweep, with its output in a log; the result tells whether it still runs."""


class Delivery:
    """Sends what is noted (`sweeper.run.unpublished`) of sweeps that nobody runs, one attempt a sweep at a time.

    A coordinator that has just ended does it itself, so a sweep waits for a minute first. One that is not done after
    that is retried after 1, 2, 4 … minutes, at most an hour; an MLflow that does not answer is no attempt.

    Args:
        host: whose sweeps.
        clock: seconds, never going back.
        send: how it is done; in a process of its own, unless a test says otherwise.
    """

    def __init__(self, host: Host, clock: Callable[[], float] = time.monotonic, send: Send | None = None) -> None:
        self.host, self._clock, self._send = host, clock, send or send_in_process
        self._waits: dict[str, tuple[float, float]] = {}
        self._sending: dict[str, Callable[[], bool]] = {}

    def run_once(self) -> list[str]:
        """Starts what is due; returns the names."""
        settings, now, sent = self.host.settings, self._clock(), []
        self._sending = {name: going for name, going in self._sending.items() if going()}
        due = [name for name in unpublished.noted(settings) if self._ended(name)]
        self._waits = {name: self._waits.get(name, (now, EVERY_SECONDS)) for name in due}
        for name in due:
            since, wait = self._waits[name]
            if now - since < wait or name in self._sending or mlflow_fault(settings) is not None:
                continue
            self._waits[name] = now, min(2 * wait, LONGEST_WAIT_SECONDS)
            self._sending[name] = self._send(name, below(settings.logs, f"{name}.delivery.log"))
            sent.append(name)
            _log.info("sending MLflow what it lacks of %s", name)
        return sent

    def _ended(self, name: str) -> bool:
        repository = self.host.repository
        return not self.host.starts.in_progress(name) and ended(repository, name)


def ended(repository: Repository, name: str) -> bool:
    """Whether a sweep has ended and nobody holds it."""
    try:
        state = repository.sweep(name).state
    except UnknownSweepError:  # of another database in this home
        return False
    return state not in (SweepState.QUEUED, SweepState.RUNNING) and not running(repository, name)


def send_in_process(sweep: str, log: Path) -> Callable[[], bool]:
    """`python -m sweeper.server.delivery SWEEP`, which outlives the service."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "sweeper.server.delivery", sweep],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=without_tokens(os.environ),
        )
    return lambda: process.poll() is None


def main() -> None:
    """The process of one sending. A sweep that was taken meanwhile is left to whoever has it."""
    from rich.console import Console

    from storage.database import open_database
    from sweeper.run.publishing import finish
    from sweeper.session import Session
    from sweeper.settings import load_settings
    from trials.errors import ExpectedError

    name = sys.argv[1]
    try:
        settings = load_settings()
        with open_database(settings.database) as database:
            repository = Repository(database)
            if ended(repository, name):
                finish(Session(settings, repository, Console()), name)
    except ExpectedError as error:
        sys.stderr.write(f"sweeper: {error}\n")
        sys.exit(2)
    except OSError as error:
        if not is_disk_full(error):
            raise
        sys.stderr.write(f"sweeper: {error}; make room (sweeper gc), then run this again\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
