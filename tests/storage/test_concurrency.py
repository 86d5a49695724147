"""Several processes at once: every trial is claimed once, every result is stored once."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from children import run_together, start
from sqlalchemy import func, select
from storage_samples import new_trials, trial_hash

from storage.database import open_database
from storage.errors import LeaseLostError
from storage.models import AttemptRow, EpochRow, ScoreRow
from storage.records import Lease, TrialState
from storage.repository import Repository

PROCESSES = 8


def test_eight_processes_claim_two_hundred_trials_once_each(url: str, tmp_path: Path) -> None:
    with open_database(url) as database:
        repository = Repository(database)
        repository.create_sweep("study", grid={}, trials=new_trials(200))
        lease = repository.acquire_lease("study", "holder", 1000)
        (tmp_path / "line").mkdir()
        commands = [
            ("claim-all", url, lease.sweep_id, lease.holder, lease.fencing, tmp_path / "line", PROCESSES)
        ] * PROCESSES
        claimed = [output.split() for output in run_together(*commands)]
        assert Counter(h for part in claimed for h in part) == Counter(trial_hash(i) for i in range(200))
        assert sum(bool(part) for part in claimed) > 1, "only one process claimed: nothing was shown"
        assert {a.number for a in repository.attempts_of_sweep("study")} == {1}
        assert repository.counts("study")[TrialState.RUNNING] == 200


@pytest.mark.slow
def test_eight_sweeps_share_two_hundred_trials(url: str, tmp_path: Path) -> None:
    """Each process holds a sweep of its own, and all sweeps have the same trials."""
    with open_database(url) as database:
        repository = Repository(database)
        leases: list[Lease] = []
        for number in range(PROCESSES):
            repository.create_sweep(f"study {number}", grid={}, trials=new_trials(200))
            leases.append(repository.acquire_lease(f"study {number}", f"holder{number}", 1000))
        (tmp_path / "line").mkdir()
        commands = [
            ("claim-all", url, lease.sweep_id, lease.holder, lease.fencing, tmp_path / "line", PROCESSES)
            for lease in leases
        ]
        claimed = [output.split() for output in run_together(*commands)]
        assert Counter(h for part in claimed for h in part) == Counter(trial_hash(i) for i in range(200))
        assert sum(bool(part) for part in claimed) > 1, "only one process claimed: nothing was shown"


def test_a_killed_claimer_loses_its_trials_to_the_next_holder(url: str, tmp_path: Path) -> None:
    with open_database(url) as database:
        repository = Repository(database)
        repository.create_sweep("study", grid={}, trials=new_trials(2000))
        lease = repository.acquire_lease("study", "holder", 1000)
        line = tmp_path / "line"
        line.mkdir()
        child = start("claim-all", url, lease.sweep_id, lease.holder, lease.fencing, line, 1)
        while repository.counts("study")[TrialState.RUNNING] < 5:
            assert child.poll() is None
            time.sleep(0.05)
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
        running = repository.counts("study")[TrialState.RUNNING]
        repository.release_lease(lease)
        new = repository.acquire_lease("study", "second", 1000)
        counts = repository.counts("study")
        assert (counts[TrialState.QUEUED], counts[TrialState.RUNNING]) == (2000, 0)
        attempts = repository.attempts_of_sweep("study")
        assert len(attempts) == running
        assert {a.state.value for a in attempts} == {"lost"}
        with pytest.raises(LeaseLostError):
            repository.claim_next(lease)
        assert repository.claim_next(new) is not None


def check_eight_writers(url: str, each: int) -> None:
    run_together(*(("write-results", url, f"writer{n}", each) for n in range(PROCESSES)))
    with open_database(url) as database:
        repository = Repository(database)
        total = PROCESSES * each
        for number in range(PROCESSES):
            assert repository.counts(f"writer{number}")[TrialState.FINISHED] == each
        columns = repository.score_columns("writer3")
        # 1 image of 2 classes in 2 partitions; each trial's own value stands in all its rows, and in no other's.
        assert columns["dsc"] == [index / each for index in range(each) for _ in range(4)]
        assert len(set(columns["trial"])) == each
        rows = database.read(
            lambda c: [
                c.execute(select(func.count()).select_from(t)).scalar_one() for t in (ScoreRow, AttemptRow, EpochRow)
            ]
        )
        assert rows == [4 * total, total, total]


@pytest.mark.postgres
def test_eight_writers_lose_and_double_nothing(postgres_url: str) -> None:
    check_eight_writers(postgres_url, 60)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(4 * 3600)
def test_eight_writers_of_ten_thousand_results(postgres_url: str) -> None:
    check_eight_writers(postgres_url, 10_000)
