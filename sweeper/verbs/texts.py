"""Verbs that answer with a text: a sweep's report, its log, the log of one trial."""

from __future__ import annotations

import os
from pathlib import Path

from sweeper.errors import MissingFileError
from sweeper.verbs.declaration import Role, verb
from sweeper.verbs.host import Host
from sweeper.verbs.requests import HashPrefix, LogPartRequest, SweepName
from sweeper.views.objects import LogPart
from trials.places import below
from trials.states import TrialState
from workers.process.trial_log import place_of_tail, read_part

LOG_BYTES = 64 << 10
"""How much of a log's end is shown."""


@verb("report", "GET", "/sweeps/{sweep}/report", Role.READ, command="report", text="text/html")
def report(host: Host, sweep: SweepName) -> str:
    """The report that its coordinator wrote at its end: one page that needs no network."""
    path = below(host.settings.reports, host.name(sweep)) / "report.html"
    if not path.is_file():
        raise MissingFileError(
            f"no report of {sweep} is on the service's machine; its coordinator writes it at its end"
        )
    return path.read_text(encoding="utf-8")


@verb("log", "GET", "/sweeps/{sweep}/log", Role.READ, text="text/plain")
def log(host: Host, sweep: SweepName) -> str:
    """The last of what its start and its coordinator printed."""
    files = [host.starts.log(sweep), below(host.settings.logs, f"{sweep}.coordinator.log")]
    found = [_tail(path) for path in files if path.is_file()]
    if not found:
        raise MissingFileError(f"no log of {sweep} is on the service's machine")
    return "".join(found)


@verb("trial_log", "GET", "/trials/{hash}/log", Role.READ, command="logs", text="text/plain")
def trial_log(host: Host, hash: HashPrefix) -> str:
    """What a trial's training process wrote, if it ran on the service's machine."""
    path = below(host.settings.logs, f"{host.repository.trial(hash).hash}.log")
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        raise _missing(path) from error


@verb("trial_log_part", "GET", "/trials/{hash}/log/part", Role.READ, command="logs")
def trial_log_part(host: Host, hash: HashPrefix, asked: LogPartRequest) -> LogPart:
    """A part of it: its last lines, or what follows on the part before."""
    trial = host.repository.trial(hash)  # before its log is read: what it prints at its end must not be missed
    path, running = below(host.settings.logs, f"{trial.hash}.log"), trial.state is TrialState.RUNNING
    try:
        start = asked.after if asked.tail is None else place_of_tail(path, asked.tail)
        part = read_part(path, start, ended=not running)
    except FileNotFoundError as error:
        raise _missing(path) from error
    return LogPart(trial=trial.hash, text=part.text, after=part.after, running=running)


def _missing(path: Path) -> MissingFileError:
    return MissingFileError(f"no log of this trial on this machine ({path})")


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - LOG_BYTES, 0))
        return file.read().decode("utf-8", "replace")
