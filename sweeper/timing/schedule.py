"""In which order trials start, and when the last one ends. Pure functions of predicted seconds."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

MULTIFIT_ROUNDS = 12
"""Halvings of the gap between bound and schedule: its last digit is then a few thousandths."""


def longest_first(costs: Mapping[str, float]) -> list[str]:
    """Trial hashes in the order in which a sweep starts them; ties in their own order."""
    return sorted(costs, key=lambda key: -costs[key])


def makespan(seconds: Iterable[float], speeds: Sequence[float]) -> float:
    """Finish time of trials on devices of the given relative speeds, each trial on the device that it is given to.

    Longest first to the device that would finish it first; then, since that can be a third too late where few long
    trials meet devices of different speeds, MULTIFIT (Coffman et al. 1978, for different speeds Friesen and Langston
    1983): by bisection the earliest time until which the trials can be packed, longest first, each where it leaves
    the least room.

    Args:
        seconds: of each trial on a device of speed 1.
        speeds: of the devices; infinity is returned when there is none.
    """
    if not speeds:
        return math.inf
    longest = sorted(seconds, reverse=True)
    low, high = lower_bound(longest, speeds), _first_to_finish(longest, speeds)
    for _ in range(MULTIFIT_ROUNDS):
        middle = (low + high) / 2
        end = _packed(longest, speeds, middle)
        if end is None:
            low = middle
        else:
            high = min(high, end)
    return high


def lower_bound(seconds: Iterable[float], speeds: Sequence[float]) -> float:
    """No schedule ends earlier: the k longest trials run on at most k devices, at best the k fastest."""
    longest, fastest = sorted(seconds, reverse=True), sorted(speeds, reverse=True)
    sums, capacity = list(itertools.accumulate(longest)), list(itertools.accumulate(fastest))
    return max((total / capacity[min(k, len(capacity) - 1)] for k, total in enumerate(sums)), default=0.0)


def _first_to_finish(longest: Sequence[float], speeds: Sequence[float]) -> float:
    free = [0.0] * len(speeds)
    for work_seconds in longest:
        end, device = min((free[d] + work_seconds / speed, d) for d, speed in enumerate(speeds))
        free[device] = end
    return max(free)


def _packed(longest: Sequence[float], speeds: Sequence[float], until: float) -> float | None:
    """When the last device ends if all trials fit into `until`, else None: each where it leaves the least room, or
    else on the fastest device that has room, which now and then fits where the other does not."""
    for least_room in (True, False):
        room = [until * speed for speed in sorted(speeds, reverse=True)]
        for work_seconds in longest:
            fits = [(space if least_room else 0.0, d) for d, space in enumerate(room) if space >= work_seconds]
            if not fits:
                break
            room[min(fits)[1]] -= work_seconds
        else:
            return max(until - space / speed for space, speed in zip(room, sorted(speeds, reverse=True), strict=True))
    return None


def finish_in(seconds: Iterable[float], places: int | Sequence[float]) -> float:
    """Seconds until the given trials have run as a sweep runs them: longest first, each where a place is free first.

    Ray places a trial and knows no speeds, so that on devices of different speeds a long trial may fall to a slow one,
    and the end be later than `makespan`.

    Args:
        seconds: of each remaining trial on a device of speed 1.
        places: how many there are, or the speed of each; one is assumed where there is none.
    """
    speeds = [1.0] * max(places, 1) if isinstance(places, int) else places
    free = [(0.0, -speed) for speed in speeds]
    heapq.heapify(free)
    end = 0.0
    for work_seconds in sorted(seconds, reverse=True):
        start, slowness = heapq.heappop(free)
        end = max(end, start - work_seconds / slowness)
        heapq.heappush(free, (start - work_seconds / slowness, slowness))
    return end
