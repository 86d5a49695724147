"""How signals, and outputs that nobody reads any more, end a coordinator on a real database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

from storage.database import open_database
from storage.records import Trial
from sweeper.run.coordinator import EndedAtOnce, Running
from sweeper.run.signals import Lasting, signals
from tests.sweeper.run.test_coordinator import Bench, claim
from trials.states import SweepState, TrialState


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_database(f"sqlite:///{tmp_path / 'test.db'}") as database:
        made = Bench(database, tmp_path)
        yield made
        made.keeper.__exit__(None, None, None)


def send(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def test_ctrl_c_waits_for_trials_then_for_epochs_then_for_nothing(bench: Bench) -> None:
    coordinator, trial = bench.coordinator, claim(bench.coordinator)
    with signals("s") as ending:
        ending.use(coordinator)
        send(signal.SIGINT)
        assert (coordinator.draining, coordinator.stopping) == (True, False)
        send(signal.SIGINT)
        assert coordinator.stopping
        coordinator.poll()
        send(signal.SIGINT)
        with pytest.raises(EndedAtOnce):
            coordinator.poll()
        send(signal.SIGINT)  # no more than that
    assert coordinator.close(failed=True) is SweepState.STOPPED
    assert bench.state(trial) is TrialState.QUEUED
    assert [line.partition(";")[0] for line in bench.notes.lines[:2]] == [
        "SIGINT: waiting for running trials, no new one starts",
        "SIGINT: running trials end after this epoch",
    ]
    assert all("sweeper resume s" in line for line in bench.notes.lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_does_not_wait_for_long_ends_epochs_first(number: signal.Signals, bench: Bench) -> None:
    claim(bench.coordinator)
    with signals("s") as ending:
        ending.use(bench.coordinator)
        send(number)
        assert (bench.coordinator.stopping, bench.coordinator.at_once) == (True, False)
        send(number)
        assert bench.coordinator.at_once
    assert bench.coordinator.close(failed=True) is SweepState.STOPPED


def test_a_signal_before_there_is_a_coordinator_counts(bench: Bench) -> None:
    with signals("s") as ending:
        send(signal.SIGTERM)
        ending.use(bench.coordinator)
        assert bench.coordinator.done()
    assert bench.coordinator.close() is SweepState.STOPPED


def test_a_machine_that_ends_leaves_the_sweep_to_another_coordinator(bench: Bench) -> None:
    with signals("s") as ending:
        ending.use(bench.coordinator)
        send(signal.SIGUSR2)
    assert bench.coordinator.close() is SweepState.RUNNING


def test_what_nohup_ignores_stays_ignored(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals("s") as ending:
            ending.use(bench.coordinator)
            send(signal.SIGHUP)
        assert not bench.coordinator.draining
    finally:
        signal.signal(signal.SIGHUP, old)


class Printed:
    """An observer that writes to standard output."""

    def changed(self, trials: Collection[Trial], running: Mapping[str, Running]) -> None:
        os.write(1, b"changed\n")

    def say(self, line: str) -> None:
        os.write(1, f"{line}\n".encode())


def test_a_reader_that_has_gone_ends_the_sweep_in_order(bench: Bench) -> None:
    kept, (read, write) = os.dup(1), os.pipe()
    try:
        os.dup2(write, 1)
        os.close(write)
        os.close(read)
        with signals("s") as ending:
            bench.coordinator.observer = Lasting(Printed(), ending)
            ending.use(bench.coordinator)
            claim(bench.coordinator)
            assert bench.coordinator.stopping
            assert bench.coordinator.close() is SweepState.STOPPED
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_the_caller_has_closed_is_no_traceback(closed: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m sweeper grids {closed}', sys.executable],
        env={**os.environ, "SWEEPER_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ("paper" in done.stdout) == (" >&-" not in f" {closed}")
