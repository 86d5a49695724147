"""The schedule against Keras' own callbacks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trials.spec import TrainingSpec
from workers.training.plateau import PlateauState, advance

LOSSES = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.35, 0.4, 0.5]), min_size=1, max_size=60)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    losses=LOSSES,
    plateau=st.integers(1, 6),
    stop=st.integers(1, 9),
    min_delta=st.sampled_from([0.0, 0.06]),
)
def test_agrees_with_keras_callbacks(losses: list[float], plateau: int, stop: int, min_delta: float) -> None:
    keras = pytest.importorskip("keras")
    training = TrainingSpec(
        learning_rate=1.0,
        plateau_patience=plateau,
        early_stopping_patience=stop,
        plateau_factor=0.5,
        min_delta=min_delta,
    )
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
    reduce = keras.callbacks.ReduceLROnPlateau(patience=plateau, factor=0.5, min_delta=min_delta)
    early = keras.callbacks.EarlyStopping(patience=stop, min_delta=min_delta)
    for callback in (reduce, early):
        callback.set_model(model)
        callback.on_train_begin()
    model.stop_training = False

    state = PlateauState(1.0)
    for epoch, loss in enumerate(losses, start=1):
        state = advance(state, epoch, loss, training)
        for callback in (reduce, early):
            callback.on_epoch_end(epoch - 1, {"val_loss": loss})
        assert state.learning_rate == pytest.approx(float(model.optimizer.learning_rate), rel=1e-6)
        assert state.stop == model.stop_training
        assert state.wait == early.wait
        if state.stop:
            break
    assert state.best_loss == early.best


def test_first_epoch_is_the_best_so_far() -> None:
    state = advance(PlateauState(0.1), 1, 5.0, TrainingSpec())
    assert (state.best_epoch, state.best_loss, state.stop) == (1, 5.0, False)


def test_an_equal_loss_is_not_better() -> None:
    training = TrainingSpec(early_stopping_patience=2)
    state = PlateauState(0.1)
    for epoch, loss in enumerate([1.0, 1.0, 1.0], start=1):
        state = advance(state, epoch, loss, training)
    assert state.best_epoch == 1
    assert state.stop


def test_starts_from_infinity() -> None:
    assert math.isinf(PlateauState(0.1).best_loss)
