"""A sweep of thousands of trials in the middle of its run, written straight into the tables. Not a test module."""

from __future__ import annotations

import random
from pathlib import Path

from sqlalchemy import update

from storage.database import open_database
from storage.models import TrialRow
from storage.repository import Repository
from tests.live_sweeps import Planned, bring, new_trial
from trials.states import FailureKind, TrialState

DATASETS, LOSSES, GAMMAS = 5, 10, 100
"""5,000 cells."""


def write(path: Path, name: str = "large", gammas: int = GAMMAS) -> None:
    """Half of the trials finished, 2 in 100 failed, eight running, the others queued; the lease is held for an hour."""
    planned = [
        Planned(dataset=f"set{d}", loss=f"unified_{loss}", gamma=(g + 1) / GAMMAS)
        for d in range(DATASETS)
        for loss in range(LOSSES)
        for g in range(gammas)
    ]
    rng = random.Random(0)
    with open_database(f"sqlite:///{path}") as database:
        repository = Repository(database)
        trials = [new_trial(one) for one in planned]
        repository.create_sweep(name, grid={"name": name}, trials=trials, description="A sweep of many trials.")
        lease = repository.acquire_lease(name, "benchmark:1:0", 3600)
        now = database.now()
        half = len(trials) // 2
        done = [
            {
                "key": trial.hash,
                "state": TrialState.FAILED if i % 50 == 0 else TrialState.FINISHED,
                "failure": FailureKind.DIVERGED if i % 50 == 0 else None,
                "error": "the loss became NaN in epoch 7" if i % 50 == 0 else None,
                "dsc": None if i % 50 == 0 else 0.5 + 0.4 * rng.random(),
                "ended": now - half + i,
            }
            for i, trial in enumerate(trials[:half])
        ]
        table = TrialRow.__table__
        with database.engine.begin() as connection:
            for row in done:
                connection.execute(
                    update(table)
                    .where(table.c.hash == row["key"])
                    .values(
                        state=row["state"], failure=row["failure"], error=row["error"], val_dsc=row["dsc"],
                        test_dsc=row["dsc"], train_seconds=50.0, epochs=100, attempts=1, finished_at=row["ended"],
                        mlflow_run=row["key"] * 2,
                    )
                )  # fmt: skip
        for one in planned[half : half + 8]:
            bring(repository, lease, Planned(one.dataset, one.loss, one.gamma, state=TrialState.RUNNING, epoch=5))
