"""How long training waits for the checkpoint of a large network, as a share of an epoch of 10 s.

    python -m benchmarks.checkpoint [--setting quick|normal|long]

The network has the 31 million parameters of the paper's 2D U-Net (124 MB in float32), without momentum. Each epoch is
the best so far, which is the dearest case: its weights have to stay when its checkpoint goes. Training waits while they
are copied; they go to the disk while the next epoch trains. How long that takes is told beside it, what of it is the
processor's (which a training on all cores of a CPU does without), and how long the same bytes alone take to the disk,
which nothing that survives a power cut can do without.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks import harness
from benchmarks.harness import ROUNDS, Measured, Setting
from workers.training.checkpoints import Checkpoint, CheckpointFolder
from workers.training.saving import Saving

PARAMETERS = {Setting.QUICK: 100_000, Setting.NORMAL: 31_000_000, Setting.LONG: 31_000_000}
LAYERS = 50
EPOCH = 10.0
"""Seconds."""


def measure(setting: Setting) -> Measured:
    each = PARAMETERS[setting] // LAYERS
    random = np.random.default_rng(0)
    variables = [tf.Variable(random.normal(size=each).astype(np.float32)) for _ in range(LAYERS)]
    saved: dict[str, list[float]] = {"seconds": [], "processor": []}
    with tempfile.TemporaryDirectory(prefix="sweeper-bench-", dir=Path(__file__).parent) as folder:
        checkpoints, numbers = CheckpointFolder(Path(folder)), iter(range(1, 1000))

        def save() -> float:
            """Seconds for which training waits; those until the checkpoint is on the disk are kept beside."""
            begin, state = time.perf_counter(), {"plateau": {"best_epoch": 1}, "history": []}
            checkpoint = Checkpoint(next(numbers), tuple(one.numpy() for one in variables), (), state)
            with Saving() as saving:
                saving.begin(lambda: keep(checkpoint))
                waited = time.perf_counter() - begin
            saved["seconds"].append(time.perf_counter() - begin)
            return waited

        def keep(checkpoint: Checkpoint) -> None:
            begin = time.thread_time()
            checkpoints.save(checkpoint, best=True)
            saved["processor"].append(time.thread_time() - begin)

        def write() -> float:
            begin = time.perf_counter()
            with (Path(folder) / "plain").open("wb") as file:
                for variable in variables:
                    file.write(variable.numpy().data)
                file.flush()
                os.fsync(file.fileno())
            return time.perf_counter() - begin

        found = harness.interleaved({"wait": save, "write": write}, ROUNDS)
    medians = {name: harness.number(float(np.median(seconds))) for name, seconds in (found | saved).items()}
    detail = f"{medians['wait']} s; on the disk after {medians['seconds']} s, {medians['processor']} s of them the "
    detail += f"processor's; its bytes alone, brought to the disk, {medians['write']} s"
    what = f"waiting for the checkpoint of a network of {PARAMETERS[setting] / 1e6:g} million parameters"
    share = [100 * one / EPOCH for one in found["wait"]]
    return Measured(
        [harness.amount(what, share, "% of an epoch of 10 s", goal=("≤", 2.0), detail=detail)], found | saved
    )


if __name__ == "__main__":
    sys.exit(harness.main("checkpoint", __doc__ or "", measure))
