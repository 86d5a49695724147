"""What the tests run in processes of their own. They are forked from a server that has imported what takes long."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event
from storage_samples import new_trials, outcome, scores

from storage.database import open_database
from storage.errors import NotWritableError, StorageError
from storage.records import Lease
from storage.repository import Repository

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["__main__", "storage.repository", "storage.transfer", "optuna.storages", "psycopg"])


def start(work: Callable[..., object], *arguments: object) -> BaseProcess:
    """Starts `work(*arguments)`, a function of this file."""
    process = _CONTEXT.Process(target=work, args=arguments)
    process.start()
    return process


def run_together(*calls: tuple[Any, ...]) -> list[Any]:
    """Runs the calls, each a function of this file with its arguments, at once; what each gave. Fails if one fails."""
    with ProcessPoolExecutor(len(calls), mp_context=_CONTEXT) as pool:
        running = [pool.submit(*call) for call in calls]
        return [future.result() for future in running]


def create(url: str, name: str) -> None:
    with open_database(url) as database:
        Repository(database).create_sweep(name, grid={}, trials=new_trials(3))


def read_and_write(url: str) -> str:
    """What a user without rights sees of the sweeps, and what a write says. Root, who may all, becomes nobody."""
    if os.geteuid() == 0:
        os.seteuid(65534)
    with open_database(url, create=False, retry_for=1) as database:
        repository = Repository(database)
        names = [sweep.name for sweep in repository.sweeps()]
        try:
            repository.acquire_lease(names[0], "h", 10)
        except NotWritableError as error:
            return f"{names} {error}"
    return f"{names} written"


def write_with_small_files(url: str) -> str:
    """What a write says where files may not grow."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
    with open_database(url, create=False) as database:
        try:
            Repository(database).create_sweep("large", grid={}, trials=new_trials(500))
        except StorageError as error:
            return f"{type(error).__name__} {error}"
    return "written"


def record(url: str, count: int) -> None:
    from storage.studies import Studies

    with open_database(url) as database, Studies(database) as studies:
        for index in range(count):
            studies.record("s", trial_hash=str(index), gamma=index / 100, value=0.5, user_attrs={"n": index})


def die_while_recording(url: str, moment: str) -> None:
    """Records one trial, and is killed just before Optuna's commit or just after it."""
    from storage import _optuna_rows
    from storage.studies import Studies

    with open_database(url) as database:
        studies = Studies(database)
        studies.values("s")
        add = _optuna_rows.add

        def dying(connection: Connection, *arguments: Any) -> None:
            add(connection, *arguments)
            if moment == "after":
                connection.commit()
            os.kill(os.getpid(), signal.SIGKILL)

        _optuna_rows.add = dying
        studies.record("s", trial_hash="a", gamma=0.5, value=0.75, user_attrs={"test_dsc": 0.5})


def die_while_deleting(url: str, sweep_name: str, statement: int) -> None:
    """Deletes a sweep, and is killed before so many statements that change something, or, of more than there are,
    before their commit; after it for 0."""
    with open_database(url) as database:
        left = [statement]

        def die(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        def count(_connection: object, _cursor: object, text: str, *_: object) -> None:
            if text.lstrip().upper().startswith(("DELETE", "UPDATE")):
                left[0] -= 1
                if left[0] == 0:
                    die()

        if statement:
            event.listen(database.engine, "before_cursor_execute", count)
            event.listen(database.engine, "commit", die)
        Repository(database).delete_sweep(sweep_name)
        die()


def claim_all(url: str, lease: Lease, hashes: Sequence[str], meeting: Path, processes: int) -> list[str]:
    """Claims what it can get of `hashes`; those that it got.

    After its first it waits in the folder `meeting` until each of the `processes` has one: SQLite's lock is not fair,
    and one process alone might take everything before another one comes.
    """
    claimed = []
    with open_database(url) as database:
        repository = Repository(database)
        for trial_hash in hashes:
            if repository.claim(lease, trial_hash) is None:
                continue
            claimed.append(trial_hash)
            (meeting / str(os.getpid())).touch()
            while len(list(meeting.iterdir())) < processes:
                time.sleep(0.01)
    return claimed


def write_results(url: str, sweep_name: str, count: int) -> None:
    """Takes the sweep, and claims and finishes all of its trials, each with its own scores."""
    with open_database(url) as database:
        repository = Repository(database)
        repository.create_sweep(sweep_name, grid={}, trials=new_trials(count, prefix=sweep_name))
        lease = repository.acquire_lease(sweep_name, sweep_name, 100_000)
        for index, trial in enumerate(repository.trials(sweep_name)):
            attempt = repository.claim(lease, trial.hash)
            assert attempt is not None
            own = tuple(
                dataclasses.replace(score, values={**score.values, "dsc": index / count}) for score in scores(1)
            )
            repository.finish(lease, attempt.id, dataclasses.replace(outcome(1), scores=own))
