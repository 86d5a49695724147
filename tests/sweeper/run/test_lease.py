"""The lease's keeper on a real SQLite database."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from storage.database import open_database
from storage.errors import LeaseHeldError, LeaseLostError
from storage.records import NewTrial
from storage.repository import Repository
from sweeper.grids.names import Naming
from sweeper.run.lease import LeaseKeeper, holder_name
from sweeper.views.status import status_of, status_text
from tests.storage.storage_samples import let_lease_run_out
from trials.spec import DataSpec, LossSpec, TrialSpec
from trials.states import SweepState


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with open_database(f"sqlite:///{tmp_path / 'test.db'}") as database:
        repository = Repository(database)
        spec = TrialSpec(DataSpec("nuclei", ("background", "nucleus"), 2), LossSpec("ce"))
        trial = NewTrial(spec.hash, spec, Naming().label(spec), "nuclei", "ce", None, 0, 0, 1)
        repository.create_sweep("s", grid={}, trials=[trial])
        yield repository


def test_held_while_open_and_given_back(repository: Repository) -> None:
    with LeaseKeeper(repository, "s", 30.0):
        lease = repository.lease("s")
        assert lease is not None
        assert lease.holder == holder_name()
        with (
            pytest.raises(LeaseHeldError, match=str(lease.holder).split(" ", maxsplit=1)[0]),
            LeaseKeeper(repository, "s", 30.0),
        ):
            pass
    assert repository.lease("s") is None


def test_given_back_after_an_error(repository: Repository) -> None:
    with pytest.raises(RuntimeError), LeaseKeeper(repository, "s", 30.0):
        raise RuntimeError
    assert repository.lease("s") is None


def test_renewed_while_open(repository: Repository) -> None:
    with LeaseKeeper(repository, "s", 0.6):
        first = later = repository.lease("s")
        assert first is not None
        while later == first:
            time.sleep(0.05)
            later = repository.lease("s")
        assert later is not None
        assert later.expires_at > first.expires_at
        assert later.fencing == first.fencing


def test_a_taken_over_lease_writes_nothing_and_is_not_given_back(repository: Repository) -> None:
    keeper = LeaseKeeper(repository, "s", 30.0).__enter__()
    keeper.stop_renewing()
    let_lease_run_out(repository.database, keeper.lease.sweep_id)
    repository.acquire_lease("s", "another", 30.0)
    with pytest.raises(LeaseLostError):
        keeper.write(repository.set_sweep_state, SweepState.FINISHED)
    keeper.__exit__(None, None, None)
    lease = repository.lease("s")
    assert lease is not None
    assert lease.holder == "another"
    assert repository.sweep("s").state is SweepState.RUNNING


def test_the_heart_notices_a_take_over(repository: Repository) -> None:
    keeper = LeaseKeeper(repository, "s", 0.6).__enter__()
    taken = False
    while not taken:  # unless a beat comes between
        let_lease_run_out(repository.database, keeper.lease.sweep_id)
        with contextlib.suppress(LeaseHeldError):
            taken = bool(repository.acquire_lease("s", "another", 30.0))
    with pytest.raises(LeaseLostError, match="another"):
        check_for_ever(keeper)  # writes nothing, which would tell it as well


def check_for_ever(keeper: LeaseKeeper) -> None:
    while True:
        keeper.check()
        time.sleep(0.05)


def test_status_tells_a_dead_coordinator_from_a_living_one(repository: Repository) -> None:
    def text() -> str:
        console = Console(width=100)
        with console.capture() as captured:
            console.print(status_text(status_of(repository, "s")))
        return captured.get()

    keeper = LeaseKeeper(repository, "s", 60.0).__enter__()
    assert "run by" in text()
    keeper.stop_renewing()
    let_lease_run_out(repository.database, keeper.lease.sweep_id)
    assert "is lost: its lease expired" in text()
    assert "sweeper resume s" in text()
    assert status_of(repository, "s").lease.expired
