"""In which order trials start, and when the last one ends. Pure functions of predicted seconds."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

UNITS_PER_DEVICE = 8
"""So many of the longest trials for each device are tried as units of the lower bound. Shorter ones hardly raise it."""

_ROUNDING = 1 + 1e-12
"""So that a trial fills its own unit, whatever the last digit says."""


def longest_first(costs: Mapping[str, float]) -> list[str]:
    """Trial hashes in the order in which a sweep starts them; ties in their own order."""
    return sorted(costs, key=lambda key: -costs[key])


def lower_bound(seconds: Iterable[float], speeds: Sequence[float]) -> float:
    """No schedule ends earlier, on devices of whatever speeds (uniform machines). The larger of two bounds.

    Cut at will: the k longest trials run on at most k devices, at best the k fastest (Horvath, Lam and Sethi 1977).
    Whole: in a time T a device of speed s has room for floor(T × s / q) whole units of q seconds, and a trial of p
    seconds fills floor(p / q) of them at least; the units of all trials have to find room, for each q (dual feasible
    functions: Lueker 1983, Fekete and Schepers 2001). Here q is each of the longest trials in turn.
    """
    longest, fastest = sorted(seconds, reverse=True), sorted(speeds, reverse=True)
    sums, capacity = list(itertools.accumulate(longest)), list(itertools.accumulate(fastest))
    cut = max((total / capacity[min(k, len(capacity) - 1)] for k, total in enumerate(sums)), default=0.0)
    return max(cut, _whole_units_bound(longest, fastest))


def _whole_units_bound(longest: Sequence[float], fastest: Sequence[float]) -> float:
    bound = 0.0
    for k, unit in enumerate(longest[: UNITS_PER_DEVICE * len(fastest)], start=1):
        if unit > 0 and (k == len(longest) or longest[k] < unit):
            units = sum(int(work_seconds / unit * _ROUNDING) for work_seconds in longest[:k])
            bound = max(bound, unit * _room_for(units, fastest))
    return bound / _ROUNDING


def _room_for(units: int, speeds: Sequence[float]) -> float:
    """The earliest time until which devices have room for so many whole units of one second of work."""
    end = units / sum(speeds)
    room = [int(end * speed) for speed in speeds]
    ends = [((whole + 1) / speed, speed) for whole, speed in zip(room, speeds, strict=True)]
    heapq.heapify(ends)
    for _ in range(units - sum(room)):
        end, speed = ends[0]
        heapq.heapreplace(ends, (end + 1 / speed, speed))
    return end


def finish_in(seconds: Iterable[float], places: int | Sequence[float]) -> float:
    """Seconds until the given trials have run as a sweep runs them: longest first, each where it ends first.

    Args:
        seconds: of each remaining trial on a device of speed 1.
        places: how many there are, or the speed of each; one is assumed where there is none.
    """
    speeds = [1.0] * max(places, 1) if isinstance(places, int) else places or [1.0]
    return _first_to_finish(sorted(seconds, reverse=True), speeds)


@dataclass(frozen=True, slots=True)
class Place:
    """Room for one trial on a device of this speed; in so many seconds it will be free, at 0 it is."""

    speed: float
    free_in: float = 0.0


def next_start(seconds: Iterable[float], places: Sequence[Place]) -> tuple[int, int] | None:
    """Which of the queued trials starts now, and at which place, as their indices; None: none, what is free waits.

    The trials are given to places in their order, each where it ends first (Gonzalez, Ibarra and Sahni 1977: on
    devices of different speeds the last one ends at most twice as late as possible). The first that is given to a free
    place starts. A trial that would end later on a free slow device than on a fast one after what that still does is
    thus kept for the fast one, and a shorter one starts in its stead, if any ends there first.

    Args:
        seconds: of each queued trial on a device of speed 1, in the order of the queue.
        places: all of them, free or not.
    """
    queues = _queues([(place.speed, place.free_in) for place in places])
    for trial, work_seconds in enumerate(seconds):
        free, place = _end_first(queues, work_seconds)
        if place is not None and free <= 0:
            return trial, place
    return None


_Queue = tuple[float, list[tuple[float, int]]]
"""A speed, and when each place of that speed is free next, with its index; a heap."""


def _queues(places: Sequence[tuple[float, float]]) -> list[_Queue]:
    """Places as (speed, when it is free), by speed; the fastest first."""
    found: dict[float, list[tuple[float, int]]] = {}
    for index, (speed, free) in enumerate(places):
        found.setdefault(speed, []).append((free, index))
    for queue in found.values():
        heapq.heapify(queue)
    return sorted(found.items(), reverse=True)


def _end_first(queues: Sequence[_Queue], work_seconds: float) -> tuple[float, int | None]:
    """Gives a trial to the place where it ends first, of several the fastest: when it starts there, and the place."""
    if not queues:
        return math.inf, None
    speed, queue = min(queues, key=lambda one: one[1][0][0] + work_seconds / one[0])
    start, place = queue[0]
    heapq.heapreplace(queue, (start + work_seconds / speed, place))
    return start, place


def _first_to_finish(longest: Sequence[float], speeds: Sequence[float]) -> float:
    queues = _queues([(speed, 0.0) for speed in speeds])
    for work_seconds in longest:
        _end_first(queues, work_seconds)
    return max(free for _, queue in queues for free, _ in queue)
