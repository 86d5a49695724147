"""Notes of runs that have begun and are not all in MLflow yet: SWEEPER_HOME/begun/SWEEP.json, as long as that is so.

Not the sweep's state, which the database has: they tell a service what it should go on with, and how. A note lies
beside the spools that it is about, and is written by the holder of the sweep's lease alone.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from storage.repository import Repository
from sweeper.settings import Settings
from trials.states import TrialState
from workers.files import atomic_write

FINAL = (TrialState.FINISHED, TrialState.FAILED, TrialState.PRUNED, TrialState.STOPPED)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Begun:
    """`at` is when the run began, by the database's clock; `limit` how many trials it was to start at most."""

    at: float = 0.0
    limit: int | None = None


def begin(settings: Settings, sweep: str, begun: Begun) -> None:
    """Notes that a run begins."""
    with atomic_write(_path(settings, sweep)) as file:
        file.write(json.dumps(asdict(begun)).encode())


def note(settings: Settings, sweep: str) -> None:
    """Notes that MLflow lacks something of a sweep, unless that is noted already."""
    if not _path(settings, sweep).exists():
        begin(settings, sweep, Begun())


def forget(settings: Settings, sweep: str) -> None:
    """MLflow has all of it."""
    _path(settings, sweep).unlink(missing_ok=True)


def noted(settings: Settings) -> list[str]:
    """The sweeps that have a note."""
    return sorted(path.stem for path in _folder(settings).glob("[!.]*.json"))


def left(settings: Settings, repository: Repository, sweep: str) -> int | None:
    """How many trials the sweep's last run may still begin or go on with; None where it had no limit."""
    path = _path(settings, sweep)
    try:
        begun = Begun(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        _log.exception("%s is damaged; going on without a limit", path)
        return None
    if begun.limit is None:
        return None
    ended = {trial.hash for trial in repository.trials(sweep) if trial.state in FINAL}
    done = {one.trial for one in repository.attempts_of_sweep(sweep) if one.started_at >= begun.at} & ended
    return max(begun.limit - len(done), 0)


def _folder(settings: Settings) -> Path:
    return settings.home / "begun"


def _path(settings: Settings, sweep: str) -> Path:
    return _folder(settings) / f"{sweep}.json"
