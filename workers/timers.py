"""What happens where something takes long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def unless_ended(seconds: float, call: Callable[[], object]) -> Iterator[None]:
    """Calls it once, in another thread, where the block takes longer than so many seconds."""
    timer = threading.Timer(max(seconds, 0.0), call)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
