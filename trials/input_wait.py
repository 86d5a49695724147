"""How long the steps of a trial wait for their batches, and when that is worth a word. Pure functions of its epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trials.results import Epoch

INPUT_BOUND = 0.05
"""Above this share of the time in waiting for batches, a training is input-bound."""

WORTH_SECONDS = 10.0
"""What a trial waits less than this in all its epochs is not worth loading processes, which take seconds to start."""

RECENT = 3
"""So many of a trial's newest epochs tell how it goes now: loading processes may have been added before."""

ADVICE = (
    "give trials more CPUs than training.threads ([resources] cpus), which then load, or set "
    "training.spatial_transform = 'fast'"
)
"""What a person does about it. The second makes other trials, since it moves numbers."""


@dataclass(frozen=True, slots=True)
class InputWait:
    """How a trial's input keeps up: the share of its newest epochs' time in which steps waited, and whether it is so
    much that a person should know."""

    share: float
    bound: bool


def input_wait(epochs: Sequence[Epoch], planned: int) -> InputWait | None:
    """How the input of a trial keeps up; None where no epoch was measured.

    Args:
        epochs: those that it has trained, in order.
        planned: how many it is to train.
    """
    newest = epochs[-RECENT:]
    share = waiting_share(newest)
    if share is None:
        return None
    each = sum(epoch.waited or 0.0 for epoch in newest) / len(newest)
    return InputWait(share, is_bound(share, each * planned))


def waiting_share(epochs: Sequence[Epoch]) -> float | None:
    """The share of the epochs' time in which their steps waited for batches; None where none was measured."""
    measured = [(epoch.waited, epoch.seconds) for epoch in epochs if epoch.waited is not None and epoch.seconds > 0]
    if not measured:
        return None
    return min(sum(waited for waited, _ in measured) / sum(seconds for _, seconds in measured), 1.0)


def is_bound(share: float, seconds: float) -> bool:
    """Whether a training that waits for this share of its time, and so many seconds in all, needs another input."""
    return share > INPUT_BOUND and seconds > WORTH_SECONDS
