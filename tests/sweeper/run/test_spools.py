"""What a kill, a removed folder or a later metric leaves open in spools is put right from the database, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import open_database
from storage.records import Trial
from storage.repository import Repository
from sweeper.run.spools import complete_spools, end_spools, make_spools, sources_of, spool_of
from sweeper.settings import Settings, load_settings
from trials.results import Score
from trials.states import TrialState
from workers.tracking import Spool
from workers.tracking.records import EndRecord, LabelRecord, ScoresRecord, StartRecord
from workers.tracking.spool import read_lines


@pytest.fixture
def settings(stored: Path) -> Settings:
    return load_settings()


@pytest.fixture
def repository(settings: Settings) -> Iterator[Repository]:
    with open_database(settings.database) as database:
        yield Repository(database)


def begin(settings: Settings, trial: Trial) -> Path:
    path = spool_of(settings, trial.hash)
    with Spool(path) as spool:
        spool.start(trial.spec, label=trial.label, sweep="demo")
    return path


def ends(path: Path) -> list[EndRecord]:
    return [line.record for line in read_lines(path) if isinstance(line.record, EndRecord)]


def test_trials_that_a_killed_coordinator_left_behind_end_once_and_running_ones_do_not(
    settings: Settings, repository: Repository
) -> None:
    lease = repository.acquire_lease("demo", "test", 60)
    trials = repository.trials("demo")
    queued = next(t for t in trials if t.state is TrialState.QUEUED)
    lost = next(t for t in trials if t.state is TrialState.FAILED and t.failure == "lost")
    attempt = repository.claim(lease, [t for t in trials if t.state is TrialState.QUEUED][1].hash)
    assert attempt is not None
    running = next(t for t in repository.trials("demo") if t.state is TrialState.RUNNING)
    paths = [begin(settings, trial) for trial in (queued, lost, running)]
    assert set(end_spools(settings, repository.trials("demo"))) == set(paths[:2])
    assert end_spools(settings, repository.trials("demo")) == []
    assert [[end.status for end in ends(path)] for path in paths] == [["KILLED"], ["FAILED"], []]
    assert ends(paths[1])[0].tags["failure"] == "lost"


def test_a_name_that_changed_as_its_sweep_grew_follows_once(settings: Settings, repository: Repository) -> None:
    trial = next(t for t in repository.trials("demo") if t.state is TrialState.FINISHED)
    with Spool(spool_of(settings, trial.hash)) as spool:
        spool.start(trial.spec, label="as it was", sweep="demo")
    for _ in range(2):
        complete_spools(settings, repository, "demo")
    labels = [r for line in read_lines(spool_of(settings, trial.hash)) if isinstance(r := line.record, LabelRecord)]
    assert [one.name for one in labels] == [trial.label]
    assert trial.label == f"nuclei · {labels[0].tags['loss_at_gamma']}"


def test_metrics_that_came_after_the_end_are_added_to_the_spool_once(
    settings: Settings, repository: Repository
) -> None:
    sweep = repository.sweep("demo")
    make_spools(settings, repository, sweep, "real")
    trial = next(t for t in repository.trials("demo") if t.state is TrialState.FINISHED)
    path = spool_of(settings, trial.hash)
    (end,) = ends(path)
    assert end.values["test_dsc"] == 0.75
    (start,) = [line.record for line in read_lines(path) if isinstance(line.record, StartRecord)]
    assert start.dataset.source == sources_of(sweep)["nuclei"]
    lease = repository.acquire_lease("demo", "test", 60)
    only = [Score("test", "case-test", "nucleus", {"nsd(tolerance=2)": 0.5})]
    repository.add_metrics(lease, trial.hash, only)
    for _ in range(2):
        complete_spools(settings, repository, "demo")
    (later,) = [line.record for line in read_lines(path) if isinstance(line.record, ScoresRecord)]
    assert later.values == {"test_nsd_tolerance_2": 0.5, "test_nsd_tolerance_2_nucleus": 0.5}
    assert later.step == end.step
