"""A sweep that an earlier revision began and that was killed in its middle (`tests/fixtures`), gone on with."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import open_database, upgrade
from storage.repository import Repository
from storage.studies import Studies
from sweeper.grids.files import parse_grid
from sweeper.run.coordinator import Coordinator, Work
from sweeper.run.lease import LeaseKeeper
from sweeper.run.takeover import take_over
from trials.messages import Order, read_command, to_json
from trials.spec import RESULTS_VERSION
from trials.states import TrialState
from workers.training.checkpoints import CheckpointFolder

FIXTURE = Path(__file__).parents[1] / "fixtures" / "taken-over"
HALF_TRAINED = "38aa8e9509c6f959"
TRAINED, EPOCHS = 7, 12
"""Its worker had trained seven epochs when it was lost; the killed coordinator had heard of four."""


class Silent:
    def changed(self, trials: object, running: object) -> None: ...

    def say(self, line: str) -> None: ...


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """The earlier revision's database, upgraded."""
    connection = sqlite3.connect(tmp_path / "sweeper.db")
    connection.executescript(gzip.decompress((FIXTURE / "sweeper.sql.gz").read_bytes()).decode())
    connection.close()
    url = f"sqlite:///{tmp_path}/sweeper.db"
    upgrade(url)
    with open_database(url, create=False) as database:
        yield Repository(database)


def test_what_was_open_goes_on_and_what_was_finished_stays(repository: Repository, tmp_path: Path) -> None:
    before = {t.hash: t for t in repository.trials("taken-over")}
    assert [t.state for t in before.values()].count(TrialState.FINISHED) == 2
    assert all(t.spec.hash == t.hash and t.results_version == RESULTS_VERSION for t in before.values())
    with LeaseKeeper(repository, "taken-over", 30.0) as keeper, Studies(repository.database) as studies:
        assert take_over(repository, keeper, list(before.values()), fixed=True) == []
        coordinator = Coordinator(
            repository,
            repository.sweep("taken-over"),
            keeper,
            studies=studies,
            work=Work(tmp_path, tmp_path),
            observer=Silent(),
        )
        claimed = []
        while (running := coordinator.next()) is not None:
            request = coordinator.request(running)
            assert read_command(to_json(request)) == request
            claimed.append(running.trial.hash)
    assert sorted(claimed) == sorted(h for h, t in before.items() if t.state is not TrialState.FINISHED)
    assert HALF_TRAINED in claimed
    after = {t.hash: t for t in repository.trials("taken-over")}
    assert all(after[h] == t for h, t in before.items() if t.state is TrialState.FINISHED)


def test_the_checkpoint_of_a_trial_is_read(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE / HALF_TRAINED, tmp_path / HALF_TRAINED)
    checkpoint, skipped = CheckpointFolder(tmp_path / HALF_TRAINED).load()
    assert skipped == ()
    assert checkpoint is not None
    assert checkpoint.epoch == TRAINED


@pytest.mark.slow
def test_a_half_trained_trial_is_trained_to_its_end(repository: Repository, tmp_path: Path) -> None:
    """On data that this revision prepares, under the same key."""
    from sweeper.data.preparation import prepare
    from sweeper.settings import Settings
    from workers.training.learner import Learners
    from workers.training.trial import Listener, run_trial

    settings = Settings(home=tmp_path / "home", database_url=repository.database.url, data=None)
    trial = repository.trial(HALF_TRAINED, "taken-over")
    ready = prepare(parse_grid(repository.sweep("taken-over").grid, "taken-over"), settings, lambda *told: None)
    assert ready["nuclei"].prepared.key == trial.spec.data.prepared

    folder, resumed = tmp_path / HALF_TRAINED, []
    shutil.copytree(FIXTURE / HALF_TRAINED, folder)
    listener = Listener(lambda epoch, remarks: resumed.append(epoch), lambda epoch: Order.CONTINUE)
    result = run_trial(
        trial.spec, prepared_root=settings.prepared, folder=folder, learners=Learners(), listener=listener
    )
    assert resumed == [TRAINED]
    assert result.resumed_from == TRAINED
    assert [epoch.epoch for epoch in result.history] == list(range(1, EPOCHS + 1))
    assert result.hash == HALF_TRAINED
