"""One function over many cases in several processes, which end with their parent."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from trials.errors import ExpectedError
from workers.datasets.reader import CaseFiles, Reader
from workers.errors import WorkerLostError

_SMALL_SOURCE = 64 << 20
"""Below this many bytes of source files starting processes costs more than it saves."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int
) -> Iterator[tuple[Item, Result | Exception]]:
    """`(item, function(item))` for each item when it is done; an expected error or OSError takes the result's place.

    `function` must be picklable for more than one process. Closing the iterator cancels what has not started.

    Raises:
        WorkerLostError: a process was killed, most often because memory ran out.
    """
    processes = min(processes, len(items))
    if processes <= 1:
        for item in items:
            yield item, _attempt(function, item)
        return
    # spawn: a forked child would inherit the threads' locks of TensorFlow or Ray in the state of that moment
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_start)
    try:
        futures = {pool.submit(_attempt, function, item): item for item in items}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise WorkerLostError(
            f"one of {processes} processes was killed, probably out of memory; prepare again with processes = 1",
            out_of_memory=True,
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def processes_for(reader: Reader, cases: Sequence[CaseFiles], asked: int | None) -> int:
    """How many processes read cases: `asked`, or one per core for a large source.

    It is one where the reader's class cannot be imported by name, such as that of a plug-in file: another process could
    not load it.
    """
    if not _importable(type(reader).__module__):
        return 1
    if asked is not None:
        return max(1, asked)
    size = sum(path.stat().st_size for path in {path for case in cases for path in case.files})
    return 1 if size < _SMALL_SOURCE else available_processes()


def available_processes() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # no such package, or a module that was made by hand
        return False


def _attempt(function: Callable[[Item], Result], item: Item) -> Result | Exception:
    try:
        return function(item)
    except (ExpectedError, OSError) as error:
        return error


def _start() -> None:
    """What each child does first: it leaves Ctrl-C to its parent, and ends when its parent has ended.

    Without this, a child would wait for work forever after its parent was killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="die with parent").start()
