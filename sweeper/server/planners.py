"""Plans of grids that come over the network, each made in a process that may be ended.

A grid of a few lines can take any time and memory, and whoever may look may ask for a plan. So a service makes none
itself: two processes do, for one plan at a time, with a limit of memory and of time. A third plan at once is refused
until one of them is free. They stay for the next plan, since to start one takes seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from types import TracebackType
from typing import Self

from sweeper.errors import BusyError, GridError
from sweeper.server.tokens import without_tokens
from sweeper.verbs.requests import PlanRequest
from sweeper.views.objects import PlanObject
from trials.errors import ExpectedError
from workers.timers import unless_ended

AT_ONCE = 2
SECONDS = 30.0
MEMORY_MIB = 1024


class Planners:
    """The processes. Safe to share between threads; use it in a `with`, or close it.

    Args:
        at_once: so many plans are made at once.
        seconds: so long may one take.
    """

    def __init__(self, at_once: int = AT_ONCE, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._free = threading.Semaphore(at_once)
        self._lock = threading.Lock()
        self._idle: list[subprocess.Popen[str]] = []
        self._all: set[subprocess.Popen[str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def planned(self, asked: PlanRequest) -> PlanObject:
        """See `sweeper.verbs.host.Planners`."""
        if not self._free.acquire(blocking=False):
            raise BusyError("the service is making as many plans as it makes at once; ask again in some seconds")
        try:
            return self._answer(asked.model_dump_json())
        finally:
            self._free.release()

    def close(self) -> None:
        """Ends the processes."""
        with self._lock:
            processes, self._all, self._idle = self._all, set(), []
        for process in processes:
            _end(process)

    def _answer(self, line: str) -> PlanObject:
        process, late = self._take(), threading.Event()

        def too_late() -> None:
            late.set()
            process.kill()

        with unless_ended(self._seconds, too_late):
            answer = _asked(process, line)
        if not answer:
            with self._lock:
                self._all.discard(process)
            _end(process)
            why = f"longer than {self._seconds:g} s" if late.is_set() else "more memory than a plan may have"
            raise GridError(f"a plan of this grid takes {why}; make it smaller, or plan it with the command line")
        with self._lock:
            self._idle.append(process)
        found = json.loads(answer)
        if "error" in found:
            raise _restored(found["error"], found["message"])
        return PlanObject.model_validate(found["plan"])

    def _take(self) -> subprocess.Popen[str]:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.poll() is None:
                    return process
                self._all.discard(process)
        process = subprocess.Popen(
            [sys.executable, "-m", "sweeper.server.planners"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            env=without_tokens(os.environ),
        )
        with self._lock:
            self._all.add(process)
        return process


def _asked(process: subprocess.Popen[str], line: str) -> str:
    """The process's answer, empty where it ended before it gave one."""
    if process.stdin is None or process.stdout is None:
        return ""
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return process.stdout.readline()
    except (OSError, ValueError):
        return ""


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _restored(name: str, message: str) -> ExpectedError:
    """The error that the process met: of its kind, so that it gets the same status."""
    waiting, kinds = [ExpectedError], dict[str, type[ExpectedError]]()
    while waiting:
        kind = waiting.pop()
        kinds[kind.__name__] = kind
        waiting += kind.__subclasses__()
    kind = kinds.get(name, GridError)
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    return error


def main() -> None:
    """One process: a plan for each line of its input, until the input ends."""
    from sweeper.settings import load_settings
    from sweeper.verbs.grids import planned_here
    from trials.memory import limited_memory

    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    with contextlib.suppress(OSError):
        os.nice(5)  # the service itself comes first
    settings = load_settings()
    for line in sys.stdin:
        found: dict[str, object]
        try:
            with limited_memory(MEMORY_MIB):
                plan = planned_here(PlanRequest.model_validate_json(line), settings)
                found = {"plan": plan.model_dump(mode="json")}
        except ExpectedError as error:
            found = {"error": type(error).__name__, "message": str(error)}
        except MemoryError:
            return  # what is left of it is not worth keeping
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
