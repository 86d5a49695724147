"""A coordinator that survives the terminal, and watching one that runs elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from storage.records import Trial
from storage.repository import Repository
from sweeper.errors import DetachError
from sweeper.grids.names import Naming, naming_of
from sweeper.run.coordinator import Running
from sweeper.run.deadline import as_option
from sweeper.run.lease import refuse_running, running
from sweeper.run.progress import display
from sweeper.settings import Settings
from trials.places import below
from trials.states import AttemptState, SweepState, TrialState

START_SECONDS = 120.0
POLL_SECONDS = 1.0


def start_detached(
    settings: Settings,
    repository: Repository,
    sweep: str,
    limit: int | None = None,
    until: float | None = None,
) -> Path:
    """Starts `sweeper resume SWEEP` in a session of its own, and waits until it holds the sweep.

    Returns:
        The file that takes what the coordinator prints.

    Raises:
        LeaseHeldError: another coordinator is running the sweep.
        DetachError: the process ended before it held the sweep; the message has its last output.
    """
    refuse_running(repository, sweep)
    log = below(settings.logs, f"{sweep}.coordinator.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    limited = [] if limit is None else ["--limit", str(limit)]
    command = [sys.executable, "-m", "sweeper", "resume", sweep, *limited, *(as_option(until) if until else ())]
    with log.open("a", encoding="utf-8") as file:
        start = file.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "SWEEPER_NOTIFY": settings.notify},
        )

    def ended() -> str | None:
        if not (code := process.poll()):
            return None if code is None else ""
        printed = log.read_bytes()[start:].decode(errors="replace").strip()
        return f"exit code {code}: {printed or 'it printed nothing'}"

    wait_until_held(repository, sweep, ended)
    return log


def wait_until_held(repository: Repository, sweep: str, ended: Callable[[], str | None]) -> None:
    """Waits until a coordinator that was just started holds its sweep, or has ended well.

    Args:
        repository: the database.
        sweep: the sweep's name.
        ended: None while it runs, an empty text when it ended well, else its last output.

    Raises:
        DetachError: it failed, or did not take the sweep in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if running(repository, sweep):
            return
        if (output := ended()) is not None:
            if not output:
                return
            raise DetachError(f"the coordinator of {sweep} ended before it held the sweep: {output}")
        time.sleep(0.2)
    raise DetachError(f"the coordinator of {sweep} did not take the sweep within {START_SECONDS:.0f} s")


def follow(repository: Repository, sweep: str, console: Console, slots: int) -> SweepState:
    """Shows a sweep that another process runs until it ends. Ctrl-C ends the watching, not the sweep."""
    naming = naming_of(repository.sweep(sweep).grid)
    seen = {t.hash: t.state for t in repository.trials(sweep)}
    with display(console, slots) as observer:
        while True:
            trials = repository.trials(sweep)
            for trial in trials:
                if trial.state is not seen.get(trial.hash) and trial.state is not TrialState.RUNNING:
                    observer.say(_event(*naming.labelled([trial])))
                seen[trial.hash] = trial.state
            observer.changed(trials, _running(repository, sweep, trials, naming))
            if not running(repository, sweep):
                return repository.sweep(sweep).state
            time.sleep(POLL_SECONDS)


def _running(repository: Repository, sweep: str, trials: Sequence[Trial], naming: Naming) -> Mapping[str, Running]:
    now, clock = repository.database.now(), time.monotonic()
    attempts = {a.trial: a for a in repository.attempts_of_sweep(sweep) if a.state is AttemptState.RUNNING}
    return {
        t.hash: Running(t, attempts[t.hash], clock - (now - attempts[t.hash].started_at), t.epochs)
        for t in naming.labelled(t for t in trials if t.state is TrialState.RUNNING and t.hash in attempts)
    }


def _event(trial: Trial) -> str:
    dsc = "" if trial.test_dsc is None else f": test DSC {trial.test_dsc:.3f}"
    why = "" if trial.failure is None else f" ({trial.failure.value.replace('_', ' ')})"
    return f"{trial.state.value} {trial.label}{dsc}{why}"
