"""Value and gradient of every loss alone against cross entropy's, at the paper's 2D and 3D sizes.

    python benchmarks/losses.py [--rounds 7] [--losses ce dice ...] [--xla] [--memory] [--whole-step]

Prints one JSON object: milliseconds as medians over interleaved rounds, ratios to `ce` as medians over the rounds'
own ratios with their smallest and largest. Beside ours stands Keras' `CategoricalCrossentropy`, which a user would pick
instead. With --memory each loss's peak in a process of its own, above what it holds with the same inputs, as a multiple
of the softmax output. With --whole-step a training step of a 2D U-Net (16 filters), with the 95%
interval of the ratio's median by bootstrap.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from workers import losses, networks
from workers.spec import ModelSpec

SHAPES = {"2d": (2, 288, 384, 2), "3d": (2, 96, 96, 96, 2)}
KERAS = "keras CategoricalCrossentropy"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--losses", nargs="*", default=[*losses.names(), KERAS])
    parser.add_argument("--shapes", nargs="*", choices=tuple(SHAPES), default=list(SHAPES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--xla", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--whole-step", action="store_true")
    parser.add_argument("--peak-of", nargs=2, metavar=("LOSS", "SHAPE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    if arguments.peak_of:
        print(peak(*arguments.peak_of))
        return
    chosen = list(dict.fromkeys(["ce", *arguments.losses]))
    result: dict[str, Any] = {"machine": machine(arguments.threads), "xla": arguments.xla, "rounds": arguments.rounds}
    for key in arguments.shapes:
        result[key] = alone(chosen, SHAPES[key], arguments.rounds, xla=arguments.xla)
        if arguments.memory:
            result[key]["extra_memory_in_outputs"] = memory(chosen, key)
    if arguments.whole_step:
        result["whole_step_2d"] = whole_step([n for n in chosen if n != KERAS], arguments.rounds)
    print(json.dumps(result, indent=1))


def inputs(shape: tuple[int, ...]) -> tuple[tf.Tensor, tf.Tensor]:
    """Truth with a foreground of a tenth, and the softmax of random logits that lean towards it."""
    rng = np.random.default_rng(0)
    truth = np.eye(shape[-1], dtype=np.float32)[(rng.random(shape[:-1]) < 0.1).astype(int)]
    prediction = tf.nn.softmax(rng.standard_normal(shape, dtype=np.float32) + 2 * truth)
    return tf.constant(truth), prediction


def value_and_gradient(name: str, *, xla: bool = False) -> Callable[[tf.Tensor, tf.Tensor], Any]:
    """A compiled step whose continuous parameters are graph inputs, as in training."""
    if name == KERAS:
        keywords: dict[str, tf.Tensor] = {}
        make = keras.losses.CategoricalCrossentropy
    else:
        values = losses.resolve_parameters(name)
        keywords = {k: tf.constant(values[k], tf.float32) for k in losses.graph_parameters(name)}

        def make(**tensors: Any) -> Any:
            return losses.get_loss(name, **tensors)

    @tf.function(jit_compile=xla)
    def step(truth: tf.Tensor, prediction: tf.Tensor, tensors: dict[str, tf.Tensor]) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(prediction)
            value = make(**tensors)(truth, prediction)
        return value, tape.gradient(value, prediction)

    return lambda truth, prediction: step(truth, prediction, keywords)


def alone(names: list[str], shape: tuple[int, ...], rounds: int, *, xla: bool) -> dict[str, Any]:
    truth, prediction = inputs(shape)
    steps = {}
    refused = {}
    for name in names:
        step = value_and_gradient(name, xla=xla)
        try:
            step(truth, prediction)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            refused[name] = str(error).splitlines()[0]
            continue
        steps[name] = step
    times = interleaved({n: lambda s=s: s(truth, prediction)[0].numpy() for n, s in steps.items()}, rounds)
    return {"shape": list(shape), "refused_by_xla": refused, **ratios(times)}


def whole_step(names: list[str], rounds: int) -> dict[str, Any]:
    truth, _ = inputs((2, 96, 96, 2))
    image = tf.random.stateless_normal((2, 96, 96, 3), (1, 2))
    steps = {}
    for name in names:
        model = networks.build(ModelSpec(base_filters=16), input_shape=(96, 96, 3), classes=2)
        model.compile(keras.optimizers.SGD(0.01), loss=losses.get_loss(name))
        steps[name] = lambda m=model: m.train_on_batch(image, truth)
        steps[name]()
    times = interleaved(steps, rounds)
    report = ratios(times)
    rng = np.random.default_rng(0)
    for name, line in report["losses"].items():
        each = np.array(times[name]) / np.array(times["ce"])
        medians = np.median(rng.choice(each, (2000, len(each))), axis=1)
        line["ratio_interval"] = [round(float(q), 3) for q in np.quantile(medians, (0.025, 0.975))]
    return report


def interleaved(steps: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each step in each round; a round runs every step for at least 50 ms."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            begin, calls = time.perf_counter(), 0
            while calls == 0 or time.perf_counter() - begin < 0.05:
                step()
                calls += 1
            times[name].append((time.perf_counter() - begin) / calls * 1e3)
    return times


def ratios(times: dict[str, list[float]]) -> dict[str, Any]:
    report = {}
    for name, mine in times.items():
        each = [a / b for a, b in zip(mine, times["ce"], strict=True)]
        report[name] = {
            "milliseconds": round(statistics.median(mine), 3),
            "ratio": round(statistics.median(each), 2),
            "smallest": round(min(each), 2),
            "largest": round(max(each), 2),
        }
    return {"losses": report}


def memory(names: list[str], key: str) -> dict[str, float]:
    """Peak memory of one value and gradient above the inputs', in multiples of the softmax output."""
    size = float(np.prod(SHAPES[key])) * 4 / 1024

    def run(name: str) -> float:
        command = [sys.executable, __file__, "--peak-of", name, key]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    return {name: round(run(name) / size, 2) for name in names}


def peak(name: str, key: str) -> float:
    """Growth of this process's peak memory, in KiB, by the first value and gradient of this size.

    An upper bound: preparing the graph for its first run (some MiB) is in it, less what that of two other sizes before
    has brought already. A second run would show nothing, since the allocator keeps what the first took.
    """
    step = value_and_gradient(name)
    for side in (8, 9):
        step(*inputs((2, *(side for _ in SHAPES[key][1:-1]), 2)))
    truth, prediction = inputs(SHAPES[key])
    before = _status("VmRSS")
    step(truth, prediction)
    return _status("VmHWM") - before


def _status(field: str) -> float:
    with open("/proc/self/status") as file:  # noqa: PTH123
        return float(next(line.split()[1] for line in file if line.startswith(field)))


def machine(threads: int) -> dict[str, Any]:
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


if __name__ == "__main__":
    main()
