"""One sweep on SQLite that suffers one fault after another and is resumed after each; the last test compares.

Each test leaves work for those that follow, and none needs another to have run before.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from storage.records import TrialState
from tests.system.faults.scenarios import SWEEP, Reference, Sweep, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SMALL_DISK = 32 * 2**20


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    made = Sweep(tmp_path_factory.mktemp("local") / "sweep")
    trials = made.home.folder / "trials"
    trials.mkdir(parents=True)
    mounted = _mount(trials)
    yield made
    made.end()
    if mounted:
        subprocess.run(["umount", "--lazy", trials], check=True)


def _mount(folder: Path) -> bool:
    """A disk of its own for the trials' folders, where this user may mount one."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)]
    return bool(shutil.which("mount")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_second_coordinator_is_refused_and_lost_workers_are_replaced(sweep: Sweep, reference: Reference) -> None:
    run = sweep.go()
    worker = sweep.hold("mid-epoch", run)
    refused = sweep.home.run("resume", SWEEP, code=2)
    assert "is held by" in refused
    assert f"(pid {run.pid})" in refused
    os.kill(worker, signal.SIGKILL)
    run.says("SIGKILL; queued again")
    sweep.release()
    actor = psutil.Process(sweep.hold("mid-epoch", run)).parent()
    assert actor is not None
    assert actor.name().startswith("ray::")
    actor.kill()
    run.says("actor of this trial died; queued again")
    sweep.release()
    before = sweep.attempts()
    assert before["lost", "lost"] == 2
    # The coordinator, once a checkpoint is on disk that it has not heard of.
    sweep.hold("saved", run)
    run.kill()
    sweep.alone()
    reference.so_far(sweep)
    assert sweep.state() == "running"  # nobody was there to write anything else


def test_a_truncated_checkpoint_and_sigterm(sweep: Sweep, reference: Reference) -> None:
    run = sweep.go()
    sweep.hold("mid-epoch", run)
    wait_for(lambda: any(_checkpoints(f)[1:] for f in _folders(sweep)), "a second checkpoint", alive=run)
    run.kill()
    sweep.alone()
    folder = next(f for f in _folders(sweep) if len(_checkpoints(f)) > 1)
    before, newest = _checkpoints(folder)
    os.truncate(newest, newest.stat().st_size // 2)
    run = sweep.go()
    run.says(f"{newest.name} is damaged")
    run.says(f"goes on after epoch {int(before.stem.split('-')[1])}")
    sweep.hold("mid-epoch", run)
    run.process.terminate()
    run.says("SIGTERM: waiting for running trials")
    sweep.release()
    run.ends()
    assert sweep.state() == "stopped"
    assert sweep.counts()[TrialState.RUNNING] == 0
    reference.so_far(sweep)


def _folders(sweep: Sweep) -> list[Path]:
    return [f for f in (sweep.home.folder / "trials").iterdir() if not (f / "result.json").exists()]


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.npz"))


def test_ctrl_c_in_a_terminal_reaches_every_process_and_ends_none_before_its_epoch(
    sweep: Sweep, reference: Reference
) -> None:
    run = sweep.go()
    sweep.hold("mid-epoch", run)
    finished = sweep.counts()[TrialState.FINISHED]
    lost = sweep.attempts()["lost", "lost"]
    os.killpg(run.pid, signal.SIGINT)
    run.says("SIGINT: waiting for running trials")
    os.killpg(run.pid, signal.SIGINT)
    run.says("SIGINT: running trials end after this epoch")
    sweep.release()
    run.ends()
    counts = sweep.counts()
    assert counts == {TrialState.FINISHED: finished, TrialState.QUEUED: 4 - finished}
    assert sweep.attempts()["lost", "lost"] == lost
    reference.so_far(sweep)
