"""Which failures are retried, and when a whole sweep stops. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from trials.states import FailureKind

RETRIES = {
    FailureKind.LOST: 3,
    FailureKind.OUT_OF_MEMORY: 2,
    FailureKind.DISK_FULL: 0,
    FailureKind.TIMED_OUT: 0,
    FailureKind.BUG: 1,
    FailureKind.DIVERGED: 0,
    FailureKind.BAD_DATA: 0,
    FailureKind.BAD_SETTINGS: 0,
}
"""How often one coordinator retries a trial after a failure of that kind; the next coordinator counts from zero. A
diverged loss is a result, not a fault; a loss that is too slow would be so again."""

HALTING = frozenset({FailureKind.DISK_FULL})
"""Kinds that would fail every other trial too: the first one stops the sweep, and the trial stays queued."""

OF_THE_LOSS = frozenset({FailureKind.DIVERGED, FailureKind.TIMED_OUT})
"""Kinds that say nothing about the machine: many of them in a row stop no sweep."""

BREAKER = 5
"""This many attempts in a row with the same kind of failure stop the sweep."""


def retry(kind: FailureKind, earlier: int) -> bool:
    """Whether a trial that has failed `earlier` times before in this way is retried."""
    return kind in HALTING or earlier < RETRIES[kind]


def broken(last_kinds: Sequence[FailureKind | None]) -> bool:
    """Whether the circuit breaker opens.

    Args:
        last_kinds: how the sweep's trials ended, in order of time; None for a success. A diverged loss, and one that
            takes too long, count as successes of the machine.
    """
    if last_kinds and last_kinds[-1] in HALTING:
        return True
    kinds = [None if kind in OF_THE_LOSS else kind for kind in last_kinds[-BREAKER:]]
    return len(kinds) == BREAKER and kinds[0] is not None and len(set(kinds)) == 1
