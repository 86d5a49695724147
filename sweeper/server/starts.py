"""Starts coordinators in processes of their own, and remembers the starts that are in progress or have failed.

A start prepares data and waits for a coordinator, which takes minutes: no request waits for it. What was asked for is
a file in SWEEPER_HOME/starts until the coordinator runs, so a service that was stopped meanwhile repeats the start
when it starts again. A failure stays there until the next start of the sweep. Once it runs, the database tells.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from sweeper.errors import StartingError
from sweeper.server.tokens import without_tokens
from sweeper.settings import Settings
from sweeper.verbs.host import Start
from trials.places import PlaceError, below, is_name
from workers.files import atomic_write, is_disk_full

_log = logging.getLogger(__name__)

WORDS = 4000
"""How many of the last characters that a failed start printed are kept."""


Run = Callable[[Path, Path], "tuple[int, str]"]
"""Carries out the start in a file, with its output in a log; returns the exit status and the last words."""


class Starts:
    """The starts of one service (see `sweeper.verbs.host.Starts`). Safe to share between threads.

    Args:
        settings: where things are.
        run: how a start is carried out; in a process of its own, unless a test says otherwise.
    """

    def __init__(self, settings: Settings, run: Run | None = None) -> None:
        self.folder, self.logs = settings.home / "starts", settings.logs
        self._run = run or run_process
        self._lock = threading.Lock()
        self._running: dict[str, threading.Thread] = {}

    def start(self, start: Start) -> None:
        with self._lock:
            if start.sweep in self._running:
                raise StartingError(f"{start.sweep} is already being started; see: sweeper status {start.sweep}")
            self._write(start)
            thread = threading.Thread(target=self._carry_out, args=(start,), name=f"start {start.sweep}", daemon=True)
            self._running[start.sweep] = thread
            thread.start()

    def repeat(self) -> None:
        """Repeats the starts that were in progress when an earlier service stopped."""
        for path in sorted(self.folder.glob("*.json")):
            start = self._read(path)
            if start is not None and start.failure is None:
                _log.info("%s was being started when the service stopped; starting it again", start.sweep)
                self.start(start)

    def of(self, sweep: str) -> Start | None:
        return self._read(self._path(sweep))

    def in_progress(self, sweep: str) -> bool:
        with self._lock:
            return sweep in self._running

    def all(self) -> list[Start]:
        found = [self._read(path) for path in self.folder.glob("*.json")]
        return sorted((start for start in found if start is not None), key=lambda s: s.at, reverse=True)

    def log(self, sweep: str) -> Path:
        return below(self.logs, f"{sweep}.start.log")

    def join(self, seconds: float) -> None:
        """Waits for starts that are in progress; for tests."""
        for thread in list(self._running.values()):
            thread.join(seconds)

    def _carry_out(self, start: Start) -> None:
        path = self._path(start.sweep)
        try:
            status, words = self._run(path, self.log(start.sweep))
            if status == 0:
                path.unlink(missing_ok=True)
                _log.info("%s was started", start.sweep)
            else:
                self._write(replace(start, failure=words or f"exit status {status}, no message"))
                _log.error("%s could not be started: %s", start.sweep, words)
        except OSError as error:
            _log.exception("%s could not be started", start.sweep)
            self._write(replace(start, failure=str(error)))
        finally:
            with self._lock:
                self._running.pop(start.sweep, None)

    def _path(self, sweep: str) -> Path:
        return below(self.folder, f"{sweep}.json")

    def _write(self, start: Start) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._path(start.sweep)) as file:
            file.write(json.dumps(asdict(start)).encode())

    def _read(self, path: Path) -> Start | None:
        try:
            return read_start(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            _log.exception("%s is damaged; it is ignored", path)
            return None


def read_start(path: Path) -> Start:
    """The start in a file.

    Raises:
        PlaceError: it is not of the sweep that the file is named after.
    """
    start = Start(**json.loads(path.read_text(encoding="utf-8")))
    if not is_name(start.sweep) or start.sweep != path.stem:
        raise PlaceError(f"{path} names the sweep {start.sweep!r}; it was refused")
    return start


def run_process(path: Path, log: Path) -> tuple[int, str]:
    """`python -m sweeper.server.starts FILE`, which outlives the service."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "sweeper.server.starts", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=without_tokens(os.environ),
        )
        status = process.wait()
    return status, log.read_text(encoding="utf-8", errors="replace")[-WORDS:].strip().removeprefix("sweeper: ")


def carry_out(path: Path) -> None:
    """Does what the start in a file says: makes the sweep, and starts its coordinator as `--detach` does."""
    from rich.console import Console

    from storage.database import open_database
    from storage.repository import Repository
    from sweeper.data.rehearsal import write_files
    from sweeper.data.resolved import resolve
    from sweeper.grids.files import parse_grid
    from sweeper.grids.schema import names_used
    from sweeper.run.background import start_detached
    from sweeper.run.launch import create
    from sweeper.session import Session
    from sweeper.settings import load_settings
    from workers.plugins import describe_for

    start, settings = read_start(path), load_settings()
    settings.make_home()
    with open_database(settings.database) as database:
        session = Session(settings, Repository(database), Console())
        if start.grid is not None:
            grid = parse_grid(start.grid, start.sweep)
            plugins = describe_for((), **names_used(grid))
            if grid.rehearsal:
                write_files(grid)
            create(session, resolve(grid, settings), plugins, extend=start.extend)
        start_detached(settings, session.repository, start.sweep, start.limit, start.until)


def main() -> None:
    """The process of one start: exit status 2 and one message for what a person can fix."""
    from trials.errors import ExpectedError

    try:
        carry_out(Path(sys.argv[1]))
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
