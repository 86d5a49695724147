"""Notes of runs that have started and are not completely in MLflow yet: SWEEPER_HOME/begun/SWEEP.json until they are.

The state of the sweep is in the database; a note tells a service what to resume, and with which limit. It lies in the
same SWEEPER_HOME as the spools, and only the holder of the sweep's lease writes it.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from storage.repository import Repository
from sweeper.settings import Settings
from trials.places import below
from trials.states import TrialState
from workers.files import atomic_write

FINAL = (TrialState.FINISHED, TrialState.FAILED, TrialState.PRUNED, TrialState.STOPPED)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StartedRun:
    """`at` is when the run started, by the database's clock; `limit` is how many trials it may start at most, `until`
    when it is to have ended, in seconds since 1970."""

    at: float = 0.0
    limit: int | None = None
    until: float | None = None


def start(settings: Settings, sweep: str, run: StartedRun) -> None:
    """Notes that a run starts."""
    with atomic_write(_path(settings, sweep)) as file:
        file.write(json.dumps(asdict(run)).encode())


def note(settings: Settings, sweep: str) -> None:
    """Notes that MLflow lacks something of a sweep; a note that exists is kept."""
    if not _path(settings, sweep).exists():
        start(settings, sweep, StartedRun())


def forget(settings: Settings, sweep: str) -> None:
    """Removes the note: MLflow has everything."""
    _path(settings, sweep).unlink(missing_ok=True)


def noted(settings: Settings) -> list[str]:
    """The sweeps that have a note."""
    return sorted(path.stem for path in _folder(settings).glob("[!.]*.json"))


def left(settings: Settings, repository: Repository, sweep: str) -> int | None:
    """How many trials the sweep's last run may still start or resume; None where it had no limit."""
    run = _read(settings, sweep)
    if run.limit is None:
        return None
    ended = {trial.hash for trial in repository.trials(sweep) if trial.state in FINAL}
    done = {one.trial for one in repository.attempts_of_sweep(sweep) if one.started_at >= run.at} & ended
    return max(run.limit - len(done), 0)


def until(settings: Settings, sweep: str) -> float | None:
    """When the sweep's last run was to have ended; None where nobody said so."""
    return _read(settings, sweep).until


def _read(settings: Settings, sweep: str) -> StartedRun:
    path = _path(settings, sweep)
    try:
        return StartedRun(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return StartedRun()
    except (OSError, ValueError, TypeError):
        _log.exception("%s is damaged; there is no limit then", path)
        return StartedRun()


def _folder(settings: Settings) -> Path:
    return settings.home / "begun"


def _path(settings: Settings, sweep: str) -> Path:
    return below(_folder(settings), f"{sweep}.json")
