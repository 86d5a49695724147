"""A training process that is started before the worker that will own it, and is handed over to it.

Python with TensorFlow takes as long to start as Ray does. So whoever starts Ray on this machine starts a training
process before (`started_early`), and the first worker takes it, if it needs one like it (`take`). They meet at a socket
without a file, whose name the worker is told, and each looks whether the other is of the same user. The process's pipes
are given away, so that it ends with its new owner, as any other does. Only its parent can wait for it, and tells how it
ended.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from trials.messages import Ended, Given, Needs, read_handover, to_json
from workers.process.start import start

ANSWER_SECONDS = 10.0
"""So long a worker waits at the door before it starts a process of its own."""

_CLOSE_SECONDS = 5.0
_PIPES = 3
_LINE = 4096


@contextlib.contextmanager
def started_early(needs: Needs | None) -> Iterator[str]:
    """Starts a training process. One that nobody has taken ends with the block, or when a worker needs another.

    Args:
        needs: what it is started with; None: none is started.

    Yields:
        The name of the door, for `take`; empty where there is no process.
    """
    if needs is None or sys.platform != "linux":  # others have no sockets without a file, which a kill would leave
        yield ""
        return
    name = f"sweeper-{secrets.token_hex(16)}"
    with socket.socket(socket.AF_UNIX) as door:
        if (process := _started_behind(door, name, needs)) is None:
            yield ""
            return
        giver = threading.Thread(target=_give, args=(door, needs, process), name="early", daemon=True)
        giver.start()
        try:
            yield name
        finally:
            with contextlib.suppress(OSError):  # closed, since the process was given
                door.shutdown(socket.SHUT_RDWR)
            giver.join(_CLOSE_SECONDS)


def _started_behind(door: socket.socket, name: str, needs: Needs) -> subprocess.Popen[str] | None:
    """The process; None where such sockets are not allowed, and the worker starts one later."""
    try:
        door.bind(f"\0{name}")
        door.listen()
        # A signal of the terminal, which ends the sweep in order, does not reach it.
        return start(needs, session=True)
    except OSError:
        return None


def _give(door: socket.socket, needs: Needs, process: subprocess.Popen[str]) -> None:
    """Gives the process to the first worker that comes, if that needs it, and tells how it ended."""
    with process:  # at its end the pipes are closed here, and the process is waited for
        while True:
            try:
                worker, _ = door.accept()
            except OSError:  # nobody has come, and nobody will
                process.kill()
                return
            with worker, contextlib.suppress(OSError):
                worker.settimeout(ANSWER_SECONDS)
                if not _same_user(worker):
                    continue
                door.close()
                # Nor will later workers need it, and it takes memory. One that has died leaves its error to the next.
                if _read(worker) != needs or process.poll() is not None:
                    process.kill()
                    return
                pipes = [pipe for pipe in (process.stdin, process.stdout, process.stderr) if pipe is not None]
                socket.send_fds(worker, [_line(Given(process.pid))], [pipe.fileno() for pipe in pipes])
                for pipe in pipes:
                    pipe.close()
                worker.sendall(_line(Ended(process.wait())))
                return


class Taken:
    """A process that another one has started. Has of a `Popen` what `WarmProcess` uses."""

    def __init__(self, connection: socket.socket, pid: int, stdin: int, stdout: int, stderr: int) -> None:
        self.pid = pid
        self.stdin = os.fdopen(stdin, "w", encoding="utf-8", errors="replace")
        self.stdout = os.fdopen(stdout, encoding="utf-8", errors="replace")
        self.stderr = os.fdopen(stderr, encoding="utf-8", errors="replace")
        self._connection, self._lock = connection, threading.Lock()
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code; None while it lives."""
        with self._lock:
            waits = self._code is None and not select.select([self._connection], [], [], 0)[0]
        return None if waits else self.wait()

    def wait(self) -> int:
        """Its exit code, once it has ended. A negative one is the number of the signal that has ended it."""
        with self._lock:
            if self._code is None:
                # Where its parent has been killed, this worker is about to be, and the process ends with it.
                ended = _read(self._connection)
                self._code = ended.code if isinstance(ended, Ended) else -signal.SIGKILL
                self._connection.close()
            return self._code

    def kill(self) -> None:
        """Ends it at once."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def take(name: str, needs: Needs) -> Taken | None:
    """The process that waits at the door; None where none does, or where it was started otherwise.

    Args:
        name: what `started_early` gave.
        needs: what the process must have been started with.
    """
    if not name:
        return None
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as door:  # nobody is there, or not any more
        door.settimeout(ANSWER_SECONDS)
        door.connect(f"\0{name}")
        if _same_user(door):
            door.sendall(_line(needs))
            line, pipes, *_ = socket.recv_fds(door, _LINE, _PIPES)
            for pipe in pipes:
                os.set_inheritable(pipe, False)
            given = read_handover(line.decode()) if line else None
            if isinstance(given, Given) and len(pipes) == _PIPES:
                connection = socket.socket(fileno=door.detach())
                connection.settimeout(None)
                _adopt(given.pid)
                return Taken(connection, given.pid, *pipes)
    return None


def _adopt(pid: int) -> None:
    """Gives the process what this one's children inherit. Ray makes its workers, and so what they start, give way to
    others, and the first to be ended where memory runs out."""
    with contextlib.suppress(OSError):  # it has ended
        os.setpriority(os.PRIO_PGRP, pid, os.getpriority(os.PRIO_PROCESS, 0))  # all of its threads
        Path(f"/proc/{pid}/oom_score_adj").write_text(Path("/proc/self/oom_score_adj").read_text())


def _same_user(connection: socket.socket) -> bool:
    """Whether the process at the other end is of this user."""
    _, user, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    return bool(user == os.getuid())


def _line(message: Needs | Given | Ended) -> bytes:
    return f"{to_json(message)}\n".encode()


def _read(connection: socket.socket) -> Needs | Given | Ended | None:
    """The next message, which is short; None where the other end has closed."""
    line = connection.recv(_LINE)
    return read_handover(line.decode()) if line else None
