"""A thread that keeps MLflow up to date with one or more spools, and never makes its owner wait."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from workers.tracking.replay import ReplayResult, replay

_log = logging.getLogger(__name__)


class Replayer:
    """Sends watched spools in the background.

    A spool whose attempt has ended and was sent is dropped; `watch` it again for the next attempt. While MLflow is
    unreachable, the pause between two tries grows up to `longest_pause`, and the reason is logged once.

    Args:
        tracking_uri, experiment, parent_run: as for `replay`.
        every: seconds between two sendings; a trial's metrics appear in MLflow at most this late.
        longest_pause: seconds between two tries while MLflow is unreachable.
    """

    def __init__(
        self,
        tracking_uri: str,
        *,
        experiment: str,
        parent_run: str | None = None,
        every: float = 5.0,
        longest_pause: float = 60.0,
    ) -> None:
        self.tracking_uri, self.experiment, self.parent_run = tracking_uri, experiment, parent_run
        self.every, self.longest_pause = every, longest_pause
        self._spools: dict[Path, ReplayResult | None] = {}
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="mlflow-replayer", daemon=True)
        self._thread.start()

    def watch(self, spool: Path) -> None:
        """Adds a spool; the file need not exist yet."""
        with self._guard:
            self._spools.setdefault(spool, None)

    def flush(self) -> None:
        """Asks for a sending now, for example at a trial's end. Returns at once."""
        self._wake.set()

    def pending(self) -> dict[Path, ReplayResult | None]:
        """Spools that are still watched, each with its last result (None before the first)."""
        with self._guard:
            return dict(self._spools)

    def wait(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds until nothing is watched any more; whether that is so."""
        end = time.monotonic() + timeout
        self.flush()
        while self.pending():
            if time.monotonic() >= end:
                return False
            time.sleep(0.02)
        return True

    def close(self, timeout: float = 10.0) -> dict[Path, ReplayResult | None]:
        """Sends a last time and stops, within about `timeout` seconds; returns the spools that are not finished.

        The rest stays in the spools and can be sent later by any process.
        """
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)
        return self.pending()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            closing = self._closing.is_set()  # read first: what came before the closing is still sent
            self._wake.clear()
            self._send_all()
            if closing:
                return
            pause = min(self.every * 2**self._failures, max(self.longest_pause, self.every))
            if not self._closing.is_set():
                self._wake.wait(pause)

    def _send_all(self) -> None:
        failed = False
        for spool in list(self.pending()):
            result = replay(spool, self.tracking_uri, experiment=self.experiment, parent_run=self.parent_run)
            with self._guard:
                if result.ended and not result.left:
                    self._spools.pop(spool, None)
                else:
                    self._spools[spool] = result
            if result.error and not self._failures:
                _log.warning("%s; %d records wait in %s", result.error, result.left, spool)
            failed = failed or bool(result.error)
            if result.unreachable:
                break  # the next spool would fail for the same reason, after the same wait
        self._failures = min(self._failures + 1, 16) if failed else 0
