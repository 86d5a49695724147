"""What can go wrong between a worker and MLflow."""

from __future__ import annotations

from workers.errors import InputError, WorkerError

REBUILD = "sweeper mlflow rebuild"
"""The command that fills MLflow's store anew."""


class TrackingUnavailableError(WorkerError):
    """MLflow could not be reached; nothing is lost, since every record is in its spool."""


class TrackingFullError(TrackingUnavailableError):
    """MLflow's disk is full: to try again soon is of no use."""


class TrackingDamagedError(TrackingUnavailableError):
    """MLflow's store is damaged, or its experiment deleted; the message has the command that rebuilds it."""


class TrackingInputError(InputError):
    """A tracking URI, experiment or file that MLflow can never accept, however often it is tried."""
