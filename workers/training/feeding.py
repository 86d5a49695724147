"""Batches on the device ahead of the step that takes them, and how long steps waited for theirs.

Imports no TensorFlow: how a batch comes to the device, the caller says.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

from workers.training.loading import Batch

AHEAD = 2
"""So many batches are on the device beside the one that a step works on: one is there when the step ends, the other is
under way."""

Placed = TypeVar("Placed")


class Feed(Generic[Placed]):
    """Takes batches from an iterator and puts them on the device, in a thread that is `AHEAD` in front of the steps.

    It gives each as it lies on the device, with the number of its images. Before it gives one, it lets the device end
    its step: a GPU takes steps faster than it does them, and what waits in its queue must not count as a wait for
    input, nor hold back the copying of the next batch. An error of the iterator is raised in its place.

    Args:
        batches: the batches in order.
        place: puts one on the device; called in the thread.
        ended: returns when the device has ended what it was given.
        clock: seconds.
    """

    def __init__(
        self,
        batches: Iterable[Batch],
        place: Callable[[Batch], Placed],
        ended: Callable[[], object],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._batches, self._place, self._ended, self._clock = iter(batches), place, ended, clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._pending: deque[Future[tuple[Placed, int] | None]] = deque()
        self.waited = 0.0
        """Seconds in which the device had nothing to do, since no batch was there."""
        for _ in range(AHEAD):
            self._pending.append(self._thread.submit(self._next))

    def __iter__(self) -> Iterator[tuple[Placed, int]]:
        while True:
            self._ended()
            coming = self._pending.popleft()
            begin = self._clock()
            given = coming.result()
            if given is None:
                return
            self.waited += self._clock() - begin
            self._pending.append(self._thread.submit(self._next))
            yield given

    def close(self) -> None:
        """Ends the thread, and the iterator if it can be closed; may be called twice."""
        self._thread.shutdown(cancel_futures=True)
        if callable(end := getattr(self._batches, "close", None)):
            end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _next(self) -> tuple[Placed, int] | None:
        batch = next(self._batches, None)
        return None if batch is None else (self._place(batch), len(batch[0]))
