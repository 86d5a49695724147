"""What can go wrong on a worker, as kinds that the coordinator tells apart.

`InputError` is a person's mistake and is never retried; `DivergedError` is a result of the loss under study; the rest
are failures of the machine, which may be tried again.
"""

from __future__ import annotations

from pathlib import Path

from trials.errors import ExpectedError, InputError, ParameterError, UnknownNameError, nearest, shortened

__all__ = [
    "ChannelsError",
    "CheckpointError",
    "DataError",
    "DivergedError",
    "FolderBusyError",
    "InputError",
    "ParameterError",
    "UnknownNameError",
    "WorkerError",
    "WorkerLostError",
    "nearest",
    "shortened",
]


class WorkerError(ExpectedError):
    """Root of every error that `workers` raises on purpose."""


class DataError(InputError):
    """A data set's files are missing, damaged or not what the reader expects; the message names the file."""


class ChannelsError(DataError):
    """An image has another number of channels than a data set's other images; `found` of them are in `file`."""

    def __init__(self, message: str, *, file: Path, found: int) -> None:
        super().__init__(message)
        self.file, self.found = file, found


class DivergedError(WorkerError):
    """The training loss became NaN or infinite. A result of the loss, not a fault of the machine."""

    def __init__(self, message: str, *, epoch: int) -> None:
        super().__init__(message)
        self.epoch = epoch


class CheckpointError(WorkerError):
    """A file of a checkpoint is damaged."""


class FolderRemovedError(WorkerError):
    """A trial's folder was removed while the trial trained: its checkpoints are gone."""


class FolderBusyError(WorkerError):
    """The process of an earlier attempt still writes in the trial's folder."""


class WorkerLostError(WorkerError):
    """The training process ended without a result; carries the tail of what it wrote to stderr."""

    def __init__(self, message: str, *, stderr_tail: str = "", out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.stderr_tail, self.out_of_memory = stderr_tail, out_of_memory


class TimedOutError(WorkerLostError):
    """The training process said nothing for longer than its trial may take, and was ended."""
