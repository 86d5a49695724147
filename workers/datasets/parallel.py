"""One function over many cases in several processes, which die with their parent."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from workers.errors import WorkerError, WorkerLostError

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int
) -> Iterator[tuple[Item, Result | Exception]]:
    """`(item, function(item))` for each item as it is done, or the WorkerError or OSError that it raised in its place.

    `function` must be picklable for more than one process. Closing the iterator cancels what has not begun.

    Raises:
        WorkerLostError: a process was killed, most often for want of memory.
    """
    processes = min(processes, len(items))
    if processes <= 1:
        for item in items:
            yield item, _attempt(function, item)
        return
    # spawn: a forked child would inherit the threads' locks of TensorFlow or Ray in the state of that moment
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_die_with_parent)
    try:
        futures = {pool.submit(_attempt, function, item): item for item in items}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise WorkerLostError(
            f"one of {processes} processes was killed, probably out of memory; try again with processes = 1",
            out_of_memory=True,
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def available_processes() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _attempt(function: Callable[[Item], Result], item: Item) -> Result | Exception:
    try:
        return function(item)
    except (WorkerError, OSError) as error:
        return error


def _die_with_parent() -> None:
    """End this process when its parent is gone: a pool's child would wait for work for ever after a kill."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="die with parent").start()
