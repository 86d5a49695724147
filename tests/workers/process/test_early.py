"""A training process that is started before its owner: who gets it, how it trains, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.tiny_trials import TinyData, tiny_data
from tests.training_process import messages, numbers, receive_for_ever, request_for
from trials.messages import Given, Needs, to_json
from workers.errors import WorkerLostError
from workers.process import early
from workers.process.early import Taken, started_early, take
from workers.process.warm import WarmProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sockets without a file")

NEEDS = Needs(threads=1)

OWNER = """
import sys
from pathlib import Path
from trials.messages import Needs, read_command
from workers.process.warm import WarmProcess

process = WarmProcess(Needs(threads=1), sys.argv[1])
process.train(read_command(sys.argv[2]), Path(sys.argv[3]))
process.receive()
print(process.pid, flush=True)
while True:
    process.receive()
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    return tiny_data(tmp_path_factory.mktemp("prepared"))


def started_here() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if "workers.process.child" in one.cmdline()]


def end(taken: Taken) -> None:
    taken.kill()
    taken.wait()
    for pipe in (taken.stdin, taken.stdout, taken.stderr):
        pipe.close()


def test_one_worker_gets_it_and_the_next_one_none() -> None:
    with started_early(NEEDS) as door:
        (process,) = started_here()
        taken = take(door, NEEDS)
        assert taken is not None
        assert taken.pid == process.pid
        assert taken.poll() is None
        assert take(door, NEEDS) is None
        taken.kill()
        assert taken.wait() == taken.poll() == -signal.SIGKILL
        end(taken)  # nothing is left to kill
    assert not psutil.pid_exists(taken.pid)


@pytest.mark.parametrize("other", [Needs(threads=2), Needs(threads=1, devices="0"), Needs(1, deterministic=False)])
def test_it_ends_where_the_first_worker_needs_another(other: Needs) -> None:
    with started_early(NEEDS) as door:
        (process,) = started_here()
        assert take(door, other) is None
        process.wait(timeout=60)
        assert take(door, NEEDS) is None


def test_a_process_that_nobody_took_ends_with_the_block() -> None:
    with started_early(NEEDS) as door:
        (process,) = started_here()
        assert os.getsid(process.pid) == process.pid, "a signal of the terminal does not reach it"
    assert not process.is_running()
    assert take(door, NEEDS) is None


def test_without_needs_there_is_none() -> None:
    with started_early(None) as door:
        assert (door, started_here()) == ("", [])
    assert take("", NEEDS) is None


def asked(door: str) -> bytes:
    """The answer, without a look at who gives it."""
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(f"\0{door}")
        other.sendall(to_json(NEEDS).encode())
        return other.recv(100)


def test_it_is_given_to_no_other_user_and_taken_from_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with started_early(NEEDS) as door:
        monkeypatch.setattr(early, "_same_user", lambda connection: False)
        assert take(door, NEEDS) is None  # the worker does not ask
        with pytest.raises(ConnectionError):  # nobody has read it
            asked(door)
        monkeypatch.undo()
        taken = take(door, NEEDS)
        assert taken is not None
        end(taken)


def test_a_process_whose_parent_is_gone_counts_as_killed() -> None:
    ours, theirs = socket.socketpair()
    pipes = [os.open(os.devnull, os.O_RDWR) for _ in range(3)]
    taken = Taken(ours, Given(os.getpid()).pid, *pipes)
    assert taken.poll() is None
    theirs.close()
    assert taken.poll() == -signal.SIGKILL
    end(taken)


@pytest.mark.slow
def test_it_trains_as_any_other_and_its_end_is_told(data: TinyData, tmp_path: Path) -> None:
    spec = data.spec("ce", epochs=2)
    with started_early(NEEDS) as door:
        (started,) = started_here()
        process = WarmProcess(NEEDS, door)
        assert process.pid == started.pid
        received = messages(process, data, spec, tmp_path / "early")
        assert process.alive()
        process.train(request_for(data, data.spec("ce", epochs=5000), tmp_path / "long"), tmp_path / "log.txt")
        process.receive()
        started.kill()
        with pytest.raises(WorkerLostError, match="was killed by SIGKILL"):
            receive_for_ever(process)
        process.close()
    other = WarmProcess(NEEDS, door)  # nobody waits there any more
    assert other.pid != started.pid
    assert numbers(messages(other, data, spec, tmp_path / "later")[-1]) == numbers(received[-1])
    other.close()


@pytest.mark.slow
def test_it_ends_with_its_owner_while_its_parent_lives(data: TinyData, tmp_path: Path) -> None:
    request = to_json(request_for(data, data.spec("ce", epochs=5000), tmp_path))
    with started_early(NEEDS) as door:
        (started,) = started_here()
        command = [sys.executable, "-c", OWNER, door, request, str(tmp_path / "log.txt")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
            assert owner.stdout is not None
            assert int(owner.stdout.readline()) == started.pid
            owner.kill()
        started.wait(timeout=60)
