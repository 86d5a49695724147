"""The end of an epoch beside the beginning of the next: its checkpoint goes to the disk, then it is reported.

A large network's checkpoint takes as long to the disk as some training steps. Training goes on meanwhile, and by one
epoch at most: an epoch is reported only when its checkpoint is on the disk, and the next is saved only when the one
before has been reported. Knows nothing of TensorFlow: what is saved, the caller has copied.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")


class Saving:
    """Saves one epoch after the other, in a thread. What saving one raises is raised by whoever asks next.

    An error in the `with` block does not hide an epoch that was trained before it: its end is waited for.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="saving")
        self._under_way: Future[None] | None = None

    def begin(self, save: Callable[[], None]) -> None:
        """Begins to save an epoch, once the one before has been saved.

        Args:
            save: saves and reports it. What it raises ends the training.
        """
        self.wait()
        self._under_way = self._thread.submit(save)

    def check(self) -> None:
        """Raises what the last saving raised, if it has ended. May be called from any thread."""
        if (saved := self._under_way) is not None and saved.done():
            saved.result()

    def wait(self) -> None:
        """Returns when nothing is being saved."""
        if self._under_way is not None:
            self._under_way.result()

    def beside(self, items: Generator[T, None, None]) -> Iterator[T]:
        """The items, until saving raises something, which is raised in place of the next item."""
        with closing(items):
            for item in items:
                self.check()
                yield item

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.shutdown()
