"""Files in SWEEPER_HOME that nothing needs: leftovers of killed trials, logs and prepared data of no trial."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.repository import Repository
from sweeper.settings import Settings
from trials.places import is_hash
from trials.states import TrialState

CHECKPOINTS = ("epoch-*.npz", "best-*.npz")


@dataclass(frozen=True, slots=True)
class Garbage:
    """A file or folder that can be removed, its size, and why nothing needs it."""

    path: Path
    size: int
    why: str

    def remove(self) -> None:
        """Deletes it, if it still exists."""
        if self.path.is_dir():
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self.path.unlink(missing_ok=True)


def find_garbage(settings: Settings, repository: Repository) -> list[Garbage]:
    """Everything that can be removed. Checkpoints that a queued, running or failed trial could resume from are kept."""
    trials = {t.hash: t for sweep in repository.sweeps() for t in repository.trials(sweep.name)}
    needed = {f"{t.dataset}-{t.spec.data.prepared}" for t in trials.values()}
    found: list[Garbage] = []
    for folder in _folders(settings.trials):
        trial = trials.get(folder.name)
        if trial is None:
            found.append(Garbage(folder, _size(folder), "no sweep has this trial"))
        elif trial.state is TrialState.FINISHED:
            left = [path for pattern in CHECKPOINTS for path in folder.glob(pattern)]
            found += [Garbage(path, _size(path), "checkpoint of a finished trial") for path in left]
    for log in sorted(settings.logs.glob("*.log")):
        if is_hash(log.stem) and log.stem not in trials:
            found.append(Garbage(log, _size(log), "log of a trial that no sweep has"))
    for folder in _folders(settings.prepared):
        if folder.name not in needed and (folder / "manifest.json").exists():
            found.append(Garbage(folder, _size(folder), "no trial was made for this prepared data set"))
    return found


def _folders(root: Path) -> Iterator[Path]:
    if root.is_dir():
        yield from sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
