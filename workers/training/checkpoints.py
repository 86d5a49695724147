"""The checkpoints of one trial: one after each epoch, and the weights of the best epoch.

A checkpoint is a NumPy archive (never a pickle) of arrays and one JSON text. Each is written beside, synced and
renamed; the archive's own CRC-32 of every member shows a truncated or damaged one. The two newest are kept, so that
the one before can be used when the newest is damaged. The best epoch's weights are its checkpoint under a second name:
a large network's are written once.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.errors import CheckpointError
from workers.files import atomic_write, sync_folder

KEPT = 2
Array = npt.NDArray[np.generic]
Arrays = tuple[Array, ...]
State = Mapping[str, Any]
"""Plain JSON values; `workers.training.trial` says which."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that the next epoch depends on. Batches need no state: they are drawn from (seed, epoch, index)."""

    epoch: int
    weights: Arrays
    optimiser: Arrays
    state: State


class CheckpointFolder:
    """The checkpoints in a trial's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, checkpoint: Checkpoint, *, best: bool) -> Path:
        """Writes the checkpoint of an epoch, then removes all but the newest two.

        Args:
            checkpoint: of the epoch.
            best: whether it is the best so far. Its weights are there before the checkpoint that needs them.

        Raises:
            OSError: the disk is full or the folder cannot be written; older checkpoints are untouched.
        """
        path = self.folder / f"epoch-{checkpoint.epoch:06d}.npz"
        arrays = {"w": checkpoint.weights, "o": checkpoint.optimiser}
        kept = self.folder / f"best-{checkpoint.epoch:06d}.npz"
        if best:
            _write(kept, arrays, checkpoint.state)
        if not (best and _linked(kept, path)):
            _write(path, arrays, checkpoint.state)
        # A resume may fall back by KEPT - 1 epochs, to a state whose best epoch was an older one.
        for kind, number in (("epoch", KEPT), ("best", KEPT + 1)):
            for _, old in self._newest_first(kind)[number:]:
                old.unlink(missing_ok=True)
        return path

    def load(self) -> tuple[Checkpoint | None, tuple[str, ...]]:
        """The newest undamaged checkpoint whose best weights are there too, and what was skipped, as text; None where
        there is none, or all are damaged."""
        skipped: list[str] = []
        for epoch, path in self._newest_first("epoch"):
            try:
                arrays, state = _read(path)
                self.load_best(int(state["plateau"]["best_epoch"]))
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, CheckpointError) as error:
                skipped.append(f"{path.name} is damaged ({error})")
                continue
            return Checkpoint(epoch, arrays["w"], arrays["o"], state), tuple(skipped)
        return None, tuple(skipped)

    def tidy(self) -> None:
        """Removes what a killed process left half-written."""
        for path in self.folder.glob(".*.part"):
            path.unlink(missing_ok=True)

    def load_best(self, epoch: int) -> Arrays:
        """The weights of `epoch`, which was the best when it was saved; an empty tuple for epoch 0 (no best yet).

        Raises:
            CheckpointError: the file is missing or damaged.
        """
        if epoch == 0:
            return ()
        path = self.folder / f"best-{epoch:06d}.npz"
        try:
            return _read(path)[0]["w"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"the best weights {path.name} cannot be read: {error}") from error

    def finish(self) -> None:
        """Removes every checkpoint of a trial that has its result; its model file holds the best weights."""
        for kind in ("epoch", "best"):
            for _, path in self._newest_first(kind):
                path.unlink(missing_ok=True)

    def _newest_first(self, kind: str) -> list[tuple[int, Path]]:
        matches = ((re.fullmatch(rf"{kind}-(\d{{6,}})\.npz", p.name), p) for p in self.folder.glob(f"{kind}-*.npz"))
        return sorted(((int(match[1]), path) for match, path in matches if match), reverse=True)


def _write(path: Path, groups: Mapping[str, Arrays], state: State) -> None:
    arrays = {f"{group}{i:05d}": array for group, members in groups.items() for i, array in enumerate(members)}
    text = np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)
    with atomic_write(path) as file:
        np.savez(file, allow_pickle=False, **arrays, state=text)


def _linked(there: Path, path: Path) -> bool:
    """Gives a file a second name, in place of whatever had it; not where the file system has no such thing."""
    beside = path.with_name(f".{path.name}.link.part")
    with contextlib.suppress(OSError):
        beside.unlink(missing_ok=True)
        os.link(there, beside)
        beside.replace(path)
        sync_folder(path.parent)
        return True
    return False


def _read(path: Path) -> tuple[dict[str, Arrays], State]:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise CheckpointError(f"checksum of {damaged} in {path.name} does not match")
    with np.load(path, allow_pickle=False) as archive:
        groups: dict[str, list[Array]] = {"w": [], "o": []}
        for key in sorted(archive.files):
            if key != "state":
                groups[key[0]].append(archive[key])
        state: State = json.loads(archive["state"].tobytes().decode())
    return {group: tuple(members) for group, members in groups.items()}, state
