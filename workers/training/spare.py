"""What this machine has left for further processes: idle cores, and memory. A container's limits count."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class _Used:
    """At a moment: the time, the idle seconds of the cores that may be used, and the container's processor seconds."""

    at: float
    idle: float
    container: float | None


class SpareCores:
    """The cores that were idle, on average, since the last call."""

    def __init__(self) -> None:
        self._cores = sorted(os.sched_getaffinity(0))
        self._limit = _core_limit()
        self._last = self._read()

    def read(self) -> float:
        """Cores that this process may use and that nobody used since the last call, at most those that its container's
        limit leaves."""
        before, now = self._last, self._read()
        self._last = now
        seconds = now.at - before.at
        if seconds <= 0:
            return 0.0
        idle = (now.idle - before.idle) / seconds
        if self._limit is not None and now.container is not None and before.container is not None:
            idle = min(idle, self._limit - (now.container - before.container) / seconds)
        return min(max(idle, 0.0), float(len(self._cores)))

    def _read(self) -> _Used:
        each = psutil.cpu_times(percpu=True)
        idle = sum(each[core].idle + getattr(each[core], "iowait", 0.0) for core in self._cores if core < len(each))
        return _Used(time.monotonic(), idle, _core_seconds())


def spare_memory() -> int:
    """Bytes that a further process could take."""
    free = psutil.virtual_memory().available
    limit, used = _number("memory.max", "memory/memory.limit_in_bytes"), _memory_used()
    return free if limit is None or used is None else min(free, max(limit - used, 0))


def _core_limit() -> float | None:
    """How many cores the container may use; None without a limit."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (CGROUP / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    quota_v1, period_v1 = _number("cpu/cpu.cfs_quota_us"), _number("cpu/cpu.cfs_period_us")
    return quota_v1 / period_v1 if quota_v1 is not None and period_v1 and quota_v1 > 0 else None


def _core_seconds() -> float | None:
    """Processor seconds that the container has used."""
    if (microseconds := _line("cpu.stat", "usage_usec")) is not None:
        return microseconds / 1e6
    nanoseconds = _number("cpuacct/cpuacct.usage")
    return None if nanoseconds is None else nanoseconds / 1e9


def _memory_used() -> int | None:
    """Bytes that the container holds, without what it has read from files and could drop."""
    held = _number("memory.current", "memory/memory.usage_in_bytes")
    if held is None:
        return None
    dropped = _line("memory.stat", "inactive_file") or _line("memory/memory.stat", "total_inactive_file") or 0
    return max(held - dropped, 0)


def _number(*names: str) -> int | None:
    """What the first of the files that is there says, of a limit and the like."""
    for name in names:
        with contextlib.suppress(OSError, ValueError):
            return int((CGROUP / name).read_text())
    return None


def _line(name: str, key: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in (CGROUP / name).read_text().splitlines():
            if line.startswith(f"{key} "):
                return int(line.split()[1])
    return None
