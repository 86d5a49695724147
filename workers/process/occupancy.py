"""Who may write in a trial's folder: one process at a time, the one of the newest attempt.

A coordinator that was paused or cut off can leave a training process behind. The process of a newer attempt writes its
name into a file of the folder; the older process reads the file after each epoch and ends, and the newer one resumes
from its checkpoint.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import filelock

from workers.errors import FolderBusyError, FolderRemovedError

OWNER_FILE = ".owner"
LOCK_FILE = ".lock"
WAIT_SECONDS = 600.0
"""How long the older process may take to end: about one epoch of the slowest trials."""


class Occupancy:
    """The right to write in a trial's folder, as a context manager that waits for it.

    Args:
        folder: the trial's folder; made if missing.
        wait: seconds for which to wait until the older process has ended.

    Raises:
        FolderBusyError: (on entering) it has not.
    """

    def __init__(self, folder: Path, *, wait: float = WAIT_SECONDS) -> None:
        self.folder, self.wait = folder, wait
        self._name = f"{socket.gethostname()} (pid {os.getpid()}) {uuid4().hex}"
        self._lock = filelock.FileLock(folder / LOCK_FILE, timeout=wait)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        before = self._owner()
        # Not atomic: on a full disk the lock alone decides, and a torn name matches no process.
        (self.folder / OWNER_FILE).write_text(self._name, encoding="utf-8")
        try:
            self._lock.acquire()
        except filelock.Timeout as error:
            raise FolderBusyError(
                f"the process of an earlier attempt, {before.rpartition(' ')[0] or 'of unknown name'}, has not ended "
                f"this trial within {self.wait:.0f} s; end that process"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def superseded(self) -> bool:
        """Whether a newer attempt waits for the folder.

        Raises:
            FolderRemovedError: somebody removed the folder.
        """
        if not (self.folder / OWNER_FILE).exists():
            raise FolderRemovedError(
                f"the trial's folder {self.folder.name} was removed while it trained, and its checkpoints with it"
            )
        return self._owner() != self._name

    def _owner(self) -> str:
        try:
            return (self.folder / OWNER_FILE).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
