"""One sweep on SQLite that suffers one fault after another and is resumed after each; the last test compares.

Each test leaves work for those that follow, and none needs another to have run before.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.system.faults.scenarios import SHORT, SWEEP, Reference, Sweep, fill, one_by_one, small_disk
from trials.states import TrialState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SMALL_DISK = 32 * 2**20
DISK = 256 * 2**20


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    made = Sweep(tmp_path_factory.mktemp("local") / "sweep", grid=one_by_one(SHORT))
    with contextlib.ExitStack() as after:
        for folder, size in ((made.home.folder, DISK), (made.home.folder / "trials", SMALL_DISK)):
            folder.mkdir(parents=True)
            if small_disk(folder, size):
                after.callback(subprocess.run, ["umount", "--lazy", folder], check=True)
        after.callback(made.end)
        yield made


def test_a_second_coordinator_is_refused_and_lost_workers_are_replaced(sweep: Sweep, reference: Reference) -> None:
    run = sweep.go()
    worker = sweep.hold("mid-epoch", run)
    refused = sweep.home.run("resume", SWEEP, code=2)
    assert "is run by" in refused
    assert f"(pid {run.pid})" in refused
    os.kill(worker, signal.SIGKILL)
    run.says("SIGKILL; will be retried")
    sweep.release()
    actor = psutil.Process(sweep.hold("mid-epoch", run)).parent()
    assert actor is not None
    assert actor.name().startswith("ray::")
    actor.kill()
    run.says("actor of this trial was lost; will be retried")
    sweep.release()
    before = sweep.attempts()
    assert before["lost", "lost"] == 2
    # The coordinator, once a checkpoint is on disk that it has not heard of.
    sweep.hold("saved", run)
    run.kill()
    sweep.alone()
    reference.so_far(sweep)
    assert sweep.state() == "running"  # nobody was there to write anything else


def test_ctrl_c_in_a_terminal_reaches_every_process_and_ends_none_before_its_epoch(
    sweep: Sweep, reference: Reference
) -> None:
    run = sweep.go()
    sweep.hold("mid-epoch", run)
    lost = sweep.attempts()["lost", "lost"]
    os.killpg(run.pid, signal.SIGINT)
    run.says("SIGINT: waiting for running trials")
    os.killpg(run.pid, signal.SIGINT)
    run.says("SIGINT: running trials end after this epoch")
    sweep.release()
    assert f"sweeper resume {SWEEP}" in run.ends()
    assert sweep.state() == "stopped"
    assert sweep.counts()[TrialState.RUNNING] == 0
    assert sweep.attempts()["lost", "lost"] == lost
    reference.so_far(sweep)


def test_ray_s_node_dies_and_then_its_head(sweep: Sweep, reference: Reference) -> None:
    run = sweep.go()
    sweep.hold("mid-epoch", run)
    for node in sweep.named("raylet"):
        node.kill()
    said = run.ends(2)
    assert (
        f"the Ray node of this sweep has died, perhaps for want of memory; go on with: sweeper resume {SWEEP}" in said
    )
    sweep.alone()
    run = sweep.go()
    sweep.hold("mid-epoch", run)
    for head in sweep.named("gcs_server"):  # on a busy machine Ray may have been started twice
        head.kill()
    run.ends(None)
    assert run.process.returncode != 0
    sweep.alone()
    reference.so_far(sweep)


def test_a_full_disk_at_the_checkpoint(sweep: Sweep, reference: Reference) -> None:
    trials = sweep.home.folder / "trials"
    if not trials.is_mount():
        pytest.skip("this user may not mount a small disk")
    run = sweep.go()
    sweep.hold("save", run)
    ballast = trials / "ballast"
    fill(ballast)
    sweep.release()
    said = run.ends()
    assert "No space left on device" in said
    assert f"then: sweeper resume {SWEEP}" in said
    assert sweep.state() == "broken"
    assert sweep.attempts()["failed", "disk_full"] > 0
    assert sweep.counts()[TrialState.FAILED] == 0
    ballast.unlink()
    reference.so_far(sweep)


def test_a_full_disk_under_the_database(sweep: Sweep, reference: Reference) -> None:
    home = sweep.home.folder
    if not home.is_mount():
        pytest.skip("this user may not mount a small disk")
    run = sweep.go()
    sweep.hold("mid-epoch", run)
    ballast = home / "ballast"
    fill(ballast)
    sweep.release()
    said = run.ends(None)
    assert "stopping: disk full" in said
    assert f"then: sweeper resume {SWEEP}" in said
    fill(ballast)  # what was kept for this, too
    for command in ("status", "results"):
        sweep.home.run(command, SWEEP)
    sweep.home.run("gc")
    assert sweep.state() == "broken"
    assert not {TrialState.RUNNING, TrialState.FAILED} & {state for state, n in sweep.counts().items() if n}
    ballast.unlink()
    reference.so_far(sweep)


def test_a_truncated_checkpoint_and_sigterm(sweep: Sweep, reference: Reference) -> None:
    while (damaged := sweep.damage()) is None:
        run = sweep.go()
        sweep.hold("mid-epoch", run)  # whoever trains waits there, so that the checkpoints stay as they are
        while not any(len(list(f.glob("epoch-*.npz"))) > 1 for f in _unfinished(sweep)):
            sweep.release()
            sweep.hold("mid-epoch", run)
        sweep.lose_power(run)
    before, newest = damaged
    run = sweep.go()
    run.says(f"epoch-{newest:06d}.npz is damaged")
    run.says(f"resumes after epoch {before}")
    sweep.hold("mid-epoch", run)  # and nobody releases it: this epoch never ends
    os.killpg(run.pid, signal.SIGTERM)  # as `timeout`, `scancel` and systemd do
    run.says("SIGTERM: running trials end after this epoch")
    second = signal.SIGTERM if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else signal.SIGHUP  # under nohup
    os.killpg(run.pid, second)
    assert f"{second.name}: running trials end at once" in run.ends()
    sweep.release()
    assert sweep.state() == "stopped"
    assert sweep.counts()[TrialState.RUNNING] == 0
    sweep.alone()
    reference.so_far(sweep)


def _unfinished(sweep: Sweep) -> list[Path]:
    return [f for f in (sweep.home.folder / "trials").glob("*/") if not (f / "result.json").exists()]


def test_power_is_lost_after_the_result_before_the_study_and_before_mlflow_s_last_write(
    sweep: Sweep, reference: Reference
) -> None:
    """Everything is killed while a trial's result is recorded, but neither in its Optuna study nor whole in
    MLflow."""
    run = sweep.go()
    sweep.hold("result", run)
    finished = sweep.counts()[TrialState.FINISHED]
    sweep.arm("study", "mlflow-end", "mid-epoch")  # where the next trial waits
    sweep.release_only("result")
    assert sweep.held("study", run) == run.pid
    sweep.held("mlflow-end", run)
    assert sweep.counts()[TrialState.FINISHED] > finished  # a second one's result may be on disk from before
    sweep.lose_power(run)
    reference.so_far(sweep)


def test_a_coordinator_that_slept_past_its_lease_writes_nothing_and_the_answers_are_the_same(
    sweep: Sweep, reference: Reference
) -> None:
    sleeper = sweep.go()
    sweep.hold("result", sleeper)  # a trial's result is on disk, and nobody has recorded it
    sweep.oversleep(sleeper).ends()
    reference.equals(sweep)
