"""Puts right what keeps a whole MLflow store from being used: a damaged SQLite file, a deleted experiment."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from workers.tracking.client import call, connect, sqlite_store_of
from workers.tracking.sqlite_store import is_damaged


def put_damaged_aside(tracking_uri: str) -> Path | None:
    """Renames a damaged SQLite store, so that a new one can be made in its place; its new name, None if it is whole.

    Nobody may be using the store.
    """
    file = sqlite_store_of(tracking_uri)
    if file is None or not file.exists() or not is_damaged(file):
        return None
    aside = next(name for name in _names(file) if not name.exists())
    file.rename(aside)
    for end in ("-wal", "-shm", "-journal"):
        beside = file.with_name(file.name + end)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + end))
    connect.cache_clear()
    return aside


def restore_experiment(tracking_uri: str, experiment: str) -> bool:
    """Restores an experiment that was deleted, with its runs; whether it was."""
    client = connect(tracking_uri)
    found = call(lambda: client.get_experiment_by_name(experiment), f"looking up experiment {experiment!r}")
    if found is None or found.lifecycle_stage == "active":
        return False
    call(partial(client.restore_experiment, found.experiment_id), f"restoring experiment {experiment!r}")
    return True


def _names(file: Path) -> list[Path]:
    return [file.with_name(f"{file.name}.damaged-{number}") for number in range(1, 1000)]
