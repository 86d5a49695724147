"""A sweep that fails again and again stops by itself, says why, tells it outside, and is fixed and resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.faults.scenarios import GAMMAS, GRID, SWEEP, Sweep, one_by_one
from trials.states import TrialState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

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


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweep]:
    grid = one_by_one(GRID).replace(f'"unified_focal_asym"\ngamma = {GAMMAS}', '"fragile"')
    grid = grid.replace('[[losses]]\nname = "ce"\n', "").replace('name = "faults"', 'name = "faults"\nrepeats = 5', 1)
    made = Sweep(tmp_path / "sweep", grid=grid.replace("epochs = 8", "epochs = 1"))
    yield made
    made.end()


def test_five_failures_of_a_kind_stop_the_sweep_and_it_says_why(sweep: Sweep, tmp_path: Path) -> None:
    flag, plugin, told = tmp_path / "flag", tmp_path / "fragile.py", tmp_path / "alerts"
    plugin.write_text(FRAGILE_LOSS.format(flag=str(flag)))
    flag.touch()
    grid = sweep.home.grid(sweep.grid)
    said = sweep.start(
        "launch", "--grid", grid, "--plugin", str(plugin), "--notify", f"tee {told}"
    ).ends()  # fmt: skip
    assert "stopping: 5 attempts in a row failed for the same reason (bug): RuntimeError: the flag is up" in said
    assert sweep.state() == "broken"
    assert sweep.counts()[TrialState.QUEUED] > 0, "it went on to the end"
    assert sweep.attempts()["failed", "bug"] == 5
    status = sweep.home.ask("status", SWEEP)
    assert "faults: broken" in status
    assert "reason: 5 attempts in a row failed for the same reason (bug)" in status
    alert = json.loads(told.read_text())
    assert (alert["sweep"], alert["event"], alert["counts"]) == (SWEEP, "broken", _counts(sweep))
    assert "the flag is up" in alert["reason"]

    flag.unlink()
    plugin.unlink()  # its text is in the database
    sweep.start("resume", SWEEP, "--notify", f"tee {told}").ends()  # as the reason says
    assert sweep.state() == "finished"
    assert sweep.counts()[TrialState.FINISHED] == 5
    alert = json.loads(told.read_text())
    assert (alert["event"], alert["counts"]) == ("finished", _counts(sweep))


def _counts(sweep: Sweep) -> dict[str, Any]:
    counts = sweep.counts()
    return {state.value: counts[state] for state in TrialState}
