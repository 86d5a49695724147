"""What a loss costs beside its value: the inputs of a measurement, and the memory that it takes. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from workers.losses.registry import definition, graph_parameters, resolve_parameters
from workers.tensors import Tensor


def inputs(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Truth with a foreground of a tenth, and the softmax of random logits that lean towards it."""
    rng = np.random.default_rng(0)
    truth = np.eye(shape[-1], dtype=np.float32)[(rng.random(shape[:-1]) < 0.1).astype(int)]
    prediction = tf.nn.softmax(rng.standard_normal(shape, dtype=np.float32) + 2 * truth)
    return tf.constant(truth), prediction


def truth_map(name: str, truth: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """What the batch brings for the loss besides its labels."""
    line = definition(name)
    if not line.truth_map:
        return None
    values = resolve_parameters(name)
    function = partial(line.load_truth_map(), **{keyword: values[keyword] for keyword in line.truth_map_parameters})
    return np.stack([function(labels, truth.shape[-1]) for labels in truth.argmax(-1).astype(np.uint8)])


def graph_values(name: str) -> dict[str, NDArray[np.float32]]:
    """The defaults of the parameters that are inputs of the graph."""
    values = resolve_parameters(name)
    return {keyword: np.asarray(values[keyword], np.float32) for keyword in graph_parameters(name)}


def extra_memory(
    make: Callable[[dict[str, Tensor]], Callable[..., Tensor]],
    values: Mapping[str, NDArray[np.float32]],
    maps: NDArray[np.float32] | None,
    shape: tuple[int, ...],
) -> float:
    """Highest sum of live allocations of one value and gradient, from TensorFlow's records, without the inputs.

    Args:
        make: The loss of the parameters that are inputs of the graph.
        values: Their values.
        maps: What comes with the batch; see `truth_map`.
        shape: Of the softmax output.

    Returns:
        Multiples of the softmax output; the gradient itself is one of them.
    """
    truth, prediction = (array.numpy() for array in inputs(shape))
    v1: Any = tf.compat.v1
    with tf.Graph().as_default(), v1.Session(config=v1.ConfigProto(inter_op_parallelism_threads=1)) as session:
        feeds = {v1.placeholder(tf.float32, shape): array for array in (truth, prediction)}
        given, predicted = feeds
        tensors = {k: v1.placeholder_with_default(v, v.shape) for k, v in values.items()}
        more = {}
        if maps is not None:
            more["truth_map"] = v1.placeholder(tf.float32, maps.shape)
            feeds[more["truth_map"]] = maps
        value = make(tensors)(given, predicted, **more)
        wanted = [value, tf.gradients(value, predicted)[0].op]
        session.run(wanted, feeds)
        records = v1.RunMetadata()
        options = v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE)
        session.run(wanted, feeds, options=options, run_metadata=records)
    changes = [
        (record.alloc_micros, -record.alloc_bytes)
        for device in records.step_stats.dev_stats
        for node in device.node_stats
        for memory in node.memory
        for record in memory.allocation_records
    ]
    live = highest = 0
    for _, freed in sorted(changes):  # within one microsecond, what is taken comes before what is given back
        live -= freed
        highest = max(highest, live)
    return highest / (4.0 * float(np.prod(shape)))
