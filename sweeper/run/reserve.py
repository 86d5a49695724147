"""A little room on the disk of an SQLite database, which is released when the disk is full.

A coordinator that finds its disk full has to write that down: which trials wait, that the sweep is broken and why, and
that it gives its lease back. The room for this is kept while there is some.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from storage.database import Database
from workers.files import atomic_write

BYTES = 2**20


def keep(database: Database) -> None:
    """Takes the room, unless it is taken already or there is none."""
    file = _file(database)
    if file is not None and not file.exists():
        with contextlib.suppress(OSError), atomic_write(file) as made:
            made.write(bytes(BYTES))


def give_up(database: Database) -> None:
    """Makes the room free for the database."""
    file = _file(database)
    if file is not None:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


def _file(database: Database) -> Path | None:
    path = database.path
    return None if path is None else path.with_name(f".{path.name}.reserve")
