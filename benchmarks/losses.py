"""Value and gradient of every loss alone against cross entropy's, at the paper's 2D and 3D sizes; and whole steps.

    python -m benchmarks.losses [--losses NAME …] [--xla]

Each loss as a training step calls it: compiled, γ and other parameters as inputs, the distance map of `boundary` with
the batch (what that costs the loading thread is a row of its own). One thread. With `--losses`, those alone, as a list
of times. Beside ours stands Keras' `CategoricalCrossentropy`, which a user would pick instead: 6 to 9 times our cross
entropy, against which the ratios are.

Extra memory is the highest sum of live allocations in one value and gradient, from TensorFlow's own records, above the
inputs and in multiples of the softmax output; the gradient itself is one of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from benchmarks import harness
from benchmarks.harness import Measured, Row, Setting
from trials.spec import DataSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec
from workers import losses
from workers.losses import cost
from workers.losses.cost import inputs
from workers.losses.distances import signed_distances
from workers.training.learner import Learner, LossInput

SHAPES = {"2D": (2, 288, 384, 2), "3D": (2, 96, 96, 96, 2)}
SMALL = {"3D": (2, 12, 12, 12, 2)}
KERAS = "Keras' CategoricalCrossentropy"
ROUNDS = 25
"""Of losses alone: each takes a twentieth of a second, in which a shared machine may do half as much as in the next."""
STEPPED = ("ce", "dice", "hybrid_focal", "unified_focal_asym", "dice_topk", "boundary")
"""Losses of the whole steps: tracing each takes seconds."""
FILTERS = 16


DEAR = ("lovasz_softmax", "hausdorff_erosion", "cldice_dice", "exponential_logarithmic")
"""Losses that sort, or look at neighbours many times, or take more powers: docs/losses.md has their cost and why."""


def measure(setting: Setting) -> Measured:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    rounds = 2 if setting == Setting.QUICK else ROUNDS
    every = [name for name in losses.names() if name not in DEAR]
    names = ["ce", "unified_focal_asym", "boundary"] if setting == Setting.QUICK else every
    rows: list[Row] = []
    raw: dict[str, Any] = {}
    for size, shape in (SMALL if setting == Setting.QUICK else SHAPES).items():
        for xla in (False, True):
            seconds = raw[f"{size}, XLA {xla}"] = alone([*names, KERAS], shape, rounds, xla=xla)
            rows += costliest(f"{size}, XLA {'on' if xla else 'off'}", seconds)
        extra = raw[f"{size}, extra memory"] = {name: extra_memory(name, shape) for name in [*names, KERAS]}
        rows.append(most_memory(size, extra))
        maps = harness.interleaved({"map": harness.seconds_of(lambda s=shape: distance_map(s))}, rounds)["map"]  # type: ignore[misc]
        raw[f"{size}, distance map"] = maps
        what = f"distance map of `boundary` for one {'×'.join(map(str, shape[1:-1]))} sample, in the loading thread"
        rows.append(harness.amount(what, [1e3 * s for s in maps], "ms"))
    filters = 4 if setting == Setting.QUICK else FILTERS
    seconds = raw["whole steps"] = whole_steps([n for n in STEPPED if n in names], min(rounds, 15), filters)
    rows += (stepped(name, seconds, filters) for name in ("unified_focal_asym", "boundary"))
    return Measured(rows, raw)


def costliest(where: str, seconds: dict[str, list[float]]) -> list[Row]:
    """The costliest of the paper's losses and of the others."""
    rows = []
    for whose, paper in (("the paper's losses", True), ("the other losses", False)):
        of_kind = [n for n in seconds if n not in (KERAS, "ce") and losses.definition(n).paper is paper]
        ratios = {n: statistics.median(a / b for a, b in zip(seconds[n], seconds["ce"], strict=True)) for n in of_kind}
        if not ratios:
            continue
        name = max(ratios, key=ratios.__getitem__)
        detail = f"`{name}`, {milliseconds(seconds[name])} against {milliseconds(seconds['ce'])} ms"
        what = f"value and gradient, {where}, the costliest of {whose}"
        rows.append(harness.costs(what, "`ce`", seconds[name], seconds["ce"], goal=4.0, detail=detail))
    return rows


def most_memory(size: str, extra: dict[str, float]) -> Row:
    name = max((n for n in extra if n != KERAS), key=extra.__getitem__)
    detail = f"`{name}`; {KERAS} {harness.number(extra[KERAS])}"
    what = f"extra memory of a loss, {size}, the largest"
    return harness.amount(what, [extra[name]], "× the softmax output", goal=("≤", 3.0), detail=detail)


def milliseconds(seconds: Sequence[float]) -> str:
    return harness.number(round(1e3 * statistics.median(seconds), 3))


def truth_map(name: str, truth: np.ndarray) -> np.ndarray | None:
    """What the batch brings for the loss besides its labels."""
    return None if name == KERAS else cost.truth_map(name, truth)


def distance_map(shape: tuple[int, ...]) -> None:
    """Of a ball: what is segmented is in one place, not strewn as in `inputs`."""
    places = np.indices(shape[1:-1]).T - np.array(shape[1:-1]) / 2
    signed_distances(((min(shape[1:-1]) / 4) ** 2 > np.square(places).sum(-1).T).astype(np.uint8), 2)


def made(name: str, tensors: dict[str, Any]) -> Callable[..., Any]:
    function: Callable[..., Any] = (
        keras.losses.CategoricalCrossentropy() if name == KERAS else losses.get_loss(name, **tensors)
    )
    return function


def parameters(name: str) -> dict[str, Any]:
    """The parameters that are inputs of the graph."""
    return {} if name == KERAS else cost.graph_values(name)


def value_and_gradient(name: str, *, xla: bool) -> Callable[..., Any]:
    @tf.function(jit_compile=xla, autograph=False)  # type: ignore[untyped-decorator]
    def step(truth: Any, prediction: Any, tensors: Any, maps: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(prediction)
            value = made(name, tensors)(truth, prediction, **maps)
        return value, tape.gradient(value, prediction)

    return step  # type: ignore[no-any-return]


def alone(names: Sequence[str], shape: tuple[int, ...], rounds: int, *, xla: bool) -> dict[str, list[float]]:
    """Seconds of one value and gradient of each loss in each round."""
    truth, prediction = inputs(shape)
    runs = {}
    for name in names:
        step = value_and_gradient(name, xla=xla)
        tensors = {k: tf.constant(v) for k, v in parameters(name).items()}
        found = truth_map(name, truth.numpy())
        maps = {} if found is None else {"truth_map": tf.constant(found)}

        def call(step: Any = step, tensors: Any = tensors, maps: Any = maps) -> None:
            step(truth, prediction, tensors, maps)[0].numpy()

        call()
        runs[name] = harness.seconds_of(call, at_least=0.05)
    return harness.interleaved(runs, rounds)


def extra_memory(name: str, shape: tuple[int, ...]) -> float:
    """Highest sum of live allocations of one value and gradient, in multiples of the softmax output."""
    return cost.extra_memory(partial(made, name), parameters(name), truth_map(name, inputs(shape)[0].numpy()), shape)


def whole_steps(names: Sequence[str], rounds: int, filters: int) -> dict[str, list[float]]:
    """Seconds of a training step of a 2D U-Net with so many filters on two images of 96×96."""
    truth, _ = inputs((2, 96, 96, 2))
    labels = truth.numpy().argmax(-1).astype(np.uint8)
    images = np.random.default_rng(1).standard_normal((2, 96, 96, 3), dtype=np.float32)
    model, training = ModelSpec(base_filters=filters), TrainingSpec()
    learner = Learner(model, training, (96, 96, 3), 2)
    learner.reset(0)
    runs = {}
    for name in names:
        data = DataSpec("benchmark", ("background", "x"), 2)
        loss = LossInput(TrialSpec(data, LossSpec(name, losses.resolve_parameters(name)), model, training))
        found = truth_map(name, truth.numpy())
        batch = (images, labels) if found is None else (images, labels, found)

        def call(loss: LossInput = loss, batch: Any = batch) -> None:
            learner.train_epoch(loss, [batch] * 3, 0.01)

        call()
        runs[name] = harness.seconds_of(call)
    return {name: [s / 3 for s in values] for name, values in harness.interleaved(runs, rounds).items()}


def stepped(name: str, seconds: dict[str, list[float]], filters: int) -> Row:
    """The ratio of whole steps; its spread is the 95% interval of the median by bootstrap."""
    each = np.array(seconds[name]) / np.array(seconds["ce"])
    medians = np.median(np.random.default_rng(0).choice(each, (2000, len(each))), axis=1)
    low, high = (float(q) for q in np.quantile(medians, (0.025, 0.975)))
    what = f"whole training step with `{name}`, 2D U-Net of {filters} filters, 2×96×96 (95% interval)"
    return Row(what, "`ce`", float(np.median(each)), low, high, detail=f"{milliseconds(seconds[name])} ms")


def some() -> int:
    """A list of times of the chosen losses."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.losses")
    parser.add_argument("--losses", nargs="+", required=True, choices=losses.names(), metavar="NAME")
    parser.add_argument("--xla", action="store_true")
    chosen = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    names = list(dict.fromkeys(["ce", *chosen.losses, KERAS]))
    for size, shape in SHAPES.items():
        seconds = alone(names, shape, ROUNDS, xla=chosen.xla)
        for name in names:
            row = harness.costs(name, "ce", seconds[name], seconds["ce"], goal=None)
            memory = harness.number(extra_memory(name, shape))
            print(f"{size} {name:32} {milliseconds(seconds[name]):>6} ms {row.value:6.2f} × ce, memory {memory}")
    return 0


if __name__ == "__main__":
    sys.exit(some() if "--losses" in sys.argv else harness.main("losses", __doc__, measure))
