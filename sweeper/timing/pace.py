"""How fast a sweep goes, when it ends, and how busy its devices are. Pure functions of stored rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from storage.records import Attempt, Trial
from sweeper.timing.schedule import finish_in
from trials.input_wait import InputWait
from trials.states import AttemptState, TrialState

SLOW, GRACE = 2.0, 120.0
"""A trial is slow after so many times what was predicted, and the seconds in which a process starts and traces."""

WINDOW = 3600.0
"""Seconds back from now over which throughput and the devices' use are measured."""


@dataclass(frozen=True, slots=True)
class Pace:
    """`left`: predicted seconds to the end, None where nothing runs or nothing is known of what trials take.

    `measured`: whether finished trials of this sweep corrected the prediction. `per_hour`: trials that ended in the
    last hour, or since the sweep started to run where that is later, for one hour; None before the first has ended.
    """

    left: float | None
    measured: bool
    per_hour: float | None


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """One device of one host: how many trials it trains now, and the share of the last hour in which it trained any."""

    host: str
    device: str
    running: int
    ended: int
    busy: float


def pace(trials: Sequence[Trial], attempts: Iterable[Attempt], now: float) -> Pace:
    """The pace at the time `now` (seconds since the epoch by the database's clock).

    Args:
        trials: of the sweep.
        attempts: at them.
        now: not before any of their times.
    """
    attempts = list(attempts)
    running = [a for a in attempts if a.state is AttemptState.RUNNING]
    known = {t.hash for t in trials}
    elapsed = {a.trial: max(now - a.started_at, 0.0) for a in running if a.trial in known}
    scale = time_scale(trials)
    left = None
    if elapsed or not any(t.state in (TrialState.QUEUED, TrialState.RUNNING) for t in trials):
        left = remaining(trials, elapsed, scale or 1.0, len(elapsed))
    recent = [a for a in attempts if (now if a.ended_at is None else a.ended_at) > now - WINDOW]
    since = max(min((a.started_at for a in recent), default=now), now - WINDOW)
    ended = sum(a.state in (AttemptState.FINISHED, AttemptState.PRUNED) for a in recent)
    per_hour = ended / (now - since) * 3600 if ended and running and now > since else None
    return Pace(left, scale is not None, per_hour)


@dataclass(frozen=True, slots=True)
class Liveness:
    """Of a running trial: about how many seconds ago its last epoch ended (or its attempt began, where none has),
    whether it is much slower than was predicted, and how its input keeps up, where that was measured."""

    quiet: float
    slow: bool
    wait: InputWait | None = None


def liveness(attempt: Attempt, epochs: Sequence[float], predicted: float | None, planned: int, now: float) -> Liveness:
    """How a running attempt goes.

    Args:
        attempt: it, running.
        epochs: seconds of each epoch that it has trained.
        predicted: seconds of the whole trial, None where nothing tells.
        planned: epochs of the whole trial.
        now: by the clock of the attempt's times.
    """
    elapsed = max(now - attempt.started_at, 0.0)
    quiet = max(elapsed - sum(epochs), 0.0)
    usual = max([*epochs, (predicted or 0.0) / max(planned, 1)])
    slow = (bool(usual) and quiet > SLOW * usual + GRACE) or (
        predicted is not None and elapsed > SLOW * predicted + GRACE
    )
    return Liveness(quiet, slow)


def time_scale(trials: Iterable[Trial]) -> float | None:
    """How the finished trials' times compare with what was predicted for them; None while none can tell."""
    seen = [(t.train_seconds, t.cost) for t in trials if t.train_seconds and t.cost]
    return sum(s for s, _ in seen) / sum(c for _, c in seen) if seen else None


def remaining(trials: Iterable[Trial], elapsed: Mapping[str, float], scale: float, slots: int) -> float:
    """Predicted seconds until all trials have ended, `slots` of them at once.

    Args:
        trials: of the sweep, each with its predicted cost; one without counts as nothing.
        elapsed: of each running trial the seconds since it started.
        scale: what a predicted second takes.
        slots: how many trials run at once.
    """
    left = [
        max((t.cost or 0.0) * scale - elapsed.get(t.hash, 0.0), 0.0)
        for t in trials
        if t.state in (TrialState.QUEUED, TrialState.RUNNING)
    ]
    return finish_in(left, slots)


def device_use(attempts: Iterable[Attempt], now: float) -> list[DeviceUse]:
    """Every device on which a trial ran in the last hour, busy ones first, then by host and device."""
    groups: dict[tuple[str, str], list[Attempt]] = {}
    for attempt in attempts:
        if (now if attempt.ended_at is None else attempt.ended_at) > now - WINDOW:
            groups.setdefault((attempt.host, attempt.device or ""), []).append(attempt)
    since = max(min((a.started_at for g in groups.values() for a in g), default=now), now - WINDOW)
    used = [
        DeviceUse(
            host,
            device,
            running=sum(a.state is AttemptState.RUNNING for a in group),
            ended=sum(a.state is not AttemptState.RUNNING for a in group),
            busy=_covered([(a.started_at, now if a.ended_at is None else a.ended_at) for a in group], since, now),
        )
        for (host, device), group in groups.items()
    ]
    return sorted(used, key=lambda d: (-d.running, d.host, d.device))


def _covered(spans: Iterable[tuple[float, float]], start: float, end: float) -> float:
    """The share of start to end that the spans cover, in [0, 1]."""
    covered, at = 0.0, start
    for low, high in sorted(spans):
        low, high = max(low, at), min(high, end)
        if high > low:
            covered, at = covered + high - low, high
    return covered / (end - start) if end > start else 0.0
