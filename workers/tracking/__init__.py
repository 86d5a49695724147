"""Reporting to MLflow that can neither stop nor slow a training.

A trial writes plain records into a `Spool`, a file in its own folder; a `Replayer` thread in another process sends
them to MLflow, once and in order, whenever MLflow is there. `SweepTracker` keeps the sweep's parent run. MLflow itself
is imported only when something is sent, so that importing this package costs nothing.
"""

from workers.tracking.client import ensure_store
from workers.tracking.errors import TrackingDamagedError, TrackingInputError, TrackingUnavailableError
from workers.tracking.lacking import Told, told
from workers.tracking.repair import put_damaged_aside, restore_experiment
from workers.tracking.replay import ReplayResult, forget_sent, replay, run_id
from workers.tracking.replayer import Replayer
from workers.tracking.spool import Spool
from workers.tracking.sweep import BestModel, SweepTracker
from workers.tracking.views import run_page, runs_page, sweep_page

__all__ = [
    "BestModel",
    "ReplayResult",
    "Replayer",
    "Spool",
    "SweepTracker",
    "Told",
    "TrackingDamagedError",
    "TrackingInputError",
    "TrackingUnavailableError",
    "ensure_store",
    "forget_sent",
    "put_damaged_aside",
    "replay",
    "restore_experiment",
    "run_id",
    "run_page",
    "runs_page",
    "sweep_page",
    "told",
]
