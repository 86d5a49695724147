"""Records finished trials in their Optuna studies on a thread of its own: no training waits for Optuna.

The studies follow from the database. What a killed coordinator leaves unrecorded is recorded when the sweep is resumed
(`sweeper.run.launch.run`).
"""

from __future__ import annotations

import queue
import threading

from storage.records import Trial
from storage.studies import Studies

PAUSE_SECONDS = 1.0
"""Trials that finish within this time are recorded together: reading a study costs as much for one as for many."""


class StudyRecorder:
    """Takes finished trials and records them soon; must be closed at the end.

    Args:
        studies: where they are recorded; others may use them at the same time.
        pause: seconds in which trials gather.
    """

    def __init__(self, studies: Studies, pause: float = PAUSE_SECONDS) -> None:
        self._studies, self._pause = studies, pause
        self._waiting: queue.SimpleQueue[Trial] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def add(self, trial: Trial) -> None:
        """Records a finished trial later; returns at once.

        Raises:
            DatabaseUnavailableError: an earlier trial could not be recorded.
        """
        self._raise()
        self._waiting.put(trial)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="studies", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Records what is left. May be called twice.

        Raises:
            DatabaseUnavailableError: something could not be recorded.
        """
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._raise()

    def _run(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(self._pause)  # read before the queue: trials added until then are recorded
            gathered = []
            while not self._waiting.empty():
                gathered.append(self._waiting.get())
            try:
                if gathered:
                    self._studies.record_finished(gathered)
            except Exception as error:  # noqa: BLE001  raised again in the coordinator's thread
                self._error = error
                return

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
