"""A worker that goes from network to network keeps nothing of those that it dropped."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from tensorflow.python.framework.func_graph import FuncGraph

from trials.spec import DataSpec, LossSpec, ModelSpec, TrialSpec
from workers.losses import resolve_parameters
from workers.training.learner import Learners, LossInput


def graphs() -> int:
    gc.collect()
    return sum(isinstance(o, FuncGraph) for o in gc.get_objects())


@pytest.mark.slow
def test_the_graphs_of_a_dropped_network_are_freed() -> None:
    learners = Learners()
    batch = (np.ones((2, 16, 16, 1), np.float32), np.zeros((2, 16, 16), np.uint8))
    seen = []
    for filters in (2, 3, 2):
        for name in ("ce", "dice_topk"):  # both have written-out gradients, which TensorFlow registers for ever
            loss = LossSpec(name, resolve_parameters(name))
            spec = TrialSpec(DataSpec("x", ("background", "x"), 2), loss, ModelSpec(base_filters=filters, depth=1))
            learner = learners.get(spec, (16, 16, 1), 2)
            learner.reset(0)
            learner.train_epoch(LossInput(spec), [batch], 0.1)
        del learner
        seen.append(graphs())
    assert max(seen[1:]) <= seen[0]
