"""Batches of a trial's training and validation images, prefetched in the background. Imports no TensorFlow.

Every sample follows from (seed, epoch, index) alone. So a resumed trial needs no saved generator state, and the number
of loading threads or processes moves no number.
"""

from __future__ import annotations

import copy
import logging
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from trials.spec import TrainingSpec
from workers.errors import DataError, ParameterError
from workers.training import augmentation
from workers.training.loading import Batch, Batches, ProcessLoader, prefetch
from workers.training.spare import spare_memory

PREFETCHED_BATCHES = 3

LOADER_MEMORY = 400 * 2**20
"""Bytes that a loading process takes beside its batches, with room to spare."""

SHARED_MEMORY = "/dev/shm"  # noqa: S108  it is looked at, and nothing is written there

_ORDER, _VALIDATION = 1, 2  # spawn keys that keep the uses of a seed apart


_log = logging.getLogger(__name__)


class Prepared(Protocol):
    """What is needed of a prepared data set; `workers.datasets.prepared.PreparedDataset` has it."""

    def image(self, case: str) -> np.ndarray:
        """float32 (*spatial, channels), a memory map."""

    def label(self, case: str) -> np.ndarray:
        """uint8 (*spatial), a memory map."""

    def foreground(self, case: str) -> np.ndarray:
        """int32 (n, dimensions): coordinates of a sample of the foreground voxels; n may be 0."""


@dataclass(frozen=True, slots=True)
class TruthMaps:
    """What a loss needs of the truth beyond its one-hot form, computed with the batch rather than on the device.

    `function(labels uint8 (*spatial), classes)` gives float32 (*spatial, `channels`). Loading processes import it.
    """

    function: Callable[[np.ndarray, int], np.ndarray]
    classes: int
    channels: int

    def __call__(self, label: np.ndarray) -> np.ndarray:
        return self.function(label, self.classes)


class _Batches:
    """What training and validation share: shapes, sizes and loading. Subclasses say which samples there are."""

    def __init__(
        self,
        prepared: Prepared,
        cases: Sequence[str],
        training: TrainingSpec,
        seed: int,
        *,
        processes: int = 0,
        truth_maps: TruthMaps | None = None,
    ) -> None:
        if not cases:
            raise DataError("there is no case to make batches of; the split leaves this part empty")
        if seed < 0:
            raise ParameterError(f"seed is {seed}; it must not be negative")
        for name in ("batch_size", "patches_per_case"):
            if getattr(training, name) < 1:
                raise ParameterError(f"{name} is {getattr(training, name)}; it must be at least 1")
        if not 0 <= training.foreground_oversampling <= 1:
            raise ParameterError(
                f"foreground_oversampling is {training.foreground_oversampling}; it must be from 0 to 1"
            )
        self.prepared, self.cases, self.training, self.seed = prepared, tuple(cases), training, seed
        self.shape = _sample_shape(prepared, self.cases, training.patch)
        """(*spatial, channels) of every sample."""
        self._patches = 1 if training.patch is None else training.patches_per_case
        self._truth_maps = truth_maps
        self._loader: ProcessLoader | None = None
        self._begun: tuple[int, Batches] | None = None
        self._asked, self._spare, self._done_without = processes, False, False
        if processes:
            self._loader = self._loading(processes)

    @property
    def samples(self) -> int:
        """Samples in an epoch: cases, times patches per case where patches are drawn."""
        return len(self.cases) * self._patches

    @property
    def steps(self) -> int:
        """Batches in an epoch; the last may be short."""
        return math.ceil(self.samples / self.training.batch_size)

    def epoch(self, epoch: int) -> Batches:
        """The batches of an epoch in order: images float32 (b, *spatial, channels), labels uint8 (b, *spatial).

        With `truth_maps` those of the labels follow, float32 (b, *spatial, n).
        They are made in the background, a few ahead. Leaving the loop early ends that; an error of the background is
        raised here.
        """
        if self._begun is not None and self._begun[0] == epoch:
            (_, batches), self._begun = self._begun, None
            return batches
        self._drop_begun()
        return self._made(epoch)

    def begin(self, epoch: int) -> None:
        """Begins to make the first batches of an epoch, before `epoch` asks for them."""
        self._drop_begun()
        self._begun = epoch, self._made(epoch)

    @property
    def loaders(self) -> int:
        """The loading processes; 0 where a thread loads."""
        return 0 if self._loader is None else self._loader.processes

    def load_by(self, processes: int) -> bool:
        """Lets so many processes load from the next epoch on; whether there is room for them.

        The batches stay what they are. The processes can be done without: where they cannot be started, or one of them
        dies, it goes on as it was begun.
        """
        loader = self._loading(processes)
        if self._done_without or not _has_room(loader):
            return False
        self._drop_begun()
        self._drop_loader()
        self._loader, self._spare = loader, True
        return True

    def _loading(self, processes: int) -> ProcessLoader:
        maker = copy.copy(self)
        maker._loader = maker._begun = None
        maps = self._truth_maps.channels if self._truth_maps else 0
        return ProcessLoader(maker, processes, (self.training.batch_size, *self.shape), maps=maps)

    def _made(self, epoch: int) -> Batches:
        """The batches of an epoch, which the background begins to make at once."""
        if self._loader is None:
            return self._by_thread(epoch, 0)
        if not self._spare:
            return self._loader.batches(epoch, self.steps)
        try:
            return self._by_spare(epoch, self._loader.batches(epoch, self.steps))
        except Exception as error:  # noqa: BLE001  nobody asked for these processes, and it goes on without them
            self._do_without(error)
            return self._made(epoch)

    def _by_thread(self, epoch: int, first: int) -> Batches:
        return prefetch((partial(self.batch, epoch, step) for step in range(first, self.steps)), PREFETCHED_BATCHES)

    def _by_spare(self, epoch: int, batches: Batches) -> Batches:
        given = 0
        try:
            for batch in batches:
                yield batch
                given += 1
        except Exception as error:  # noqa: BLE001  what is wrong with a batch is wrong in the thread, too
            self._do_without(error)
            yield from self._by_thread(epoch, given)

    def _do_without(self, error: Exception) -> None:
        _log.warning("the loading processes that were added are given up: %s", error)
        self._done_without = True
        self._drop_loader()
        self._loader = self._loading(self._asked) if self._asked else None

    def _drop_loader(self) -> None:
        if self._loader is not None:
            self._loader.close()
        self._loader, self._spare = None, False

    def _drop_begun(self) -> None:
        if self._begun is not None:
            self._begun[1].close()
        self._begun = None

    def batch(self, epoch: int, step: int) -> Batch:
        """One batch of an epoch, made in the calling thread."""
        full = (self.training.batch_size, *self.shape[:-1])
        arrays: Batch = np.empty((*full, self.shape[-1]), np.float32), np.empty(full, np.uint8)
        if self._truth_maps is not None:
            arrays = *arrays, np.empty((*full, self._truth_maps.channels), np.float32)
        length = self.fill(epoch, step, arrays)
        return tuple(array[:length] for array in arrays)

    def fill(self, epoch: int, step: int, arrays: Batch) -> int:
        """Makes one batch of an epoch into the arrays of a full one; returns the number of its images."""
        first = step * self.training.batch_size
        order = self._order(epoch)[first : first + self.training.batch_size]
        for place, number in enumerate(order):
            image, label = self._sample(epoch, first + place, int(number))
            arrays[0][place], arrays[1][place] = image, label
            if self._truth_maps is not None:
                arrays[2][place] = self._truth_maps(arrays[1][place])
        return len(order)

    def close(self) -> None:
        """End what loads in the background; may be called twice."""
        self._drop_begun()
        if self._loader is not None:
            self._loader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _order(self, epoch: int) -> np.ndarray:
        """Numbers of the epoch's samples in their order; sample k belongs to case k // patches per case."""
        raise NotImplementedError

    def _sample(self, epoch: int, index: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Image and label of a sample, of any layout and perhaps views of the prepared ones: `fill` copies them."""
        raise NotImplementedError

    def _start(self, case: str, sequence: np.random.SeedSequence) -> tuple[int, ...]:
        """First voxel of a patch: uniform over the volume, or around a foreground voxel as often as asked.

        Along an axis on which the volume is smaller than the patch, the volume lies in the middle of the patch.
        """
        generator = np.random.Generator(np.random.PCG64(sequence))
        centred = generator.random() < self.training.foreground_oversampling
        room = [n - p for n, p in zip(self.prepared.label(case).shape, self.shape[:-1], strict=True)]
        if centred and len(foreground := self.prepared.foreground(case)):
            voxel = foreground[generator.integers(len(foreground))]
            start = [int(v) - p // 2 for v, p in zip(voxel, self.shape[:-1], strict=True)]
        else:
            start = [int(generator.integers(max(r, 0) + 1)) for r in room]
        return tuple(min(max(s, 0), r) if r >= 0 else r // 2 for s, r in zip(start, room, strict=True))


class TrainingBatches(_Batches):
    """Shuffled, augmented batches of the training cases: whole images, or random patches where a patch size is set.

    Args:
        prepared: the prepared data set.
        cases: ids of the training cases.
        training: batch size, patches and augmentation.
        seed: the trial's seed; sample i of epoch e draws from SeedSequence([seed, e, i]) alone.
        processes: loading processes that live until `close`; 0 loads in a thread. For hosts whose GPU outruns a thread.
        truth_maps: what the loss needs of the labels besides, made of each sample after its augmentation.

    Raises:
        DataError: there is no case, or whole images differ in shape.
        ParameterError: a setting is out of its range.
    """

    def _order(self, epoch: int) -> np.ndarray:
        sequence = np.random.SeedSequence([self.seed, epoch], spawn_key=(_ORDER,))
        return np.random.Generator(np.random.PCG64(sequence)).permutation(self.samples)

    def _sample(self, epoch: int, index: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        case = self.cases[number // self._patches]
        placing, transforming = np.random.SeedSequence([self.seed, epoch, index]).spawn(2)
        image, label = self.prepared.image(case), self.prepared.label(case)
        if self.training.patch is None:
            return augmentation.augmented(image, label, transforming, self.training)
        # The margin is read with the patch, so that a turned patch shows its true surroundings in its corners.
        size = self.shape[:-1]
        margin = augmentation.margin(augmentation.choose(transforming, self.training), size)
        start = tuple(s - m for s, m in zip(self._start(case, placing), margin, strict=True))
        wide = tuple(p + 2 * m for p, m in zip(size, margin, strict=True))
        return augmentation.augmented(
            crop(image, start, wide), crop(label, start, wide), transforming, self.training, size=size
        )


class ValidationBatches(_Batches):
    """Batches of the validation cases in order, without augmentation: the same in every epoch.

    Whole images, or patches that are drawn as in training, but once, from the seed and the sample's number alone.
    Arguments and errors as for `TrainingBatches`.
    """

    def _order(self, epoch: int) -> np.ndarray:
        return np.arange(self.samples)

    def _sample(self, epoch: int, index: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        case = self.cases[number // self._patches]
        image, label = self.prepared.image(case), self.prepared.label(case)
        if self.training.patch is None:
            return np.asarray(image, dtype=np.float32), np.asarray(label, dtype=np.uint8)
        start = self._start(case, np.random.SeedSequence([self.seed, number], spawn_key=(_VALIDATION,)))
        return crop(image, start, self.shape[:-1]), crop(label, start, self.shape[:-1])


def augmented_sample(
    prepared: Prepared, case: str, training: TrainingSpec, seed: int, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """What training sees of a case in epoch `number`, to look at: image (*spatial, channels) and label (*spatial).

    A patch is centred on foreground, since most random ones of a volume hold none.
    """
    settings = replace(training, batch_size=1, patches_per_case=1, foreground_oversampling=1.0)
    images, labels, *_ = TrainingBatches(prepared, [case], settings, seed).batch(number, 0)
    return images[0], labels[0]


def _has_room(loader: ProcessLoader) -> bool:
    """Whether shared memory and memory are there twice over: nobody asked for these processes."""
    try:
        shared = shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return False
    return shared > 2 * loader.size and spare_memory() > 2 * (loader.size + loader.processes * LOADER_MEMORY)


def crop(array: np.ndarray, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """A copy of the box of `size` at `start` along the first axes; zero where the box leaves the array.

    Zero is the mean of an image after z-score (its minimum would be a far outlier of the patch's values, and would move
    the statistics of the instance normalisation), what convolutions pad with, and the background of a mask.
    """
    spatial = array.shape[: len(size)]
    inside = tuple(slice(max(s, 0), max(min(s + p, n), 0)) for s, p, n in zip(start, size, spatial, strict=True))
    part = np.asarray(array[inside])
    if part.shape[: len(size)] == tuple(size):
        return part.copy()
    box = np.zeros((*size, *array.shape[len(size) :]), dtype=array.dtype)
    box[tuple(slice(max(-s, 0), max(-s, 0) + n) for s, n in zip(start, part.shape, strict=False))] = part
    return box


def _sample_shape(prepared: Prepared, cases: Sequence[str], patch: tuple[int, ...] | None) -> tuple[int, ...]:
    first = prepared.image(cases[0]).shape
    if patch is not None:
        if len(patch) != len(first) - 1 or min(patch) < 1:
            raise ParameterError(f"patch is {tuple(patch)}; {len(first) - 1} sizes of at least 1 voxel are needed")
        return (*patch, first[-1])
    for case in cases:
        if (shape := prepared.image(case).shape) != first:
            raise DataError(
                f"case {case!r} has shape {shape}, but {cases[0]!r} {first}; whole images must be of one size: set a"
                " size for the data set, or a patch for the training"
            )
    return first
