"""A new MLflow store in SQLite: made beside its place, and put there whole.

MLflow makes its tables by some fifty migrations, which take seconds, and SQLite commits each of their steps alone. A
process that is killed among them would leave a file that MLflow can neither finish nor open; two that make the same
file would lose each other's runs.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from filelock import FileLock

from workers.tracking.errors import REBUILD, TrackingDamagedError, TrackingUnavailableError

PATIENCE = 120.0
"""Seconds to wait for another process that makes the same store; it takes some five."""


def make_store(file: Path) -> None:
    """Makes an MLflow store at `file`, unless one is there. A half-made one without runs is replaced.

    Safe to call from any number of processes and threads, and to be killed at any moment.

    Raises:
        TrackingUnavailableError: another process has been making the store for two minutes.
    """
    if file.exists() and not _is_half_made(file):
        return
    try:
        with FileLock(file.with_name(f".{file.name}.lock"), timeout=PATIENCE):
            if file.exists() and not _is_half_made(file):
                return
            beside = file.with_name(f".{file.name}.new")
            _remove(beside)
            _make(beside)
            _remove(file)
            beside.replace(file)
    except TimeoutError as error:
        raise TrackingUnavailableError(f"another process is still making the MLflow store {file}") from error


def count_rows(file: Path) -> None:
    """Lets SQLite count what its tables hold, in milliseconds. It would otherwise sort the runs of a large sweep by
    reading all metrics once for each run: MLflow's page of 5,000 trials took 40 times as long.

    A store that is locked, or may not be written, is left as it is.
    """
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(file, timeout=1.0)) as connection:
        connection.execute("PRAGMA analysis_limit = 1000")
        connection.execute("ANALYZE")


def is_damaged(file: Path) -> bool:
    """Whether SQLite finds fault with an MLflow store, or it is none; every page is read."""
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",))
    except sqlite3.OperationalError as error:
        return "no such table" in str(error)  # else it is locked, or may not be read
    except sqlite3.DatabaseError:
        return True


def refuse_damaged(file: Path) -> None:
    """Refuses a file that is no SQLite database: MLflow itself would try it again for an hour.

    Raises:
        TrackingDamagedError: see above.
    """
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        said = str(error)
        if any(words in said for words in ("not a database", "malformed", "no such table")):
            raise TrackingDamagedError(
                f"MLflow's store {file} is damaged ({said}); make it anew with: {REBUILD}"
            ) from error


def _make(file: Path) -> None:
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import URL

    url = URL.create("sqlite", database=str(file)).render_as_string(hide_password=False)
    store = SqlAlchemyStore(url, DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH)  # type: ignore[no-untyped-call]
    store.engine.dispose()
    with file.open("rb") as made:
        os.fsync(made.fileno())


def _is_half_made(file: Path) -> bool:
    """Whether MLflow was killed while it made this file: a whole store has an experiment, its own default one."""
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            return not any(
                connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()  # noqa: S608
                for table in ("experiments", "runs")
                if table in tables
            )
    except sqlite3.Error:  # no database, or a damaged one: it may hold runs, so nobody replaces it here
        return False


def _remove(file: Path) -> None:
    for path in (file, file.with_name(f"{file.name}-journal"), file.with_name(f"{file.name}-wal")):
        path.unlink(missing_ok=True)
