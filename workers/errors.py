"""What can go wrong on a worker, as kinds that the coordinator tells apart.

`InputError` is a person's mistake and is never retried; `DivergedError` is a result of the loss under study; the rest
are failures of the machine, which may be tried again.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WorkerError(Exception):
    """Root of every error that `workers` raises on purpose."""


class InputError(WorkerError, ValueError):
    """Wrong input from a person: the message names the thing, the value, the place and the mend."""


class UnknownNameError(InputError):
    """A loss, network or data set that is not registered."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        super().__init__(f"unknown {kind} {name!r}{nearest(name, known)}; known: {', '.join(known)}")
        self.kind, self.name = kind, name


class ParameterError(InputError):
    """A parameter that a loss or network does not have, or a value outside its range."""


class DataError(InputError):
    """A data set's files are missing, damaged or not what the reader expects; the message names the file."""


class DivergedError(WorkerError):
    """The training loss became NaN or infinite. A result of the loss, not a fault of the machine."""

    def __init__(self, message: str, *, epoch: int) -> None:
        super().__init__(message)
        self.epoch = epoch


class CheckpointError(WorkerError):
    """A file of a checkpoint is damaged."""


class FolderBusyError(WorkerError):
    """The process of an earlier attempt still writes in the trial's folder."""


class WorkerLostError(WorkerError):
    """The training process ended without a result; carries the tail of what it wrote to stderr."""

    def __init__(self, message: str, *, stderr_tail: str = "", out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.stderr_tail, self.out_of_memory = stderr_tail, out_of_memory


def nearest(name: str, known: Iterable[str]) -> str:
    """`", did you mean 'dice'?"` for the nearest known name, or an empty string when none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f", did you mean {matches[0]!r}?" if matches else ""
