"""What a person sees while a sweep runs: a live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from storage.records import Trial
from sweeper.logs import LogStream
from sweeper.run.coordinator import Running
from sweeper.timing.pace import remaining, time_scale
from sweeper.units import duration
from trials.states import TrialState

LINE_EVERY_SECONDS = 15.0
"""Without a terminal: a summary line at most this often, besides a line for each event."""

REFRESHES_PER_SECOND = 4


class Display(Protocol):
    """Gets the coordinator's changes; see `sweeper.run.coordinator.Observer`."""

    def changed(self, trials: Collection[Trial], running: Mapping[str, Running]) -> None: ...

    def say(self, line: str) -> None: ...


@contextmanager
def display(console: Console, slots: int) -> Iterator[Display]:
    """The display that fits the console, for `slots` trials at once."""
    if console.is_terminal:
        terminal = _Terminal(console, slots)
        with terminal.live:
            yield terminal
    else:
        # A log record has its own time.
        yield _Lines(console, slots, timed=not isinstance(console.file, LogStream))


def summary(trials: Collection[Trial], running: Mapping[str, Running], slots: int) -> str:
    """`12/16 done, 2 running, 1 failed, about 1 min left`."""
    states = Counter(t.state for t in trials)
    parts = [f"{states[TrialState.FINISHED]}/{len(trials)} done", f"{len(running)} running"]
    parts.append(f"{states[TrialState.FAILED]} failed")
    parts += [f"{states[s]} {s.value}" for s in (TrialState.PRUNED, TrialState.STOPPED) if states[s]]
    if (left := seconds_left(trials, running, slots)) is not None:
        parts.append(f"about {duration(left)} left")
    return ", ".join(parts)


def seconds_left(trials: Collection[Trial], running: Mapping[str, Running], slots: int) -> float | None:
    """Predicted seconds to the end, scaled by the finished trials' times over their predictions.

    None before the first trial has finished.
    """
    waiting = [t for t in trials if t.state in (TrialState.QUEUED, TrialState.RUNNING) and t.hash not in running]
    if not waiting and not running:
        return 0.0
    scale = time_scale(trials)
    if scale is None:
        return None
    now = time.monotonic()
    own = {t.hash for t in trials}
    known = [*trials, *(r.trial for key, r in running.items() if key not in own)]
    return remaining(known, {key: now - r.since for key, r in running.items()}, scale, slots)


class _Lines:
    def __init__(self, console: Console, slots: int, *, timed: bool = True) -> None:
        self._console, self._slots, self._timed = console, slots, timed
        self._last = 0.0

    def changed(self, trials: Collection[Trial], running: Mapping[str, Running]) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_EVERY_SECONDS:
            self._last = now
            self._print(summary(trials, running, self._slots))

    def say(self, line: str) -> None:
        self._print(line)

    def _print(self, line: str) -> None:
        shown = f"{time.strftime('%H:%M:%S')}  {line}" if self._timed else line
        self._console.print(shown, markup=False, highlight=False, soft_wrap=True)


class _Terminal:
    def __init__(self, console: Console, slots: int) -> None:
        self._slots = slots
        self._bar = Progress(
            TextColumn("trials"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), console=console
        )
        self._task = self._bar.add_task("", total=None)
        self.live = Live(self._bar, console=console, refresh_per_second=REFRESHES_PER_SECOND)
        self._last = 0.0

    def changed(self, trials: Collection[Trial], running: Mapping[str, Running]) -> None:
        now = time.monotonic()
        if running and now - self._last < 1 / REFRESHES_PER_SECOND:
            return  # nobody would see it, and counting ten thousand trials takes longer than storing one
        self._last = now
        done = sum(t.state not in (TrialState.QUEUED, TrialState.RUNNING) for t in trials)
        words = summary(trials, running, self._slots).split(", ", 1)[1]
        self._bar.update(self._task, total=len(trials), completed=done, description=words)
        self.live.update(Group(self._bar, _running_table(running)))

    def say(self, line: str) -> None:
        self.live.console.print(Text(line))


def _running_table(running: Mapping[str, Running]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2))
    for one in running.values():
        dsc = "" if one.val_dsc is None else f"validation DSC {one.val_dsc:.3f}"
        table.add_row(Text(one.trial.label), Text(f"epoch {one.epoch}"), Text(dsc))
    return table
