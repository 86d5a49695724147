"""More loading processes where a training waits for its batches while cores are idle. It moves no number."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Protocol

from trials.input_wait import ADVICE, is_bound
from workers.training.spare import SpareCores

_log = logging.getLogger(__name__)


class Loading(Protocol):
    """What is needed of the training batches; `workers.training.batches.TrainingBatches` has it."""

    @property
    def loaders(self) -> int:
        """The loading processes; 0 where a thread loads."""

    def load_by(self, processes: int) -> bool:
        """Lets so many processes load from the next epoch on; whether there is room for them."""


class InputKeeper:
    """Looks after each epoch whether the input kept up, and adds loading processes where it did not.

    It says in the trial's log what it did; where it can do nothing, what a person can, once. The first epoch, and the
    first after a change, tell nothing: processes start in them.

    Args:
        batches: the training's.
        epochs: how many are trained.
        idle: tells how many cores were idle since it was last asked.
    """

    def __init__(self, batches: Loading, epochs: int, idle: Callable[[], float] | None = None) -> None:
        self._batches, self._epochs = batches, epochs
        self._idle = idle or SpareCores().read
        self._told, self._starting = False, True

    def after(self, epoch: int, waited: float, seconds: float) -> None:
        """An epoch was trained in so many seconds, in `waited` of which its steps waited for their batches."""
        idle = self._idle()
        share = min(waited / seconds, 1.0) if seconds > 0 else 0.0
        starting, self._starting = self._starting, False
        if starting or not is_bound(share, waited * (self._epochs - epoch)):
            return
        before = self._batches.loaders
        wanted = loaders_for(before, share, idle)
        if wanted > before and self._batches.load_by(wanted):
            self._starting = True
            _log.warning(
                "epoch %d waited for its batches for %.0f%% of its time, and %.1f cores were idle: "
                "%d processes load from now on",
                epoch, 100 * share, idle, wanted,
            )  # fmt: skip
        elif not self._told:
            self._told = True
            _log.warning(
                "epoch %d waited for its batches for %.0f%% of its time (input-bound), and there is no idle core or no "
                "memory for a loading process: %s",
                epoch, 100 * share, ADVICE,
            )  # fmt: skip


def loaders_for(now: int, share: float, idle: float) -> int:
    """How many processes should load.

    So many as would have made the batches in time, but no more than there are idle cores for, and at most twice as many
    as now: the next epoch is measured again.

    Args:
        now: the loading processes; 0: a thread loads, which is as fast as one.
        share: of the time in which steps waited, from 0 to 1.
        idle: cores.
    """
    makers = max(now, 1)
    needed = 2 * makers if share >= 0.5 else math.ceil(makers / (1 - share))
    wanted = min(needed, makers + int(idle))
    return wanted if wanted > makers else now
