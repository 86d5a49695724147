"""Making batches in the background: in one thread, or in processes that return them through shared memory.

Knows nothing of images: what a batch is, its maker decides.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing.shared_memory import SharedMemory
from typing import Protocol, TypeAlias

import numpy as np

from workers.errors import ParameterError, WorkerLostError

Batch = tuple[np.ndarray, ...]
"""Images float32 (b, *spatial, channels), labels uint8 (b, *spatial), and for a loss that wants them truth maps float32
(b, *spatial, n)."""


Batches: TypeAlias = Generator[Batch, None, None]
"""Batches in order, made in the background from the moment on at which this is there. Closing it ends that."""


def prefetch(makers: Iterable[Callable[[], Batch]], ahead: int) -> Batches:
    """Yields what the makers return, in order, made by one thread that is at most `ahead` batches in front.

    An exception of a maker is raised in the consumer, in its place. Closing the iterator ends the thread.
    """
    return _begun(_prefetched(iter(makers), ahead))


def _begun(batches: Batches) -> Batches:
    """The generator at its first `yield`: before it the work begins, and it yields nothing yet."""
    next(batches)
    return batches


def _prefetched(makers: Iterator[Callable[[], Batch]], ahead: int) -> Batches:
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        pending = deque(thread.submit(make) for make in islice(makers, ahead + 1))
        try:
            yield ()
            while pending:
                yield pending.popleft().result()
                pending.extend(thread.submit(make) for make in islice(makers, 1))
        finally:
            thread.shutdown(cancel_futures=True)


class BatchMaker(Protocol):
    """What a loading process needs; it is pickled once per process."""

    def fill(self, epoch: int, step: int, arrays: Batch) -> int:
        """Makes one batch of an epoch into the arrays of a full one; returns the number of its images."""


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """Where the arrays of one batch lie in a slot of shared memory.

    Images have `shape` (batch, *spatial, channels), truth maps `maps` channels.
    """

    shape: tuple[int, ...]
    maps: int = 0

    @property
    def size(self) -> int:
        """Bytes of a slot, a multiple of 64, so that every slot's arrays are aligned."""
        return math.ceil(math.prod(self.shape[:-1]) * (4 * (self.shape[-1] + self.maps) + 1) / 64) * 64

    def arrays(self, memory: SharedMemory, slot: int) -> Batch:
        """Views of a slot's arrays."""
        first = slot * self.size
        images = np.ndarray(self.shape, np.float32, memory.buf, first)
        maps = np.ndarray((*self.shape[:-1], self.maps), np.float32, memory.buf, first + images.nbytes)
        labels = np.ndarray(self.shape[:-1], np.uint8, memory.buf, first + images.nbytes + maps.nbytes)
        return (images, labels, maps) if self.maps else (images, labels)


class ProcessLoader:
    """Processes that make batches in slots of shared memory, so that no array is pickled.

    Two slots per process bound the memory. Batches come out in order, whichever process was first. The processes live
    from the first epoch until `close`, since starting one costs more than a small epoch; they end with their parent.

    Args:
        maker: what makes the batches.
        processes: how many.
        shape: (batch, *spatial, channels) of a full batch.
        maps: channels of its truth maps.

    Raises:
        ParameterError: `processes` is less than 1.
    """

    def __init__(self, maker: BatchMaker, processes: int, shape: tuple[int, ...], *, maps: int = 0) -> None:
        if processes < 1:
            raise ParameterError(f"processes is {processes}; it must be at least 1")
        self._maker, self.processes, self._layout = maker, processes, SlotLayout(shape, maps)
        self._slots = 2 * processes
        self.size = self._slots * self._layout.size
        """Bytes of shared memory that it takes."""
        self._running: tuple[ProcessPoolExecutor, SharedMemory] | None = None

    def batches(self, epoch: int, steps: int) -> Batches:
        """The batches of one epoch in order; one epoch at a time.

        Raises:
            WorkerLostError: a loading process died. An exception of the maker is raised as it is.
        """
        return _begun(self._batches(epoch, steps))

    def _batches(self, epoch: int, steps: int) -> Batches:
        pool, memory = self._start()
        pending: deque[Future[int]] = deque()
        try:
            for ahead in range(min(self._slots, steps)):
                pending.append(pool.submit(_fill, epoch, ahead, ahead))
            yield ()
            for step in range(steps):
                for ahead in range(step + len(pending), min(step + self._slots, steps)):
                    pending.append(pool.submit(_fill, epoch, ahead, ahead % self._slots))
                length = pending.popleft().result()
                yield tuple(array[:length].copy() for array in self._layout.arrays(memory, step % self._slots))
        except BrokenProcessPool:
            self.close()
            raise WorkerLostError("a loading process ended unexpectedly (killed, or out of memory)") from None
        finally:
            # After an early end: nothing may still write into a slot which the next epoch gives away again.
            for future in pending:
                if not future.cancel():
                    future.exception()

    def close(self) -> None:
        """End the processes and give the memory back; may be called twice."""
        if self._running is not None:
            pool, memory = self._running
            self._running = None
            pool.shutdown(cancel_futures=True)
            memory.close()
            memory.unlink()

    def _start(self) -> tuple[ProcessPoolExecutor, SharedMemory]:
        if self._running is None:
            memory = SharedMemory(create=True, size=self.size)
            # Spawned, not forked: a fork of a process in which TensorFlow runs threads can hang.
            pool = ProcessPoolExecutor(
                self.processes,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(self._maker, self._layout, memory.name),
            )
            self._running = pool, memory
        return self._running


_process: tuple[BatchMaker, SlotLayout, SharedMemory] | None = None


def _begin(maker: BatchMaker, layout: SlotLayout, memory: str) -> None:
    """First call in a loading process."""
    global _process
    _process = maker, layout, SharedMemory(name=memory)
    # A parent that was killed closes no queue, and its children would wait for work forever.
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _fill(epoch: int, step: int, slot: int) -> int:
    """Makes a batch into a slot, in a loading process; returns the number of its images."""
    if _process is None:
        raise RuntimeError("a batch was asked of a process that was not started by a ProcessLoader")
    maker, layout, memory = _process
    return maker.fill(epoch, step, layout.arrays(memory, slot))
