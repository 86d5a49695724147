"""What a service does by itself beside its answers: one object per duty, each in its own thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from storage.errors import StorageError

EVERY_SECONDS = 60.0

_log = logging.getLogger(__name__)


class Duty(Protocol):
    """Looks for what there is to do, and does it.

    An error of the database or of a file is logged, and the next round tries again.
    """

    def run_once(self) -> list[str]:
        """One round; the sweeps that something was started for."""


@contextmanager
def on_duty(*duties: Duty) -> Iterator[None]:
    """Does each of them now and every minute, until the block ends."""
    ending = threading.Event()
    threads = [
        threading.Thread(target=_rounds, args=(duty, ending), name=type(duty).__name__.lower(), daemon=True)
        for duty in duties
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ending.set()
        for thread in threads:
            thread.join()


def _rounds(duty: Duty, ending: threading.Event) -> None:
    while True:
        try:
            duty.run_once()
        except (StorageError, OSError) as error:
            _log.warning("%s is retried later: %s", threading.current_thread().name, error)
        if ending.wait(EVERY_SECONDS):
            return
