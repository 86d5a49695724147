"""`python -m workers.plugins FILE`: imports a plug-in and writes, as JSON, what it registers or why it can't be used.

This is the child process of `workers.plugins.describing`.
"""

from __future__ import annotations

import json
import os
import sys

from trials.memory import unlimited_memory
from trials.messages import PluginSource
from workers import losses, networks
from workers.errors import InputError
from workers.plugins.describing import Description
from workers.plugins.errors import PluginError, line_text
from workers.plugins.loading import load_plugin


def description(plugin: PluginSource) -> Description:
    """What a loaded plug-in registers, in a form that JSON can hold.

    Raises:
        PluginError: one of its losses fails on a small image, or is no scalar with a finite gradient.
    """
    imported = "tensorflow" in sys.modules
    for name in plugin.names.get("losses", ()):
        try_loss(name, plugin.reference)
    return {
        "tensorflow": imported,
        "losses": [
            {
                "name": loss.name,
                "kind": loss.kind,
                "doc": loss.doc,
                "xla": loss.xla,
                "parameters": [p.to_dict() for p in loss.parameters],
            }
            for loss in map(losses.definition, plugin.names.get("losses", ()))
        ],
        "networks": [
            {"name": network.name, "doc": network.doc, "dimensions": list(network.dimensions)}
            for network in map(networks.definition, plugin.names.get("networks", ()))
        ],
        "names": {kind: list(names) for kind, names in plugin.names.items()},
    }


def try_loss(name: str, reference: str) -> None:
    """Value and gradient of a loss with its defaults on one small image, before hours are spent on it.

    Raises:
        PluginError: it fails, or it is no scalar with a finite gradient.
    """
    import numpy as np
    import tensorflow as tf

    values = losses.resolve_parameters(name).values()
    classes = max([len(v) for v in values if isinstance(v, tuple)], default=2)
    labels = np.arange(64).reshape(1, 8, 8) % classes
    truth = tf.constant(np.eye(classes, dtype=np.float32)[labels])
    prediction = 0.5 * truth + 0.5 / classes
    try:
        with tf.GradientTape() as tape:
            tape.watch(prediction)
            value = losses.get_loss(name)(truth, prediction)
        gradient = tape.gradient(value, prediction)
    # A user's function may raise anything; the error names the plug-in.
    except Exception as error:
        where = f"plug-in {reference}{line_text(error, reference)}"
        raise PluginError(f"{where}: loss {name!r}: {type(error).__name__}: {error}") from error
    if not tf.is_tensor(value) or value.shape.rank != 0:
        raise PluginError(f"plug-in {reference}: loss {name!r} returns {value!r}; a scalar tensor is needed")
    if gradient is None or not bool(tf.reduce_all(tf.math.is_finite(gradient))):
        raise PluginError(f"plug-in {reference}: loss {name!r} has no finite gradient in the prediction")


def main() -> None:
    """Answers on the standard output alone; what the plug-in prints goes to the standard error."""
    unlimited_memory()  # TensorFlow needs more than what a plan may have
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    found: Description | dict[str, str]
    try:
        found = description(load_plugin(sys.argv[1]))
    except InputError as error:
        found = {"error": str(error)}
    with answer:
        json.dump(found, answer)


if __name__ == "__main__":
    main()
