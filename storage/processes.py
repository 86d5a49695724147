"""Which process holds something, so that another process of the same machine can tell whether that one still lives.

A process is named by the machine's start, its namespace of process numbers, its number and the moment it started: a
container or another machine can use the same number. Only Linux tells; elsewhere nothing is known of any process.
"""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")


def this_process() -> str:
    """The name of this process; empty where the system does not tell."""
    place, started = _place(), _started(os.getpid())
    return f"{place} {os.getpid()} {started}" if place and started else ""


def is_alive(name: str) -> bool | None:
    """Whether the process of that name lives; None where this cannot be known, as of one on another machine."""
    place, _, rest = name.partition(" ")
    pid, _, started = rest.partition(" ")
    if not pid.isdecimal() or place != _place():
        return None
    return _started(int(pid)) == started


def lock_holders(*files: Path) -> list[str]:
    """The other processes that hold a write lock on one of the files: `python3 (pid 7)`, as the system tells."""
    wanted = set()
    for file in files:
        try:
            found = file.stat()
        except OSError:
            continue
        wanted.add((os.major(found.st_dev), os.minor(found.st_dev), found.st_ino))
    holders: dict[int, str] = {}
    for line in _text(_PROC / "locks").splitlines():
        fields = line.split()  # 1: POSIX  ADVISORY  WRITE 123 fe:01:4567 120 120
        if len(fields) < 8 or fields[3] != "WRITE" or fields[1] == "->":
            continue
        major, minor, inode = fields[5].split(":")
        pid = int(fields[4])
        if (int(major, 16), int(minor, 16), int(inode)) in wanted and pid not in (os.getpid(), 0, -1):
            holders[pid] = f"{_text(_PROC / str(pid) / 'comm').strip() or 'a process'} (pid {pid})"
    return [holders[pid] for pid in sorted(holders)]


def _place() -> str:
    boot = _text(_PROC / "sys/kernel/random/boot_id").strip()
    try:
        return f"{boot}/{(_PROC / 'self/ns/pid').stat().st_ino}" if boot else ""
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty for none, and for one that has ended."""
    fields = _text(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in ("Z", "X") else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
