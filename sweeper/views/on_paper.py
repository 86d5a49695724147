"""A plan for GPUs that are not here: what each trial and the whole would take, as an object and as a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel

from sweeper.timing.on_paper import Fleet, Interval
from sweeper.units import duration


class IntervalObject(BaseModel):
    """Predicted seconds, and the ends between which they lie 90 times of 100."""

    seconds: float
    low: float
    high: float

    @classmethod
    def of(cls, interval: Interval) -> IntervalObject:
        """An interval in tenths of a second."""
        return cls(seconds=round(interval.seconds, 1), low=round(interval.low, 1), high=round(interval.high, 1))

    def __str__(self) -> str:
        return f"{duration(self.seconds)} ({self.ends})"

    @property
    def ends(self) -> str:
        """The two ends for a person, each in one unit: `9 to 58 h`."""
        (low, unit), (high, larger) = _rough(self.low), _rough(self.high)
        return f"{low:.0f} to {high:.0f} {unit}" if unit == larger else f"{low:.0f} {unit} to {high:.0f} {larger}"


def _rough(seconds: float) -> tuple[float, str]:
    for unit, length, until in (("s", 1, 90), ("min", 60, 90 * 60), ("h", 3600, 96 * 3600)):
        if seconds < until:
            return seconds / length, unit
    return seconds / 86400, "d"


class FleetObject(BaseModel):
    """When the trials that are left have run on so many devices; no schedule ends before `bound` seconds."""

    devices: int
    end: IntervalObject
    bound: float

    @classmethod
    def of(cls, fleet: Fleet) -> FleetObject:
        """A fleet in tenths of a second."""
        return cls(devices=fleet.devices, end=IntervalObject.of(fleet.end), bound=round(fleet.bound, 1))


class OnPaperObject(BaseModel):
    """The trials of a plan on a device by its published rates, in the plan's order; `measured` trials corrected it."""

    device: str
    model: str
    trials: list[IntervalObject]
    searches: list[IntervalObject]
    fleets: list[FleetObject]
    measured: int
    assumptions: list[str]


def on_paper_lines(shown: OnPaperObject) -> Iterator[str]:
    """The whole for a person, and what was assumed."""
    yield f"on paper, for the NVIDIA {shown.device} ({shown.model}):"
    for fleet in shown.fleets:
        devices = f"{fleet.devices} device{'s' if fleet.devices > 1 else ''}"
        yield f"  {devices}: {fleet.end}; no schedule ends before {duration(fleet.bound)}"
    if shown.measured:
        several = "trials that have" if shown.measured > 1 else "trial that has"
        yield f"how sure: 90% intervals, corrected by {shown.measured} {several} finished on such a device"
    else:
        yield "how sure: 90% intervals; corrected once trials finish on such a device"
    yield "assumed:"
    yield from (f"  - {line}" for line in shown.assumptions)


def on_paper_columns(intervals: Sequence[IntervalObject]) -> list[dict[str, object]]:
    """Further columns of the plan's table for a program."""
    return [
        {"device_seconds": one.seconds, "device_seconds_low": one.low, "device_seconds_high": one.high}
        for one in intervals
    ]
