"""What the tests run in processes of their own, as a script: nothing of pytest, nothing shared with the parent."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from storage_samples import new_trials, outcome, scores

from storage.database import open_database
from storage.records import Lease
from storage.repository import Repository


def start(command: str, *arguments: object) -> subprocess.Popen[str]:
    """Starts one command of this file."""
    line = [sys.executable, str(Path(__file__).resolve()), command, *map(str, arguments)]
    root = Path(__file__).resolve().parent.parent.parent
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )


def run_together(*commands: tuple[object, ...]) -> list[str]:
    """Runs the commands at once; what each printed. Fails if one fails."""
    processes = [start(str(command), *arguments) for command, *arguments in commands]
    outputs = [process.communicate(timeout=4 * 3600)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return outputs


def create(url: str, name: str) -> None:
    with open_database(url) as database:
        Repository(database).create_sweep(name, grid={}, trials=new_trials(3))


def record(url: str, count: str) -> None:
    import optuna

    from storage.studies import Studies

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with open_database(url) as database, Studies(database) as studies:
        for index in range(int(count)):
            studies.record("s", trial_hash=str(index), gamma=index / 100, value=0.5, user_attrs={"n": index})


def die_while_recording(url: str, moment: str) -> None:
    """Records one trial, and is killed just before Optuna's commit or just after it."""
    from optuna.storages import RDBStorage

    from storage.studies import Studies

    with open_database(url) as database:
        studies = Studies(database)
        studies.values("s")
        prepare = RDBStorage._get_prepared_new_trial

        def dying(self: RDBStorage, *arguments: object, **named: object) -> None:
            prepare(self, *arguments, **named)  # type: ignore[arg-type]
            if moment == "after":
                self.scoped_session.commit()
            os.kill(os.getpid(), signal.SIGKILL)

        RDBStorage._get_prepared_new_trial = dying  # type: ignore[method-assign, assignment]
        studies.record("s", trial_hash="a", gamma=0.5, value=0.75, user_attrs={"test_dsc": 0.5})


def claim_all(url: str, sweep_id: str, holder: str, fencing: str, start_line: str, starters: str) -> None:
    """Claims until nothing is left, once `starters` processes stand at the line (a folder); prints the hashes."""
    with open_database(url) as database:
        repository = Repository(database)
        lease = Lease(int(sweep_id), holder, int(fencing), 0.0)
        (Path(start_line) / str(os.getpid())).touch()
        while len(list(Path(start_line).iterdir())) < int(starters):
            time.sleep(0.01)
        while (pair := repository.claim_next(lease)) is not None:
            sys.stdout.write(pair[0].hash + "\n")


def write_results(url: str, sweep_name: str, count: str) -> None:
    """Takes the sweep, and claims and finishes all of its trials, each with its own scores."""
    with open_database(url) as database:
        repository = Repository(database)
        repository.create_sweep(sweep_name, grid={}, trials=new_trials(int(count), prefix=sweep_name))
        lease = repository.acquire_lease(sweep_name, sweep_name, 100_000)
        for index, trial in enumerate(repository.trials(sweep_name)):
            attempt = repository.claim(lease, trial.hash)
            assert attempt is not None
            own = tuple(dataclasses.replace(score, dsc=index / int(count)) for score in scores(1))
            repository.finish(lease, attempt.id, dataclasses.replace(outcome(1), scores=own))


COMMANDS: dict[str, Callable[..., None]] = {
    "create": create,
    "record": record,
    "die-while-recording": die_while_recording,
    "claim-all": claim_all,
    "write-results": write_results,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
