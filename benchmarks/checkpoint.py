"""How long training waits for the checkpoint of a large network, as a share of an epoch of 10 s.

    python -m benchmarks.checkpoint [--setting quick|normal|long]

The network has the 31 million parameters of the paper's 2D U-Net (124 MB in float32), without momentum. Each epoch is
the best so far, which is the dearest case: its weights have to stay when its checkpoint goes. Beside it, the same bytes
written and brought to the disk once, which nothing that survives a power cut can do without.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import harness
from benchmarks.harness import ROUNDS, Measured, Setting
from workers.training.checkpoints import Arrays, Checkpoint, CheckpointFolder

PARAMETERS = {Setting.QUICK: 100_000, Setting.NORMAL: 31_000_000, Setting.LONG: 31_000_000}
LAYERS = 50
EPOCH = 10.0
"""Seconds."""


def measure(setting: Setting) -> Measured:
    each = PARAMETERS[setting] // LAYERS
    random = np.random.default_rng(0)
    weights: Arrays = tuple(random.normal(size=each).astype(np.float32) for _ in range(LAYERS))
    with tempfile.TemporaryDirectory(prefix="sweeper-bench-", dir=Path(__file__).parent) as folder:
        checkpoints, numbers = CheckpointFolder(Path(folder)), iter(range(1, 1000))

        def save() -> float:
            begin = time.perf_counter()
            state = {"plateau": {"best_epoch": 1}, "history": []}
            checkpoints.save(Checkpoint(next(numbers), weights, (), state), best=True)
            return time.perf_counter() - begin

        def write() -> float:
            begin = time.perf_counter()
            with (Path(folder) / "plain").open("wb") as file:
                for array in weights:
                    file.write(array.data)
                file.flush()
                os.fsync(file.fileno())
            return time.perf_counter() - begin

        found = harness.interleaved({"save": save, "write": write}, ROUNDS)
    share = [100 * one / EPOCH for one in found["save"]]
    detail = f"{harness.number(float(np.median(found['save'])))} s; its bytes alone, brought to the disk, "
    detail += f"{harness.number(float(np.median(found['write'])))} s"
    what = f"checkpoint of a network of {PARAMETERS[setting] / 1e6:g} million parameters, the best so far"
    return Measured([harness.amount(what, share, "% of an epoch of 10 s", goal=("≤", 2.0), detail=detail)], found)


if __name__ == "__main__":
    sys.exit(harness.main("checkpoint", __doc__ or "", measure))
