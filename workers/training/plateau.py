"""When the learning rate falls and when training stops: the paper's two rules as one pure state machine.

Equal, epoch for epoch, to Keras' `ReduceLROnPlateau` and `EarlyStopping` on the validation loss (a test holds them
against each other), but with a state that a checkpoint can keep: Keras' callbacks forget theirs at `on_train_begin`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from trials.spec import TrainingSpec


@dataclass(frozen=True, slots=True)
class PlateauState:
    """State after `epoch` epochs. `wait` counts epochs since the best, `rate_wait` those since the rate last fell."""

    learning_rate: float
    best_loss: float = math.inf
    best_epoch: int = 0
    wait: int = 0
    rate_wait: int = 0
    stop: bool = False


def advance(state: PlateauState, epoch: int, val_loss: float, training: TrainingSpec) -> PlateauState:
    """The state after an epoch (counted from 1) that ended with `val_loss`.

    A loss counts as better when it is below the best by more than `min_delta`. After `plateau_patience` epochs without
    a better one the learning rate is multiplied by `plateau_factor`; after `early_stopping_patience`, `stop` is set.
    """
    if val_loss < state.best_loss - training.min_delta:
        return replace(state, best_loss=val_loss, best_epoch=epoch, wait=0, rate_wait=0)
    wait, rate_wait, learning_rate = state.wait + 1, state.rate_wait + 1, state.learning_rate
    if rate_wait >= training.plateau_patience:
        learning_rate, rate_wait = learning_rate * training.plateau_factor, 0
    return replace(
        state,
        learning_rate=learning_rate,
        wait=wait,
        rate_wait=rate_wait,
        stop=wait >= training.early_stopping_patience and epoch > 1,
    )
