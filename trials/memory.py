"""A limit of this process's memory, for work on what somebody else wrote."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 2**20


@contextmanager
def limited_memory(mebibytes: int) -> Iterator[None]:
    """Inside, this process cannot take so many MiB more than it has: `MemoryError` comes instead.

    Python and Arrow turn a refused allocation into that error. Only Linux has the limit.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    wanted = pages * resource.getpagesize() + mebibytes * MIB
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    finite = [limit for limit in (soft, hard, wanted) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(finite), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def unlimited_memory() -> None:
    """Ends a limit that this process has from the one that started it."""
    if sys.platform == "linux":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
