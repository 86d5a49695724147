"""Weighted sums of losses, and weights that move over the epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trials.spec import DataSpec, LossSpec, TrialSpec
from workers import losses
from workers.errors import ParameterError, UnknownNameError
from workers.training.learner import LossInput

RNG = np.random.default_rng(0)
TRUTH = np.eye(3)[RNG.integers(0, 3, (2, 5, 6))]
PREDICTION = RNG.dirichlet([1.0] * 3, (2, 5, 6))


def value(name: str, **parameters: Any) -> float:
    return float(losses.get_loss(name, **parameters)(TRUTH, tf.constant(PREDICTION)))


def spec(name: str, **parameters: Any) -> TrialSpec:
    values = losses.spec_parameters(name, losses.resolve_parameters(name, parameters))
    return TrialSpec(DataSpec("x", ("background", "x", "y"), 2), LossSpec(name, values))


def test_a_sum_is_its_parts_with_their_weights() -> None:
    found = value(
        "tversky+focal", **{"tversky.weight": 0.3, "tversky.alpha": 0.9, "focal.weight": 2.0, "focal.gamma": 1.0}
    )
    assert found == pytest.approx(0.3 * value("tversky", alpha=0.9) + 2.0 * value("focal", gamma=1.0), rel=1e-12)
    # A part that has a weight of its own keeps it.
    found = value("dice_ce+iou", **{"dice_ce.weight": 0.2, "dice_ce.part_weight": 3.0})
    assert found == pytest.approx(3.0 * value("dice_ce", weight=0.2) + value("iou"), rel=1e-12)


def test_each_part_gets_its_map() -> None:
    name = "boundary+cldice_dice+skeleton_recall"
    make = LossInput(spec(name)).truth_maps(3)
    assert make is not None
    assert make.channels == 6
    maps = np.stack([make(x.argmax(-1).astype(np.uint8)) for x in TRUTH])
    found = float(losses.get_loss(name)(TRUTH, tf.constant(PREDICTION), truth_map=maps))  # type: ignore[call-arg]
    assert found == pytest.approx(sum(map(value, name.split("+"))), rel=1e-6)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("dice+dize", {}, "unknown loss 'dize', did you mean 'dice'"),
    ("dice+dice", {}, "each part is another loss"),
    ("dice+ce", {"ce.weight": -1}, "ce.weight = -1 is outside its range, 0 ≤ ce.weight"),
    ("dice+ce", {"dice.weight": 0, "ce.weight": 0}, "every weight is 0"),
    ("dice+ce", {"ce.wait": 1}, "no parameter 'ce.wait', did you mean 'ce.weight'"),
    ("dice+tversky", {"tversky.alpha": 0, "tversky.beta": 0}, "weighs no error at all"),
    ("dice+ce", {"ce.weight_start": 0.5}, "ce.weight_start = 0.5 needs ramp"),
    ("boundary", {"alpha_start": 0.5}, "alpha_start = 0.5 needs ramp"),
]


@pytest.mark.parametrize(("name", "parameters", "message"), WRONG)
def test_a_wrong_sum_is_refused_in_one_line(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises((ParameterError, UnknownNameError), match=message) as raised:
        losses.resolve_parameters(name, parameters)
    assert "\n" not in str(raised.value)


def test_a_weight_moves_in_equal_steps_and_validates_with_its_last_value() -> None:
    loss = LossInput(spec("boundary", alpha=0.9, alpha_start=0.1, ramp=4))
    found = [float(loss.at(epoch).tensors["alpha"]) for epoch in range(1, 8)]
    assert found == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9, 0.9, 0.9])
    assert float(loss.tensors["alpha"]) == pytest.approx(0.9)
    assert loss.at(2).key == loss.key  # one trace for all epochs


def test_the_weights_of_a_sum_move_and_so_do_those_of_its_parts() -> None:
    settings = {"dice.weight": 0.5, "ramp": 2, "boundary.alpha": 1.0, "boundary.ramp": 4}
    loss = LossInput(spec("dice+boundary", **settings))
    moved = loss.at(2).tensors
    assert float(moved["dice.weight"]) == pytest.approx(0.75)
    assert float(moved["boundary.alpha"]) == pytest.approx(0.01 + 0.99 / 4)


def test_a_schedule_that_is_not_used_is_in_no_hash() -> None:
    assert "ramp" not in spec("boundary").loss.parameters
    assert spec("boundary", ramp=3).hash != spec("boundary").hash
    assert LossInput(spec("ce")).at(3).tensors == {}
