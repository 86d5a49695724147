"""Sliding-window prediction of a volume of KiTS19's size, against the way of MIScnn, the paper's library.

    python -m benchmarks.inference

MIScnn can't be installed beside these versions (it asks for TensorFlow 2.4's Keras). `by_collecting` stands for its
`Neural_Network.predict` with `patchwise-grid`: every patch is cut and stacked, every batch predicted and kept, the
predictions are concatenated, then joined axis by axis with the mean of each pair of overlapping ends, and the class is
the argmax. Both use one small network, windows of 80×160×160 with half a window's overlap, two at a time. Memory is the
peak of a process of its own above what it holds with the network (called once) and the volume.
"""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks import harness
from benchmarks.harness import Measured, Setting
from workers.scoring import inference

SHAPE = (128, 248, 248)
"""A case of KiTS19 at the paper's spacing, 3.22×1.62×1.62 mm."""
PATCH, OVERLAP, CLASSES, BATCH = (80, 160, 160), (40, 80, 80), 3, 2
SMALL = ((40, 62, 62), (20, 40, 40), (10, 20, 20))


def measure(setting: Setting) -> Measured:
    shape, patch, overlap = SMALL if setting == Setting.QUICK else (SHAPE, PATCH, OVERLAP)
    rounds = 1 if setting == Setting.QUICK else harness.ROUNDS
    apply, volume = network(patch), image(shape)
    labels = {}

    def run(name: str) -> Callable[[], None]:
        def call() -> None:
            labels[name] = WAYS[name](apply, volume, patch, overlap)

        return call

    for name in WAYS:
        run(name)()
    agree = float((labels["ours"] == labels["theirs"]).mean())
    if agree < 0.97:  # at voxels of several windows the two weigh these differently
        raise RuntimeError(f"only {agree:.1%} of the voxels agree: the two ways don't do the same")
    seconds = harness.interleaved({name: harness.seconds_of(run(name)) for name in WAYS}, rounds)
    peaks = {
        name: [peak_in_a_process(name, setting) for _ in range(1 if setting != Setting.LONG else 5)] for name in WAYS
    }
    windows = math.prod(len(range(0, n - p, p - o)) + 1 for n, p, o in zip(shape, patch, overlap, strict=True))
    what = f"prediction of {'×'.join(map(str, shape))} in {windows} windows"
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    rows = [
        harness.costs(
            f"{what}, time",
            "MIScnn's way",
            seconds["ours"],
            seconds["theirs"],
            goal=1.0,
            detail=f"{harness.number(medians['ours'])} against {harness.number(medians['theirs'])} s",
        ),
        harness.costs(
            f"{what}, peak memory",
            "MIScnn's way",
            peaks["ours"],
            peaks["theirs"],
            goal=0.5,
            detail=f"{peaks['ours'][0]:.0f} against {peaks['theirs'][0]:.0f} MiB",
        ),
    ]
    return Measured(rows, {"seconds": seconds, "peak_mib": peaks, "voxels_that_agree": agree})


def image(shape: Sequence[int]) -> np.ndarray:
    """A volume with structures of a few voxels."""
    noise = np.random.default_rng(0).standard_normal([math.ceil(n / 8) for n in shape], dtype=np.float32)
    for axis in range(3):
        noise = np.repeat(noise, 8, axis=axis)
    return noise[tuple(slice(n) for n in shape)][..., np.newaxis].copy()


def network(patch: Sequence[int]) -> inference.Apply:
    """A small 3D U-Net that was called once."""
    import tensorflow as tf

    from trials.spec import ModelSpec
    from workers import networks

    spec = ModelSpec(networks.default_model(3).name, base_filters=2, depth=1)
    model = networks.build(spec, input_shape=(*patch, 1), classes=CLASSES)
    model.set_weights(networks.initial_weights(model, 0))
    compiled = tf.function(lambda images: model(images, training=False), autograph=False)

    def apply(patches: np.ndarray) -> np.ndarray:
        values: np.ndarray = compiled(tf.constant(patches)).numpy()
        return values

    apply(np.zeros((BATCH, *patch, 1), np.float32))
    return apply


def ours(apply: inference.Apply, volume: np.ndarray, patch: Sequence[int], overlap: Sequence[int]) -> np.ndarray:
    return inference.predict_labels(apply, volume, patch=patch, overlap=overlap, classes=CLASSES, batch=BATCH)


def by_collecting(
    apply: inference.Apply, volume: np.ndarray, patch: Sequence[int], overlap: Sequence[int]
) -> np.ndarray:
    """All patches, then all predictions, then one volume."""
    starts = [_starts(n, p, o) for n, p, o in zip(volume.shape, patch, overlap, strict=False)]
    corners = itertools.product(*starts)
    cut = [volume[tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True))] for corner in corners]
    patches = np.stack(cut, axis=0)
    batches = [patches[first : first + BATCH] for first in range(0, len(patches), BATCH)]
    predicted = np.concatenate([apply(batch) for batch in batches], axis=0)
    joined = _joined(predicted, starts, patch, 0)
    labels: np.ndarray = np.argmax(joined, axis=-1)
    return labels


WAYS: dict[str, Callable[..., np.ndarray]] = {"ours": ours, "theirs": by_collecting}


def _starts(size: int, window: int, overlap: int) -> list[int]:
    steps = math.ceil((size - overlap) / (window - overlap))
    return [min(i * (window - overlap), size - window) for i in range(steps)]


def _joined(patches: np.ndarray, starts: list[list[int]], window: Sequence[int], axis: int) -> np.ndarray:
    """One array of the patches in order of their corners, joined along the last axis first."""
    parts = patches
    if axis < len(starts) - 1:
        each = len(patches) // len(starts[axis])
        groups = [patches[i * each : (i + 1) * each] for i in range(len(starts[axis]))]
        parts = [_joined(group, starts, window, axis + 1) for group in groups]  # type: ignore[assignment]
    result: np.ndarray = parts[0]
    for i in range(1, len(parts)):
        shared = starts[axis][i - 1] + window[axis] - starts[axis][i]
        before, after = np.split(result, [result.shape[axis] - shared], axis=axis)
        both, rest = np.split(parts[i], [shared], axis=axis)
        result = np.concatenate((before, np.mean((after, both), axis=0), rest), axis=axis)
    return result


def peak_in_a_process(name: str, setting: Setting) -> float:
    """MiB at most above what the process holds with network and volume."""
    command = [sys.executable, "-c", f"from benchmarks.inference import peak; peak({name!r}, {setting.value!r})"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def peak(name: str, setting: str) -> None:
    shape, patch, overlap = SMALL if setting == Setting.QUICK else (SHAPE, PATCH, OVERLAP)
    apply, volume = network(patch), image(shape)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: the network's first call is not counted
    before = _status("VmRSS")
    WAYS[name](apply, volume, patch, overlap)
    print((_status("VmHWM") - before) / 1024)


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(field)))


if __name__ == "__main__":
    sys.exit(harness.main("inference", __doc__, measure))
