"""The log of a trial: what its training processes print, over all attempts, in at most `LOG_BYTES`.

A plug-in that prints at each step would fill a disk. The start of a log and its end are kept; a line between them says
how much was cut. Places in a log are counted as if nothing had been cut, so that a reader can go on where it stopped.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from workers.files import atomic_write

LOG_BYTES = 10_000_000
HEAD_BYTES = 2_000_000
TAIL_BYTES = 4_000_000
"""What a cut keeps of the end."""

PART_BYTES = 1_000_000
"""The longest part that is read at once."""

_CUT = re.compile(rb"^\[sweeper: (\d+) bytes were cut here[^\n]*\]\n", re.MULTILINE)


def _cut_line(dropped: int) -> bytes:
    kept = f"the first {HEAD_BYTES / 1e6:.0f} MB and the end, {LOG_BYTES / 1e6:.0f} MB at most"
    return f"[sweeper: {dropped} bytes were cut here; of a trial's output are kept {kept}]\n".encode()


class TrialLog:
    """A log that is open for writing. What was in the file stays."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("ab")
        self._size = os.fstat(self._file.fileno()).st_size

    def write(self, text: str) -> None:
        """Adds to the end, at once; cuts the middle where the log would become too long."""
        content = text.encode("utf-8", "replace")
        if self._size + len(content) > LOG_BYTES:
            self._cut()
        self._file.write(content)
        self._file.flush()
        self._size += len(content)

    def close(self) -> None:
        self._file.close()

    def _cut(self) -> None:
        try:
            self._file.close()
            cut(self.path)
        finally:  # on a full disk the next line tries again
            self._file = self.path.open("ab")
        self._size = os.fstat(self._file.fileno()).st_size


def cut(path: Path) -> None:
    """Leaves out the middle of a log."""
    with path.open("rb") as file:
        layout = _layout(file)
        head_end = layout.head if layout.dropped else _line_end(file, HEAD_BYTES)
        file.seek(max(layout.size - TAIL_BYTES, layout.rest))
        if file.tell() > layout.rest:
            file.readline(4096)  # to the start of a line, if there is one near
        start, tail = file.tell(), file.read()
        dropped = layout.dropped + start - (layout.rest if layout.dropped else head_end)
        file.seek(0)
        head = file.read(head_end)
    with atomic_write(path) as new:
        new.write(head + _cut_line(dropped) + tail)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a log, and the place behind it."""

    text: str
    after: int


def read_part(path: Path, after: int = 0, *, ended: bool = False) -> Part:
    """What a log has behind a place: whole lines, or all where nothing will follow (`ended`), of `PART_BYTES` at most.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        layout = _layout(file)
        file.seek(layout.offset(after))
        start = file.tell()
        content = file.read(PART_BYTES)
        if not (ended and start + len(content) >= layout.size):
            content = content[: content.rfind(b"\n") + 1] or (content if len(content) == PART_BYTES else b"")
    place = max(after, layout.place(start)) if not content else layout.place(start + len(content))
    return Part(content.decode("utf-8", "replace"), place)


def place_of_tail(path: Path, lines: int) -> int:
    """The place at which the last so many lines of a log start.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        layout = _layout(file)
        file.seek(0)
        found = file.read().splitlines(keepends=True)
    return layout.place(layout.size - sum(map(len, found[max(len(found) - lines, 0) :])))


@dataclass(frozen=True, slots=True)
class _Layout:
    """Bytes before the line that tells of a cut, how many were cut, where it ends in the file, and the file's size."""

    head: int
    dropped: int
    rest: int
    size: int

    def offset(self, place: int) -> int:
        """Where in the file a place is. One that was cut is the line that says so."""
        if place < self.head + self.dropped:
            return min(place, self.head, self.size)
        return min(place - self.head - self.dropped + self.rest, self.size)

    def place(self, offset: int) -> int:
        """The inverse."""
        if offset < self.rest:
            return min(offset, self.head)
        return offset - self.rest + self.head + self.dropped


def _layout(file: IO[bytes]) -> _Layout:
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    found = _CUT.search(file.read(HEAD_BYTES + 4096)) if size > HEAD_BYTES else None
    if found is None:
        return _Layout(0, 0, 0, size)
    return _Layout(found.start(), int(found[1]), found.end(), size)


def _line_end(file: IO[bytes], most: int) -> int:
    """The end of the last whole line among the first bytes."""
    file.seek(0)
    return file.read(most).rfind(b"\n") + 1
