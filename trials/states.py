"""The states of sweeps, trials and attempts, and why an attempt failed. Stored and shown by these words."""

from __future__ import annotations

from enum import StrEnum


class SweepState(StrEnum):
    """A sweep is `queued` until a coordinator first holds it. `broken`: the circuit breaker stopped it."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    BROKEN = "broken"


class TrialState(StrEnum):
    """queued → running → finished, failed, pruned or stopped. Only an explicit retry leaves a final state."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    PRUNED = "pruned"
    STOPPED = "stopped"


OPEN = (TrialState.QUEUED, TrialState.RUNNING)
"""The states of a trial that is still to be trained."""


class AttemptState(StrEnum):
    """One try at a trial. `lost`: its coordinator or worker ended without a report."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    LOST = "lost"
    PRUNED = "pruned"
    STOPPED = "stopped"


class FailureKind(StrEnum):
    """Why an attempt failed; the retry policy depends on it."""

    LOST = "lost"
    OUT_OF_MEMORY = "out_of_memory"
    DIVERGED = "diverged"
    BAD_DATA = "bad_data"
    BAD_SETTINGS = "bad_settings"
    DISK_FULL = "disk_full"
    TIMED_OUT = "timed_out"
    BUG = "bug"
