"""`python -m workers.plugins.checking FILE`: the checks of each loss that a plug-in registers, a line for each.

The child process of `sweeper losses check`: it imports TensorFlow.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from trials.memory import unlimited_memory
from workers.conformance import ConformanceError
from workers.errors import InputError, ParameterError
from workers.plugins.loading import load_plugin

SHAPE = (2, 96, 128, 2)
ROUNDS = 15
WANTED = 4.0
"""How many times cross entropy's time a loss of ours may take (docs/losses.md, Cost)."""


def main() -> None:
    """Ends with status 1 where a check does not hold, 2 where there is nothing to check."""
    unlimited_memory()
    try:
        names = load_plugin(sys.argv[1]).names.get("losses", ())
        if not names:
            raise ParameterError(f"plug-in {sys.argv[1]} registers no loss; see docs/recipes/loss.md")
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    hold = [_checked(name) for name in names]
    sys.exit(0 if all(hold) else 1)


def _checked(name: str) -> bool:
    from workers.losses.conformance import loss_checks

    holds = True
    for check, run in loss_checks(name).items():
        try:
            run()
        except ConformanceError as error:
            holds = False
            _say(f"{name}: fails   {check.replace('_', ' ')}: {error}")
        else:
            _say(f"{name}: holds   {check.replace('_', ' ')}")
    _say(f"{name}: cost    {_measured(_cost, name)}")
    _say(f"{name}: memory  {_measured(_memory, name)}")
    return holds


def _measured(measure: Callable[[str], str], name: str) -> str:
    """What a measurement says, or why there is none: a loss that fails a check may not run at all."""
    try:
        return measure(name)
    except Exception as error:  # noqa: BLE001 - whatever a plug-in raises
        first = (str(error).strip().splitlines() or [""])[0]
        return f"not measured: {type(error).__name__}: {first}"


def _cost(name: str) -> str:
    """The time, and whether it is more than is wanted: no reason to fail, since a time is that of one machine."""
    ratio = _ratio(name)
    verdict = "within" if ratio <= WANTED else "above"
    return f"value and gradient take {ratio:.1f} times those of ce, {verdict} the {WANTED:g} that are wanted at most"


def _memory(name: str) -> str:
    return " and ".join(f"{_extra(loss):.1f} times the softmax output ({loss})" for loss in (name, "ce"))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _ratio(name: str) -> float:
    """Median time of value and gradient against cross entropy's, in turns; maps of the truth come with the batch."""
    import tensorflow as tf

    from workers.losses.cost import inputs, truth_map
    from workers.losses.registry import get_loss

    truth, prediction = inputs(SHAPE)

    def compiled(loss: str) -> tf.types.experimental.PolymorphicFunction:
        function, maps = get_loss(loss), truth_map(loss, truth.numpy())
        more = {} if maps is None else {"truth_map": tf.constant(maps)}

        def step(p: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(p)
                value = function(truth, p, **more)
            return tape.gradient(value, p)

        return tf.function(step)

    steps = [compiled(name), compiled("ce")]
    ratios = []
    for _ in range(ROUNDS + 1):
        seconds = []
        for step in steps:
            begin = time.perf_counter()
            step(prediction).numpy()
            seconds.append(time.perf_counter() - begin)
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios[1:])  # the first traces


def _extra(name: str) -> float:
    """Memory of value and gradient, in multiples of the softmax output."""
    from workers.losses.cost import extra_memory, graph_values, inputs, truth_map
    from workers.losses.registry import get_loss

    maps = truth_map(name, inputs(SHAPE)[0].numpy())
    return extra_memory(lambda tensors: get_loss(name, **tensors), graph_values(name), maps, SHAPE)


if __name__ == "__main__":
    main()
