"""A training process that is started before its owner: who gets it, how it trains, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.tiny_trials import TinyData, tiny_data
from tests.training_process import OWNER, messages, numbers, receive_for_ever, request_for
from trials.messages import Needs, to_json
from workers.errors import WorkerLostError
from workers.process import early
from workers.process.early import Taken, started_early, take
from workers.process.start import start
from workers.process.warm import WarmProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sockets without a file")

NEEDS = Needs(threads=1)

GIVING_WAY = """
import os, sys
from pathlib import Path
from trials.messages import Needs
from workers.process.early import take

def seen(process):
    return os.getpriority(os.PRIO_PROCESS, process), Path(f"/proc/{process}/oom_score_adj").read_text().strip()

before = seen(os.getpid())
os.nice(15)
Path("/proc/self/oom_score_adj").write_text("1000")
taken = take(sys.argv[1], Needs(threads=1))
assert before != seen(os.getpid()) == seen(taken.pid)
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


def wait_for_end(process: psutil.Process) -> None:
    """Until it is dead; its parent has not asked yet."""
    while process.status() != psutil.STATUS_ZOMBIE:  # which ends with the test's time at the latest
        time.sleep(0.01)


def test_one_that_has_died_is_not_handed_over() -> None:
    with started_early(NEEDS) as door:
        (process,) = started_here()
        process.kill()
        wait_for_end(process)
        assert take(door, NEEDS) is None


def test_it_gives_way_and_is_ended_for_memory_as_its_owner_is() -> None:
    with started_early(NEEDS) as door:
        subprocess.run([sys.executable, "-c", GIVING_WAY, door], check=True)


def test_it_runs_the_program_s_code_wherever_the_command_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "workers" / "process"
    other.mkdir(parents=True)
    for folder in (other.parent, other):
        (folder / "__init__.py").touch()
    (other / "child.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    process = start(NEEDS)
    process.stdin.close()  # so that it ends once it has begun to listen
    assert process.wait(timeout=60) == 0
    for pipe in (process.stdout, process.stderr):
        pipe.close()


def test_where_such_sockets_are_not_allowed_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(door: socket.socket, name: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refused)
    with started_early(NEEDS) as door:
        assert (door, started_here()) == ("", [])


def test_it_is_given_to_no_other_user(monkeypatch: pytest.MonkeyPatch) -> None:
    with started_early(NEEDS) as door:
        with monkeypatch.context() as patched:
            patched.setattr(early, "_same_user", lambda connection: False)
            with pytest.raises(ConnectionError):  # nobody has read it
                asked(door)
        taken = take(door, NEEDS)
        assert taken is not None
        end(taken)


def asked(door: str) -> bytes:
    """The answer, without a look at who gives it."""
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(f"\0{door}")
        other.sendall(to_json(NEEDS).encode())
        return other.recv(100)


def test_another_user_behind_the_door_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "_same_user", lambda connection: False)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind("\0sweeper-a-stranger's")
        door.listen()
        assert take("sweeper-a-stranger's", NEEDS) is None
        worker, _ = door.accept()
        with worker:
            assert worker.recv(100) == b""


def test_a_process_whose_parent_is_gone_counts_as_killed() -> None:
    ours, theirs = socket.socketpair()
    pipes = [os.open(os.devnull, os.O_RDWR) for _ in range(3)]
    taken = Taken(ours, os.getpid(), *pipes)
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
        command = [sys.executable, "-c", OWNER, request, str(tmp_path / "log.txt"), door]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
            assert owner.stdout is not None
            assert int(owner.stdout.readline()) == started.pid
            owner.kill()
        started.wait(timeout=60)
