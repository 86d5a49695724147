"""Augmented samples per second of one core, against batchgenerators' own loader; and how long a device waits for them.

    python -m benchmarks.pipeline

Ours is what training uses (`workers.training.batches`), with one loading process and shared memory. The others are
`MultiThreadedAugmenter` with one process and the same transforms, interpolation and batch size, in two ways: the patch
cut by `SpatialTransform` out of the whole volume (`random_crop`), as MIScnn does, the paper's library; and the volume
cropped to the patch first, as in batchgenerators' own example, which shows zeros in the corners of a turned patch.

Both sides make the same transforms of the same samples: ours draws them, the others' dice are loaded with what was
drawn. The time is the processor time of all processes together, so that neither waiting nor the transport is hidden.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in a worker: see workers.process.warm

import numpy as np
import psutil
from batchgenerators.augmentations.crop_and_pad_augmentations import crop
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from batchgenerators.transforms.abstract_transforms import Compose
from batchgenerators.transforms.color_transforms import BrightnessMultiplicativeTransform
from batchgenerators.transforms.spatial_transforms import MirrorTransform, SpatialTransform

from benchmarks import harness
from benchmarks.harness import Measured, Row, Setting
from trials.spec import TrainingSpec
from workers.training import augmentation
from workers.training.batches import TrainingBatches

SEED = 1
TICK = 0.01
"""The kernel counts processor time in hundredths of a second."""

STEP_SECONDS = 0.1
"""A training step of the paper's 2D U-Net on a large GPU, simulated by sleeping."""


GOALS = 1.5, 3.0
"""How many times the samples of batchgenerators, with its own interpolation and with `fast`."""


@dataclass(frozen=True, slots=True)
class Task:
    """Cases of one size, and how many samples a round takes from them. `goals` are against the fastest other way."""

    name: str
    shape: tuple[int, ...]
    patch: tuple[int, ...] | None
    samples: int
    goals: tuple[float, float] = GOALS


TASKS = (
    Task("2D 288×384×3", (288, 384, 3), None, 60, (3.5, 8.0)),
    Task("3D patches 96³ of 155×240×240", (155, 240, 240, 1), (96, 96, 96), 8, (3.0, 10.0)),
    Task("3D patches 80×160×160 of 128×248×248", (128, 248, 248, 1), (80, 160, 160), 8),
)


SMALL = (
    Task("2D 48×64×3", (48, 64, 3), None, 4),
    Task("3D patches 16³ of 24×32×32", (24, 32, 32, 1), (16, 16, 16), 4),
)


class Cases:
    """Prepared cases: memory maps of a known shape, as in the prepared folder. It can be pickled."""

    def __init__(self, folder: Path, task: Task, number: int = 4) -> None:
        self.folder, self.shape = folder, task.shape
        self.names = [f"{'x'.join(map(str, task.shape))}-{i}" for i in range(number)]
        rng = np.random.default_rng(0)
        for name in self.names:
            image = rng.standard_normal(task.shape, dtype=np.float32)
            image.tofile(folder / f"{name}-image")
            (image[..., 0] > 1.3).astype(np.uint8).tofile(folder / f"{name}-label")

    def image(self, case: str) -> np.ndarray:
        return np.memmap(str(self.folder / f"{case}-image"), np.float32, mode="r", shape=self.shape)

    def label(self, case: str) -> np.ndarray:
        return np.memmap(str(self.folder / f"{case}-label"), np.uint8, mode="r", shape=self.shape[:-1])

    def foreground(self, case: str) -> np.ndarray:
        return np.zeros((0, self.label(case).ndim), np.int32)


def measure(setting: Setting) -> Measured:
    rounds = 2 if setting == Setting.QUICK else harness.ROUNDS
    rows: list[Row] = []
    raw: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for task in SMALL if setting == Setting.QUICK else TASKS:
            cases = Cases(Path(folder), task)
            raw[task.name] = rates(task, cases, rounds)
            rows += rows_of(task, raw[task.name])
        raw["waits"] = waits(Cases(Path(folder), TASKS[0]), rounds, steps=3 if setting == Setting.QUICK else 25)
    for name, values in raw["waits"].items():
        what = f"waiting for the next 2D batch of two, in steps of 100 ms, {name}"
        rows.append(harness.amount(what, values, "% of a step", goal=("≤", 5)))
    return Measured(rows, raw)


def rates(task: Task, cases: Cases, rounds: int) -> dict[str, list[float]]:
    """Processor seconds per sample of each way in each round."""
    spec = TrainingSpec(patch=task.patch, patches_per_case=math.ceil(task.samples / len(cases.names)))
    if task.patch is None:  # whole images: as many entries as samples
        cases.names = (cases.names * task.samples)[: task.samples]
    deck = typical_epoch(task.samples, spec)
    settings = {"ours": spec, "ours, fast": replace(spec, spatial_transform="fast")}
    loaders = {name: TrainingBatches(cases, cases.names, s, SEED, processes=1) for name, s in settings.items()}
    theirs = {"batchgenerators": Plain(cases, task, spec, deck, crop_first=False)}
    if task.patch is not None and len(set(task.patch)) == 1:  # one size shows it
        theirs["batchgenerators, cropped first"] = Plain(cases, task, spec, deck, crop_first=True)
    epochs = {name: lambda b=b: b.epoch(deck) for name, b in loaders.items()} | {n: p.epoch for n, p in theirs.items()}

    def run(name: str) -> float:
        before, seen = processor_seconds(), 0
        for batch in epochs[name]():
            seen += len(batch[0])
        return max(processor_seconds() - before, TICK) / seen

    try:
        for ours in loaders.values():  # its process starts and imports; theirs are forked
            next(ours.epoch(deck))
        return harness.interleaved({name: lambda name=name: run(name) for name in epochs}, rounds)
    finally:
        for ours in loaders.values():
            ours.close()
        for plain in theirs.values():
            plain.close()


def rows_of(task: Task, seconds: dict[str, list[float]]) -> Iterator[Row]:
    def per_second(name: str) -> str:
        return f"{harness.number(1 / float(np.median(seconds[name])))}"

    theirs = [name for name in seconds if name.startswith("batchgenerators")]
    for name in theirs:
        same, fast = task.goals if name == theirs[-1] else GOALS
        ways = (("ours", same, "the same transforms"), ("ours, fast", fast, '`spatial_transform = "fast"`'))
        against = "`MultiThreadedAugmenter`" + (", patches cropped first" if name.endswith("first") else "")
        for ours, goal, how in ways:
            detail = f"{per_second(ours)} against {per_second(name)} samples a second of one core"
            what = f"input, {task.name}, {how}"
            yield harness.faster(what, against, seconds[ours], seconds[name], goal=goal, detail=detail)


def typical_epoch(samples: int, spec: TrainingSpec) -> int:
    """The epoch whose draws come nearest to the expected numbers of elastic, of other spatial and of no transforms."""
    p = spec.augmentation_probability
    wanted = (samples * p, samples * (1 - p) * (1 - (1 - p) ** 2))

    def distance(epoch: int) -> float:
        drawn = transforms_of(epoch, samples, spec)
        elastic = sum(t.elastic is not None for t in drawn)
        return abs(elastic - wanted[0]) + abs(sum(t.spatial for t in drawn) - elastic - wanted[1])

    return min(range(300), key=distance)


def transforms_of(epoch: int, samples: int, spec: TrainingSpec) -> list[augmentation.Transforms]:
    """What `TrainingBatches` draws for each sample of an epoch."""
    sequences = [np.random.SeedSequence([SEED, epoch, i]).spawn(2)[1] for i in range(samples)]
    return [augmentation.choose(sequence, spec) for sequence in sequences]


class Dice:
    """In place of a probability: `random number < dice` is what was drawn before."""

    def __init__(self, drawn: Sequence[bool]) -> None:
        self._drawn, self._next = drawn, 0

    def __gt__(self, number: float) -> bool:
        self._next += 1
        return self._drawn[(self._next - 1) % len(self._drawn)]


class Plain:
    """`MultiThreadedAugmenter` with one process over the cases; an epoch has as many samples as the deck.

    The loader waits for `epoch` to begin: what it made ahead for the next round would not be counted.
    """

    def __init__(self, cases: Cases, task: Task, spec: TrainingSpec, deck: int, *, crop_first: bool) -> None:
        drawn = transforms_of(deck, task.samples, spec)
        size = task.patch or task.shape[:-1]
        cut = task.patch is not None and not crop_first
        spatial = SpatialTransform(
            size,
            [n // 2 for n in size],
            alpha=augmentation.ELASTIC_ALPHA,
            sigma=augmentation.ELASTIC_SIGMA,
            angle_x=augmentation.ANGLE,
            angle_y=augmentation.ANGLE,
            angle_z=augmentation.ANGLE,
            scale=augmentation.SCALE,
            border_mode_data="constant",
            border_mode_seg="constant",
            order_data=3,
            order_seg=0,
            random_crop=cut,
            p_el_per_sample=Dice([t.elastic is not None for t in drawn]),
            p_rot_per_sample=Dice([t.rotation is not None for t in drawn]),
            p_scale_per_sample=Dice([t.scaling for t in drawn]),
        )
        p = spec.augmentation_probability
        axes = tuple(range(len(size)))[-2:]
        transforms = Compose(
            [
                spatial,
                MirrorTransform(axes=axes, p_per_sample=p),
                BrightnessMultiplicativeTransform(augmentation.BRIGHTNESS, per_channel=True, p_per_sample=p),
            ]
        )
        self._begin = multiprocessing.get_context("fork").Event()
        loader = PlainLoader(cases, task, None if cut or task.patch is None else size, self._begin)
        self._augmenter = MultiThreadedAugmenter(loader, transforms, 1, num_cached_per_queue=2, seeds=[0])

    def epoch(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self._begin.set()
        for batch in self._augmenter:
            yield batch["data"], batch["seg"]

    def close(self) -> None:
        self._augmenter.abort_event.set()
        self._begin.set()
        self._augmenter._finish()


class PlainLoader:
    """A loader as in batchgenerators' examples: batches of two as float32, channels first."""

    def __init__(self, cases: Cases, task: Task, size: Sequence[int] | None, begin: Any) -> None:
        self.cases, self.size, self.begin = cases, size, begin
        self.samples, self.next, self.thread_id = task.samples, 0, 0

    def set_thread_id(self, thread_id: int) -> None:
        self.thread_id = thread_id

    def __iter__(self) -> PlainLoader:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if self.next >= self.samples:
            self.next = 0
            raise StopIteration
        if self.next == 0:
            self.begin.wait()
            self.begin.clear()
        names = [self.cases.names[(self.next + i) % len(self.cases.names)] for i in range(2)]
        self.next += 2
        samples = [self.sample(name) for name in names]
        return {"data": np.stack([d for d, _ in samples]), "seg": np.stack([s for _, s in samples])}

    def sample(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        image = np.moveaxis(self.cases.image(name), -1, 0)
        label = self.cases.label(name)[np.newaxis]
        if self.size is None:
            return np.array(image, dtype=np.float32), np.array(label, dtype=np.float32)
        data, seg = crop(image[np.newaxis], label[np.newaxis], self.size, 0, crop_type="random")
        return data[0].astype(np.float32), seg[0].astype(np.float32)


def processor_seconds() -> float:
    """User and system time of this process and its children that live."""
    me = psutil.Process()
    times = [p.cpu_times() for p in (me, *me.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def waits(cases: Cases, rounds: int, *, steps: int) -> dict[str, list[float]]:
    """Percent of a step that a device of `STEP_SECONDS` waits for its batch, over an epoch with its start."""
    names = (cases.names * 2 * steps)[: 2 * steps]
    ways = {
        "loaded by the thread": TrainingBatches(cases, names, TrainingSpec(), SEED),
        "`fast`, by the thread": TrainingBatches(cases, names, TrainingSpec(spatial_transform="fast"), SEED),
    }

    def run(batches: TrainingBatches) -> float:
        waited, begin = 0.0, time.perf_counter()
        for _ in batches.epoch(1):
            waited += time.perf_counter() - begin
            time.sleep(STEP_SECONDS)
            begin = time.perf_counter()
        return 100 * waited / (steps * STEP_SECONDS)

    return harness.interleaved({name: lambda b=b: run(b) for name, b in ways.items()}, rounds)


if __name__ == "__main__":
    sys.exit(harness.main("pipeline", __doc__, measure))
