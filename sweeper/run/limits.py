"""How long a trial may take, from its grid's `[resources]`, and what is said of one that took longer. Pure."""

from __future__ import annotations

from sweeper.grids.schema import ResourcesTable
from sweeper.units import duration
from trials.messages import Limits


def limits_of(table: ResourcesTable) -> Limits:
    """The limits in seconds."""
    return Limits(
        attempt=None if table.trial_hours is None else 3600 * table.trial_hours,
        epoch=None if table.epoch_minutes is None else 60 * table.epoch_minutes,
    )


def patience(limits: Limits, elapsed: float) -> float | None:
    """For how many seconds an attempt's next message is waited for; None: for ever.

    Args:
        limits: of the trial.
        elapsed: seconds since the attempt started.
    """
    left = [limits.epoch] if limits.epoch is not None else []
    if limits.attempt is not None:
        left.append(max(limits.attempt - elapsed, 0.0))
    return min(left, default=None)


def over_text(limits: Limits, elapsed: float) -> str:
    """Why an attempt was ended that was silent for too long."""
    if limits.attempt is not None and (limits.epoch is None or elapsed >= limits.attempt):
        what = f"it was not done after {duration(limits.attempt)} ([resources] trial_hours)"
    else:
        what = f"no epoch ended within {duration(limits.epoch or 0.0)} ([resources] epoch_minutes)"
    return f"{what}; a retry resumes after its last epoch"
