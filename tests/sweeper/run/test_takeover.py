"""A sweep that another results version began: its open trials are trained anew, what has finished stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage.database import open_database
from storage.records import NewTrial
from storage.repository import Repository
from storage.studies import Studies
from sweeper.grids.files import load_grid
from sweeper.run.coordinator import Coordinator, Work
from sweeper.run.lease import LeaseKeeper
from sweeper.run.takeover import take_over, to_take_over
from tests.results import scored
from tests.storage.storage_samples import let_lease_run_out
from tests.sweeper.conftest import outcome
from trials.messages import Finished, Report
from trials.spec import RESULTS_VERSION, DataSpec, LossSpec, TrialSpec
from trials.states import SweepState, TrialState

OLDER = RESULTS_VERSION - 1


class Silent:
    def changed(self, trials: object, running: object) -> None: ...

    def say(self, line: str) -> None: ...


def trial(seed: int, version: int) -> NewTrial:
    data = DataSpec("nuclei", ("background", "nucleus"), 2)
    spec = TrialSpec(data, LossSpec("ce"), seed=seed, results_version=version)
    return NewTrial(spec.hash, spec, f"cell {seed}", "nuclei", "ce", None, 0, seed, version, cost=float(seed))


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """The older version's sweep of four cells: the first finished, the second in its middle, its coordinator killed."""
    with open_database(f"sqlite:///{tmp_path}/sweeper.db") as database:
        repository = Repository(database)
        trials = [trial(seed, OLDER) for seed in range(4)]
        repository.create_sweep("demo", grid=load_grid("demo").to_dict(), trials=trials)
        lease = repository.acquire_lease("demo", "older", 60)
        done = repository.claim(lease, trials[0].hash)
        assert done is not None
        repository.finish(lease, done.id, replace(outcome(), hash=trials[0].hash))
        assert repository.claim(lease, trials[1].hash) is not None
        let_lease_run_out(database, lease.sweep_id)
        yield repository


def coordinator(repository: Repository, keeper: LeaseKeeper, studies: Studies, folder: Path) -> Coordinator:
    return Coordinator(
        repository,
        repository.sweep("demo"),
        keeper,
        studies=studies,
        work=Work(folder, folder),
        observer=Silent(),
    )


def test_open_trials_are_trained_by_this_version_and_finished_ones_stay(repository: Repository, tmp_path: Path) -> None:
    first = repository.trials("demo")[0]
    with LeaseKeeper(repository, "demo", 30.0) as keeper, Studies(repository.database) as studies:
        lines = take_over(repository, keeper, repository.trials("demo"), fixed=True)
        assert lines == [
            f"3 trials of results version {OLDER} had not finished; they are trained by version {RESULTS_VERSION}, "
            "from the first epoch",
            f"1 trial has results of another version and stays, marked as outdated; to train it by version "
            f"{RESULTS_VERSION}, too, launch the grid again with --extend",
        ]
        assert take_over(repository, keeper, repository.trials("demo"), fixed=True) == lines[1:]
        ours = coordinator(repository, keeper, studies, tmp_path)
        trained = []
        while (running := ours.next()) is not None:
            trained.append((running.trial.spec.seed, running.trial.spec.results_version))
            score = scored("test", "case-test", "nucleus", 0.5)
            result = replace(outcome(), hash=running.trial.hash, scores=(score,))
            ours.handle(running.trial.hash, Report(Finished(result)))
        assert trained == [(3, RESULTS_VERSION), (2, RESULTS_VERSION), (1, RESULTS_VERSION)]
        assert ours.done()
        assert ours.close() is SweepState.FINISHED
    after = repository.trials("demo")
    assert after[0] == first
    states = [(t.seed, t.results_version, t.state) for t in after[1:]]
    stopped = [(seed, OLDER, TrialState.STOPPED) for seed in (1, 2, 3)]
    assert states == stopped + [(seed, RESULTS_VERSION, TrialState.FINISHED) for seed in (1, 2, 3)]


def test_a_trial_of_another_version_is_never_trained_as_such(repository: Repository, tmp_path: Path) -> None:
    """Also where a retry has queued it while the sweep runs."""
    with LeaseKeeper(repository, "demo", 30.0) as keeper, Studies(repository.database) as studies:
        ours = coordinator(repository, keeper, studies, tmp_path)
        assert ours.next() is None
        assert ours.done()


def test_where_all_is_of_this_version_nothing_changes(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path}/sweeper.db") as database:
        repository = Repository(database)
        trials = [trial(seed, RESULTS_VERSION) for seed in range(2)]
        repository.create_sweep("demo", grid=load_grid("demo").to_dict(), trials=trials)
        before = repository.trials("demo")
        with LeaseKeeper(repository, "demo", 30.0) as keeper:
            assert take_over(repository, keeper, before, fixed=True) == []
        assert repository.trials("demo") == before


def test_a_cell_that_another_sweep_has_ended_is_trained_anew_here_too(repository: Repository) -> None:
    """A trial is shared by hash: the other sweep that took it over left it stopped."""
    shared = [t for t in repository.trials("demo") if t.state is not TrialState.FINISHED]
    repository.create_sweep("second", grid=load_grid("demo").to_dict(), trials=[trial(t.seed, OLDER) for t in shared])
    with LeaseKeeper(repository, "demo", 30.0) as keeper:
        take_over(repository, keeper, repository.trials("demo"), fixed=True)
    with LeaseKeeper(repository, "second", 30.0) as keeper:
        lines = take_over(repository, keeper, repository.trials("second"), fixed=True)
        assert lines[0].startswith(f"3 trials of results version {OLDER} had not finished")
        assert take_over(repository, keeper, repository.trials("second"), fixed=True) == []
    ours = [t for t in repository.trials("second") if t.results_version == RESULTS_VERSION]
    assert [(t.seed, t.state) for t in ours] == [(seed, TrialState.QUEUED) for seed in (1, 2, 3)]


def test_a_cell_that_a_search_of_the_other_version_pruned_is_trained_in_a_fixed_grid(repository: Repository) -> None:
    lost = repository.trials("demo")[2]
    with LeaseKeeper(repository, "demo", 30.0) as keeper:
        attempt = keeper.write(repository.claim, lost.hash)
        assert attempt is not None
        keeper.write(repository.prune, attempt.id)
        left = to_take_over(repository.trials("demo"), fixed=False)
        assert lost.hash not in {t.hash for t in left}
        take_over(repository, keeper, repository.trials("demo"), fixed=True)
    anew = [t for t in repository.trials("demo") if t.seed == lost.seed and t.results_version == RESULTS_VERSION]
    assert [t.state for t in anew] == [TrialState.QUEUED]
