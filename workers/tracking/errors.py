"""What can go wrong between a worker and MLflow."""

from __future__ import annotations

from workers.errors import InputError, WorkerError


class TrackingUnavailableError(WorkerError):
    """MLflow could not be reached; nothing is lost, since every record is in its spool."""


class TrackingInputError(InputError):
    """A tracking URI, experiment or file that MLflow can never accept, however often it is tried."""
