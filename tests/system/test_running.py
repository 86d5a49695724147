"""Running a sweep as people do: one cell fails and is run again, in the background, and handed over to a service."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.system.sweeps import LONG_GRID, PLAIN_REPORT, TINY_GRID, Home, python_path, some_epoch, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FRAGILE_LOSS = '''
"""Dice, but it fails while a file is there."""

import pathlib

from workers.losses import LossDefinition, get_loss, register

FLAG = pathlib.Path({flag!r})


def fragile(truth, prediction):
    if FLAG.exists() and prediction.shape[1] == 32:  # not in the trial of a plug-in when it is described
        raise RuntimeError("the flag is up")
    return get_loss("dice")(truth, prediction)


register(LossDefinition("fragile", fragile))
'''


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    variables = {"SWEEPER_LEASE_SECONDS": "10", "PYTHONPATH": python_path(PLAIN_REPORT)}
    home = Home(tmp_path_factory.mktemp("running") / "home", variables)
    yield home
    if (home.folder / "logs" / "long.coordinator.log").exists():  # a failed test must leave no coordinator behind
        home.ask("stop", "long", "--now")


def test_retry_runs_exactly_the_failed_cell(home: Home, tmp_path: Path) -> None:
    flag, plugin = tmp_path / "flag", tmp_path / "fragile.py"
    plugin.write_text(FRAGILE_LOSS.format(flag=str(flag)))
    grid = home.grid(TINY_GRID.replace('name = "unified_focal_asym"\ngamma = [0.3, 0.6]', 'name = "fragile"'))
    flag.touch()
    said = home.run("launch", "--grid", grid, "--plugin", str(plugin), "--name", "fragile")
    assert "the flag is up" in said
    trials = home.json("status", "fragile")["trials"]
    states = {t["loss"]: t["state"] for t in trials}
    assert states == {"ce": "finished", "fragile": "failed"}
    before = home.attempts("fragile")
    failed = next(t for t in trials if t["state"] == "failed")
    assert (failed["failure"], failed["attempts"]) == ("bug", 2)
    assert "the flag is up" in home.ask("show", failed["hash"])
    assert "the flag is up" in home.ask("logs", failed["hash"])
    flag.unlink()
    home.run("retry", "fragile", "--failed")
    after = home.attempts("fragile")
    assert set(home.states("fragile").values()) == {"finished"}
    assert {h: n - before[h] for h, n in after.items()} == {h: int(h == failed["hash"]) for h in after}


def test_background_attach_scale_and_stop(home: Home) -> None:
    grid = home.grid(LONG_GRID, "long.toml")
    assert "runs in the background" in home.run("launch", "--grid", grid, "--detach")
    wait_for(some_epoch(home, "long"))
    assert "is run by" in home.run("launch", "--grid", grid, code=2)
    home.ask("scale", "long", "1")
    watching = home.start("attach", "long")
    assert watching.stdout is not None
    assert "running" in watching.stdout.readline()
    home.ask("stop", "long", "--now")
    out, _ = watching.communicate(timeout=120)
    assert watching.returncode == 0, out
    assert "long is stopped" in out
    states = home.json("status", "long")
    assert states["state"] == "stopped"
    assert {t["state"] for t in states["trials"]} == {"queued"}


def test_a_sweep_that_is_handed_over_resumes_and_is_free_and_running_by_its_state(home: Home) -> None:
    """What a service that goes on with it needs: no lease, no stop, and the limit."""
    process = home.start("resume", "long", "--limit", "5")
    wait_for(some_epoch(home, "long"))
    with home.repository() as repository:
        trainer = max(repository.attempts_of_sweep("long"), key=lambda one: one.started_at)
    # Started by the command itself, before Ray, and taken by Ray's first worker.
    assert psutil.Process(trainer.pid).ppid() == process.pid
    process.send_signal(signal.SIGUSR2)
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0, out
    assert "resumes after epoch" in out
    assert "SIGUSR2: running trials end after this epoch" in out
    status = home.json("status", "long")
    assert (status["state"], status["lease"]) == ("running", None)
    assert {t["state"] for t in status["trials"]} == {"queued"}
    assert json.loads((home.folder / "begun" / "long.json").read_text())["limit"] == 5


def test_garbage_is_found_and_nothing_else(home: Home) -> None:
    lost = home.folder / "trials" / ("0" * 16)
    lost.mkdir()
    (lost / "epoch-000001.npz").write_bytes(b"x" * 1000)
    assert "no sweep has this trial" in home.ask("gc", "--dry-run")
    assert lost.exists()
    said = home.ask("gc")
    assert said.count(": ") == 1
    assert not lost.exists()
    kept = list((home.folder / "trials").glob("*/epoch-*.npz"))
    assert kept, "the checkpoints of stopped trials are needed"
