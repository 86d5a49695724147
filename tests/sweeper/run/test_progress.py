"""What a person reads while a sweep runs."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from io import StringIO
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from storage.records import Attempt, Trial
from sweeper.run.coordinator import Running
from sweeper.run.progress import display, seconds_left, summary
from trials.spec import DataSpec, LossSpec, TrialSpec
from trials.states import AttemptState, TrialState

NOW = 5000.0

SPEC = TrialSpec(DataSpec("nuclei", ("background", "nucleus"), 2), LossSpec("ce"))

TRIAL = Trial(
    hash="0" * 16, position=0, state=TrialState.QUEUED, spec=SPEC, label="nuclei · ce [bold]", dataset="nuclei",
    loss="ce", gamma=None, repeat=0, seed=0, results_version=1, study=None, cost=10.0, attempts=0, failure=None,
    error=None, sweep=None, epochs=0, best_epoch=None, val_loss=None, val_dsc=None, test_dsc=None, train_seconds=None,
    parameters=None, environment=None, mlflow_run=None, started_at=None, finished_at=None,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _clock_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=lambda: NOW, strftime=time.strftime)
    monkeypatch.setattr("sweeper.run.progress.time", clock)


def trial(
    number: int, state: TrialState = TrialState.QUEUED, *, cost: float = 10.0, took: float | None = None
) -> Trial:
    return replace(TRIAL, hash=f"{number:016x}", state=state, cost=cost, train_seconds=took)


def running(number: int, *, since: float = 0.0, cost: float = 10.0) -> dict[str, Running]:
    attempt = Attempt(
        1, f"{number:016x}", 1, 1, AttemptState.RUNNING, None, None, None, "host", None, None, 0, 0, 0.0, None
    )
    one = Running(trial(number, TrialState.RUNNING, cost=cost), attempt, NOW - since, epoch=3, val_dsc=0.5)
    return {one.trial.hash: one}


def test_summary_counts() -> None:
    trials = [
        *(trial(n, TrialState.FINISHED, took=20.0) for n in range(3)),
        trial(3, TrialState.FAILED),
        trial(4, TrialState.RUNNING),
        *(trial(n) for n in (5, 6)),
    ]
    assert summary(trials, running(4), 1) == "3/7 done, 1 running, 1 failed, about 60 s left"
    assert summary([trial(0, TrialState.STOPPED)], {}, 1) == "0/1 done, 0 running, 0 failed, 1 stopped, about 0 s left"


def test_time_left_is_unknown_until_a_trial_has_shown_its_time() -> None:
    assert seconds_left([trial(0)], {}, 1) is None
    assert "left" not in summary([trial(0)], {}, 1)


@given(st.lists(st.floats(0.1, 1000), min_size=1, max_size=20), st.integers(1, 8), st.floats(0.1, 10))
def test_time_left_is_scaled_by_what_was_measured(costs: list[float], slots: int, slower: float) -> None:
    finished = trial(99, TrialState.FINISHED, cost=10.0, took=10.0 * slower)
    left = seconds_left([finished, *(trial(n, cost=c) for n, c in enumerate(costs))], {}, slots)
    assert left is not None
    assert left >= slower * max(sum(costs) / slots, max(costs)) * 0.999
    assert left <= slower * (sum(costs) / slots + max(costs)) * 1.001


def test_a_running_trial_that_takes_longer_than_predicted_does_not_take_negative_time() -> None:
    finished = trial(1, TrialState.FINISHED, took=10.0)
    one = running(2, since=1000)
    assert seconds_left([finished, *(r.trial for r in one.values())], one, 2) == 0.0


def test_plain_lines_without_a_terminal() -> None:
    text = StringIO()
    with display(Console(file=text, width=80), 1) as shown:
        shown.changed([trial(0)], {})
        shown.changed([trial(0)], running(0))  # too soon after the other
        shown.say("finished nuclei · ce [bold]: " + "x" * 100)
    lines = text.getvalue().splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"\d\d:\d\d:\d\d  0/1 done, 0 running, 0 failed", lines[0])
    assert lines[1].endswith("[bold]: " + "x" * 100)


def test_a_bar_and_the_running_trials_in_a_terminal() -> None:
    text = StringIO()
    console = Console(file=text, width=100, force_terminal=True, color_system=None)
    with display(console, 1) as shown:
        shown.changed([trial(0), trial(1, TrialState.FINISHED, took=5.0)], running(0))
        shown.say("retried [bold]")
    written = text.getvalue()
    assert "1/2" in written
    assert "nuclei · ce [bold]" in written
    assert "epoch 3" in written
    assert "validation DSC 0.500" in written
    assert "retried [bold]" in written
