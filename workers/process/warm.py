"""The owner's side of the warm training process: start it, talk to it, replace it.

Imports no TensorFlow. The owner is a Ray actor (`sweeper.run.trainable`), or a command that trains one trial.
"""

from __future__ import annotations

import collections
import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

from trials.messages import Command, Event, Needs, Order, OrderCommand, Ready, TrainRequest, read_reply, to_json
from workers.errors import TimedOutError, WorkerLostError
from workers.process.early import take
from workers.process.start import start
from workers.process.trial_log import TrialLog
from workers.timers import unless_ended

STDERR_LINES = 60
LINE_LENGTH = 4096
"""A longer line counts as several."""

MEMORY_GROWTH_LIMIT = 1.5
"""A process whose resident memory has grown past this multiple of that after its first trial is replaced."""


class WarmProcess:
    """A training process that trains one trial after another.

    Args:
        needs: what it is started with.
        early: where one may wait that was started before, see `workers.process.early`.
    """

    def __init__(self, needs: Needs, early: str = "") -> None:
        self.needs = needs
        self.ready: Ready | None = None
        """What the process said when it had started, once a message has come."""
        self._tail: collections.deque[str] = collections.deque(maxlen=STDERR_LINES)
        self._log: TrialLog | None = None
        self._lock = threading.Lock()
        self._first_memory: int | None = None
        self._process = take(early, needs) or start(needs)
        self._pump = threading.Thread(target=self._read_stderr, name="stderr", daemon=True)
        self._pump.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def outgrown(self) -> bool:
        """Whether the process takes so much more memory than after its first trial that it must be replaced."""
        try:
            memory = psutil.Process(self.pid).memory_info().rss
        except psutil.NoSuchProcess:
            return True
        if self._first_memory is None:
            self._first_memory = memory
        return memory > MEMORY_GROWTH_LIMIT * self._first_memory

    def train(self, request: TrainRequest, log: Path) -> None:
        """Starts a trial; its messages come from `receive`. What the process prints is appended to `log`."""
        with self._lock:
            self._close_log()
            with contextlib.suppress(OSError):  # on a full disk the trial itself says so
                self._log = TrialLog(log)
            self._tail.clear()
        self._send(request)

    def order(self, order: Order) -> None:
        """Tells the running trial what to do after its current epoch."""
        self._send(OrderCommand(order))

    def receive(self, within: float | None = None) -> Event:
        """The next message of the running trial.

        Args:
            within: the process is ended where the message has not come after so many seconds.

        Raises:
            WorkerLostError: the process ended; carries the tail of its stderr.
            TimedOutError: the same, because the time was over.
        """
        source, late = self._process.stdout, threading.Event()
        with self._ended_after(within, late):
            while source is not None and (line := source.readline()):
                message = read_reply(line)
                if not isinstance(message, Ready):
                    return message
                self.ready = message
        lost = self._lost()
        if late.is_set():
            raise TimedOutError(f"no message came within {within:.0f} s", stderr_tail=lost.stderr_tail)
        raise lost

    def stderr_tail(self) -> str:
        """The last lines that the process wrote to stderr during this trial."""
        with self._lock:
            return "".join(self._tail)

    def close(self) -> None:
        """Ends the process at once. May be called twice."""
        if self.alive():
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._pump.join(timeout=5)
        with self._lock:
            self._close_log()

    def _close_log(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            with contextlib.suppress(OSError):
                log.close()

    @contextlib.contextmanager
    def _ended_after(self, seconds: float | None, late: threading.Event) -> Iterator[None]:
        """Kills the process where the block takes longer; `late` is set then."""
        if seconds is None:
            yield
            return

        def end() -> None:
            late.set()
            self._process.kill()

        with unless_ended(seconds, end):
            yield

    def _send(self, command: Command) -> None:
        pipe = self._process.stdin
        if pipe is None or not self.alive():
            raise self._lost()
        try:
            pipe.write(to_json(command) + "\n")
            pipe.flush()
        except OSError as error:
            raise self._lost() from error

    def _lost(self) -> WorkerLostError:
        code = self._process.wait()
        self._pump.join(timeout=5)
        if code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            # Only a person or the kernel's out-of-memory killer sends SIGKILL; the cgroup counts the kernel's kills.
            if -code == signal.SIGKILL and _kernel_killed_for_memory():
                return WorkerLostError(
                    f"the training process (pid {self.pid}) {how}: out of memory",
                    stderr_tail=self.stderr_tail(),
                    out_of_memory=True,
                )
        else:
            how = f"ended with exit code {code}"
        return WorkerLostError(f"the training process (pid {self.pid}) {how}", stderr_tail=self.stderr_tail())

    def _read_stderr(self) -> None:
        source = self._process.stderr
        if source is None:
            return
        while line := source.readline(LINE_LENGTH):
            with self._lock:
                self._tail.append(line)
                if self._log is not None:
                    # Whoever stopped to read here would stop the process, which waits until its words are read.
                    with contextlib.suppress(OSError):
                        self._log.write(line)
        source.close()


_OOM_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))


def _oom_kills() -> int:
    """How often the kernel has killed a process of this cgroup to free memory (0 where this is unknown)."""
    for path in _OOM_COUNTERS:
        with contextlib.suppress(OSError):
            for line in path.read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0


_KILLS_AT_START = _oom_kills()


def _kernel_killed_for_memory() -> bool:
    return _oom_kills() > _KILLS_AT_START
