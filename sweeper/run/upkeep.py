"""Renaming and deleting whole sweeps, on disk and in MLflow too; also when killed in the midst.

The database decides: its transaction happens wholly or not at all. What follows from it on disk and in MLflow is noted
in SWEEPER_HOME/changes before that transaction. Whoever finds a note finishes it where the database was changed, and
drops it where it was not. An unreachable MLflow leaves the note for the next time.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_hex

from filelock import FileLock

from storage.records import Removal
from storage.repository import Repository
from sweeper.errors import GridError
from sweeper.run.publishing import EXPERIMENT
from sweeper.settings import Settings
from trials.places import NAME_PATTERN, below, is_hash, is_name
from workers.files import atomic_write

LOGS = (".coordinator.log", ".start.log", ".delivery.log")
"""The ends of the names of a sweep's own logs."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a whole sweep.

    Attributes:
        sweep, created_at: which sweep, by the name that it had before.
        to: its new name; None if it is deleted.
        trials, runs: the trials that go with it, and their runs in MLflow as far as they are known.
    """

    sweep: str
    created_at: float
    to: str | None = None
    trials: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """What a sweep that is deleted takes with it: rows of the database, and files of this machine."""

    removal: Removal
    files: tuple[Path, ...]
    size: int


def foresee(settings: Settings, repository: Repository, sweep: str) -> Taken:
    """What `delete` would take; changes nothing.

    Raises:
        UnknownSweepError: there is no such sweep.
    """
    removal = repository.removal(sweep)
    files = tuple(p for p in (*_folders(settings, removal.trials), *_own(settings, sweep)) if p.exists())
    return Taken(removal, files, sum(map(_size, files)))


def delete(settings: Settings, repository: Repository, sweep: str) -> tuple[Taken, list[str]]:
    """Deletes a sweep, and says what went and what could not be done yet.

    Raises:
        UnknownSweepError: there is no such sweep.
        LeaseHeldError: somebody runs it.
    """
    with _alone(settings):
        taken = foresee(settings, repository, sweep)
        found = taken.removal
        note = _note(settings, Change(sweep, found.created_at, None, found.trials, found.mlflow_runs))
        try:
            repository.delete_sweep(sweep)
        except BaseException:
            _drop_if_void(note, repository)
            raise
        return taken, _finish(settings, repository)


def rename(settings: Settings, repository: Repository, sweep: str, to: str) -> list[str]:
    """Gives a sweep another name, and says what could not be done yet.

    Raises:
        GridError: the new name cannot be one.
        UnknownSweepError: there is no such sweep.
        SweepConflictError: another sweep has the new name.
        LeaseHeldError: somebody runs it.
    """
    if not is_name(to):
        raise GridError(f"{to[:80]!r} cannot be the name of a sweep; it must match {NAME_PATTERN}")
    with _alone(settings):
        note = _note(settings, Change(sweep, repository.sweep(sweep).created_at, to))
        try:
            repository.rename_sweep(sweep, to)
        except BaseException:
            _drop_if_void(note, repository)
            raise
        return _finish(settings, repository)


def finish_changes(settings: Settings, repository: Repository) -> list[str]:
    """Finishes what a killed process or an unreachable MLflow has left; says in a line each what is still left."""
    if not any(_notes(settings)):
        return []
    with _alone(settings):
        return _finish(settings, repository)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One process at a time: another one's note, whose change is not made yet, would look void."""
    folder = _folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        yield


def _finish(settings: Settings, repository: Repository) -> list[str]:
    left = []
    for path in _notes(settings):
        if _drop_if_void(path, repository):
            continue
        change = _read(path)
        if change is None:
            left.append(f"{path} is damaged and was left alone; remove it")
            continue
        if change.to is None:
            _remove(settings, repository, change)
        else:
            _move(settings, change.sweep, change.to)
        if line := _tell_mlflow(settings, repository, change):
            left.append(line)
        else:
            path.unlink(missing_ok=True)
    return left


def _remove(settings: Settings, repository: Repository, change: Change) -> None:
    """Removes the files of a deleted sweep. A trial or a name that came back meanwhile keeps its files."""
    again = repository.trials_by_hash(change.trials)
    doomed = [*_folders(settings, (one for one in change.trials if one not in again))]
    if all(sweep.name != change.sweep for sweep in repository.sweeps()):
        doomed += _own(settings, change.sweep)
    for path in doomed:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _move(settings: Settings, old: str, new: str) -> None:
    for before, after in zip(_own(settings, old), _own(settings, new), strict=True):
        if before.exists() and not after.exists():
            before.rename(after)


def _tell_mlflow(settings: Settings, repository: Repository, change: Change) -> str:
    """Tells MLflow; a line that says why it could not be told."""
    from workers.tracking import TrackingInputError, TrackingUnavailableError, upkeep

    try:
        if change.to is not None:
            upkeep.rename_sweep(settings.mlflow, change.sweep, change.to, experiment=EXPERIMENT)
            return ""
        again = {t.mlflow_run for t in repository.trials_by_hash(change.trials).values()}
        upkeep.delete_sweep(
            settings.mlflow,
            change.sweep,
            trials=frozenset(change.trials) - frozenset(repository.trials_by_hash(change.trials)),
            runs=[run for run in change.runs if run not in again],
            experiment=EXPERIMENT,
        )
    except (TrackingInputError, TrackingUnavailableError) as error:
        return f"{error}; its runs of {change.sweep} are changed later, by: sweeper gc"
    return ""


def _drop_if_void(path: Path, repository: Repository) -> bool:
    """Drops a note whose change was not made: the sweep is still there under its name."""
    change = _read(path)
    if change is None:
        return False
    there = any((s.name, s.created_at) == (change.sweep, change.created_at) for s in repository.sweeps())
    if there:
        path.unlink(missing_ok=True)
    return there


def _folders(settings: Settings, trials: Iterable[str]) -> Iterator[Path]:
    for trial in trials:
        yield below(settings.trials, trial)
        yield below(settings.logs, f"{trial}.log")


def _own(settings: Settings, sweep: str) -> list[Path]:
    """The files and folders that have the sweep's name, whether they exist or not, in one order."""
    return [
        below(settings.reports, sweep),
        below(settings.home / "begun", f"{sweep}.json"),
        *(below(settings.logs, f"{sweep}{end}") for end in LOGS),
    ]


def _folder(settings: Settings) -> Path:
    return settings.home / "changes"


def _notes(settings: Settings) -> list[Path]:
    """The notes, oldest first."""
    return sorted(_folder(settings).glob("[!.]*.json"))


def _note(settings: Settings, change: Change) -> Path:
    path = _folder(settings) / f"{time.time_ns():020d}-{token_hex(4)}.json"
    with atomic_write(path) as file:
        file.write(json.dumps(asdict(change)).encode())
    return path


def _read(path: Path) -> Change | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        change = Change(**{**values, "trials": tuple(values["trials"]), "runs": tuple(values["runs"])})
        if not all(map(is_hash, change.trials)):
            raise ValueError("not the hash of a trial")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        _log.exception("%s is damaged", path)
        return None
    return change


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
