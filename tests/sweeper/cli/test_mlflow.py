"""`sweeper mlflow rebuild`: what MLflow lost comes back from the database and the spools, whole and once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from storage.database import open_database
from storage.repository import Repository
from sweeper.run.publishing import EXPERIMENT, parent_run
from sweeper.session import Session
from sweeper.settings import load_settings
from tests.results import result, scored
from trials.results import Epoch
from workers.tracking import Spool, TrackingDamagedError
from workers.tracking.client import connect

pytestmark = pytest.mark.slow  # MLflow makes its tables

Command = Callable[..., Any]
HISTORY = tuple(Epoch(n, 0.5, 0.6, 0.7 + n / 100, 0.1, 19, 1.5) for n in (1, 2))


@pytest.fixture
def session(stored: Path) -> Iterator[Session]:
    """The stored sweep with two more finished trials, of which one has its spool; all others have no folder."""
    settings = load_settings()
    with open_database(settings.database) as database:
        repository = Repository(database)
        lease = repository.acquire_lease("demo", "test", 60)
        for number, trial in enumerate(repository.trials("demo")[3:5]):
            attempt = repository.claim(lease, trial.hash)
            assert attempt is not None
            scores = [scored(p, f"case-{p}", "nucleus", 0.75, 0.6, 0.7, 0.8) for p in ("validation", "test")]
            outcome = result(trial.hash, scores, HISTORY)
            repository.finish(lease, attempt.id, outcome)
            if number == 0:
                with Spool(settings.trials / trial.hash / "spool.jsonl") as spool:
                    spool.start(trial.spec, label=trial.label, sweep="demo")
                    for epoch in HISTORY:
                        spool.epoch(epoch)
                    spool.finish(outcome)
        repository.release_lease(lease)
        yield Session(settings, repository, Console())


def copied_store(session: Session) -> Any:
    """MLflow keeps a store's file open for as long as its process lives: each look is at a copy of its own."""
    settings = session.settings
    copy = settings.home / f"copy-{len(list(settings.home.glob('copy-*')))}.db"
    shutil.copy(settings.home / "mlflow.db", copy)
    return connect(f"sqlite:///{copy}")


def sweeper_process(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "sweeper", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_whole(session: Session) -> None:
    """MLflow has a run for each trial that was tried, and the sweep's, each once and with all of its values."""
    client = copied_store(session)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    by_trial = {r.data.tags["sweeper.trial"]: r for r in runs if "sweeper.trial" in r.data.tags}
    trials = [t for t in session.repository.trials("demo") if t.attempts]
    assert len(runs) == len(trials) + 1 == 6  # with the one of the sweep
    assert {h: run.info.run_id for h, run in by_trial.items()} == {t.hash: t.mlflow_run for t in trials}
    for trial in trials[3:]:
        run = by_trial[trial.hash]
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == session.repository.sweep("demo").mlflow_run
        found = client.get_metric_history(run.info.run_id, "val_dsc")
        assert [(m.step, m.value) for m in found] == [(1, 0.71), (2, 0.72)]
        assert run.data.metrics["test_dsc"] == 0.75


def test_a_damaged_store_and_a_deleted_experiment_are_mended_by_the_command_that_is_printed(
    session: Session,
) -> None:
    def printed(session: Session) -> list[str]:
        with pytest.raises(TrackingDamagedError) as caught:
            parent_run(session, session.repository.sweep("demo"))
        line = str(caught.value)
        return line[line.index("sweeper mlflow ") :].split()[1:]

    assert "demo: 5 trials are in MLflow" in sweeper_process("mlflow", "rebuild")
    check_whole(session)
    store = session.settings.home / "mlflow.db"
    store.write_bytes(b"no store" * 1000)
    assert f"the damaged store is now {store}.damaged-1" in sweeper_process(*printed(session))
    check_whole(session)

    client = connect(session.settings.mlflow)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    assert "was deleted, and is restored" in sweeper_process(*printed(session))
    check_whole(session)  # everything was sent again, and is there once


def test_a_running_sweep_keeps_its_store(sweeper: Command, session: Session) -> None:
    lease = session.repository.acquire_lease("demo", "another machine", 60)
    answer = sweeper("mlflow", "rebuild")
    assert answer.status == 2
    assert "sweep 'demo' is run by another machine" in answer.err
    session.repository.release_lease(lease)
