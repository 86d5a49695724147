"""Several processes at once: every trial is claimed once, every result is stored once."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest
from children import claim_all, run_together, start, write_results
from sqlalchemy import func, select
from storage_samples import new_trials, trial_hash

from storage.database import open_database
from storage.errors import LeaseLostError
from storage.models import AttemptRow, EpochRow, ScoreRow
from storage.records import Lease
from storage.repository import Repository
from trials.states import TrialState

PROCESSES, FEW = 8, 4


@pytest.fixture
def meeting(tmp_path: Path) -> Path:
    """An empty folder in which the processes say that they hold a trial."""
    (tmp_path / "meeting").mkdir()
    return tmp_path / "meeting"


@pytest.mark.slow
def test_several_processes_claim_each_trial_once(url: str, meeting: Path) -> None:
    with open_database(url) as database:
        repository = Repository(database)
        repository.create_sweep("study", grid={}, trials=new_trials(100))
        lease = repository.acquire_lease("study", "holder", 1000)
        hashes = [trial_hash(i) for i in range(100)]
        claimed = run_together(*[(claim_all, url, lease, hashes, meeting, FEW)] * FEW)
        assert all(claimed)
        assert Counter(h for part in claimed for h in part) == Counter(hashes)
        assert {a.number for a in repository.attempts_of_sweep("study")} == {1}
        assert repository.counts("study")[TrialState.RUNNING] == 100


@pytest.mark.slow
def test_eight_sweeps_share_two_hundred_trials(url: str, meeting: Path) -> None:
    """Each process holds a sweep of its own, and all sweeps have the same trials."""
    with open_database(url) as database:
        repository = Repository(database)
        leases: list[Lease] = []
        for number in range(PROCESSES):
            repository.create_sweep(f"study {number}", grid={}, trials=new_trials(200))
            leases.append(repository.acquire_lease(f"study {number}", f"holder{number}", 1000))
        hashes = [trial_hash(i) for i in range(200)]
        claimed = run_together(*((claim_all, url, lease, hashes, meeting, PROCESSES) for lease in leases))
        assert all(claimed)
        assert Counter(h for part in claimed for h in part) == Counter(hashes)


@pytest.mark.slow
def test_a_killed_claimer_loses_its_trials_to_the_next_holder(url: str, meeting: Path) -> None:
    with open_database(url) as database:
        repository = Repository(database)
        repository.create_sweep("study", grid={}, trials=new_trials(2000))
        lease = repository.acquire_lease("study", "holder", 1000)
        child = start(claim_all, url, lease, [trial_hash(i) for i in range(2000)], meeting, 1)
        while repository.counts("study")[TrialState.RUNNING] < 5:
            assert child.is_alive()
            time.sleep(0.05)
        child.kill()
        child.join()
        running = repository.counts("study")[TrialState.RUNNING]
        repository.release_lease(lease)
        new = repository.acquire_lease("study", "second", 1000)
        counts = repository.counts("study")
        assert (counts[TrialState.QUEUED], counts[TrialState.RUNNING]) == (2000, 0)
        attempts = repository.attempts_of_sweep("study")
        assert len(attempts) == running
        assert {a.state.value for a in attempts} == {"lost"}
        with pytest.raises(LeaseLostError):
            repository.claim(lease, trial_hash(0))
        assert repository.claim(new, trial_hash(0)) is not None


def check_writers(url: str, processes: int, each: int) -> None:
    run_together(*((write_results, url, f"writer{n}", each) for n in range(processes)))
    with open_database(url) as database:
        repository = Repository(database)
        total = processes * each
        for number in range(processes):
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


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(4 * 3600)
def test_eight_writers_of_thousands_of_results(postgres_url: str) -> None:
    """By hand SWEEPER_TEST_RESULTS=10000 of each, which takes eight minutes on 2 cores."""
    check_writers(postgres_url, PROCESSES, int(os.environ.get("SWEEPER_TEST_RESULTS", "130")))
