"""A search in its coordinator, on a real SQLite database: what is written before it runs, what is recorded of it once,
and how it goes on after the coordinator was killed at any point."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from storage.database import Database, open_database
from storage.records import NewTrial, Trial
from storage.repository import Repository
from storage.studies import Studies
from sweeper.grids.expansion import DataIdentity, expand, search_cells
from sweeper.grids.names import Naming
from sweeper.grids.schema import Grid
from sweeper.run.coordinator import Coordinator, Running, Work
from sweeper.run.lease import LeaseKeeper
from sweeper.search.adaptive import Adaptive, Search
from sweeper.search.samplers import SearchSettings
from tests.sweeper.run.test_coordinator import Notes, epoch_ended, finished
from trials.messages import Failed, Interrupted, Order, Report, Started
from trials.spec import TrialSpec
from trials.states import FailureKind, SweepState, TrialState

DATA = {"a": DataIdentity(("background", "nucleus"), 2, "p", "s")}
PAPER = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
EPOCHS = 4
SETTINGS = SearchSettings(trials=4, startup=2, pruner_settings={"n_startup_trials": 2})
States = optuna.trial.TrialState


class Killed(BaseException):
    """As if the process had been killed: nothing may catch it."""


def new_trial(spec: TrialSpec, study: str | None) -> NewTrial:
    return NewTrial(
        spec.hash, spec, Naming().label(spec), "a", spec.loss.name, spec.loss.gamma, spec.repeat, spec.seed,
        spec.results_version, study, 10.0,
    )  # fmt: skip


def value_of(trial: Trial) -> float:
    """Validation DSC: 0.9 at γ = 0.3, and less with distance."""
    return 0.9 - abs((trial.gamma or 0.0) - 0.3)


class Bench:
    """A sweep with a search over both unified losses, or one, beside what the grid lists."""

    def __init__(
        self, database: Database, folder: Path, *, name: str = "s", settings: SearchSettings = SETTINGS, **grid: Any
    ) -> None:
        table = {
            "name": name,
            "datasets": [{"name": "a"}],
            "losses": [{"name": "unified_focal_asym"}],
            "training": {"epochs": EPOCHS},
            "search": "tpe",
            **grid,
        }
        self.grid = Grid.model_validate(table)
        self.name, self.folder, self.settings = name, folder, settings
        self.repository, self.studies = Repository(database), Studies(database)
        listed = expand(self.grid, DATA)
        self.fixed = frozenset(spec.hash for spec in listed)
        cells = search_cells(self.grid, DATA)
        self.searches = [Search(f"{name}/a/{c.template.loss.name}", c, settings) for c in cells]
        known = self.repository.sweeps()
        if name not in {s.name for s in known}:
            self.repository.create_sweep(name, grid={}, trials=[new_trial(s, None) for s in listed])
        self.open()

    def open(self) -> None:
        """A new coordinator, as `sweeper resume` makes one; a former one's lease is given back."""
        self.keeper = LeaseKeeper(self.repository, self.name, 60.0).__enter__()
        self.notes = Notes()
        adaptive = Adaptive(
            self.repository,
            self.studies,
            self.searches,
            fixed=self.fixed,
            make_trial=lambda s, study: new_trial(s, study),
        )
        adaptive.describe()
        self.coordinator = Coordinator(
            self.repository,
            self.repository.sweep(self.name),
            self.keeper,
            studies=self.studies,
            work=Work(self.folder, self.folder),
            observer=self.notes,
            adaptive=adaptive,
        )

    def close(self) -> SweepState:
        state = self.coordinator.close()
        self.keeper.__exit__(None, None, None)
        return state

    def kill(self) -> None:
        self.keeper.__exit__(None, None, None)

    def train(self, running: Running, *, resumed_from: int = 0) -> None:
        """What a supervised training process would say, up to the order to end."""
        trial, handle = running.trial, self.coordinator.handle
        handle(trial.hash, Report(Started(resumed_from)))
        epoch = resumed_from
        while self.coordinator.order(trial.hash) is Order.CONTINUE:
            if epoch == EPOCHS:
                handle(trial.hash, finished(trial.hash, round(value_of(trial), 6)))
                return
            epoch += 1
            handle(trial.hash, epoch_ended(epoch, value_of(trial) * epoch / EPOCHS))
        handle(trial.hash, Report(Interrupted(Order.PRUNE, epoch), mlflow_run="run-p"))

    def run(self) -> None:
        while (running := self.coordinator.next()) is not None:
            self.train(running)

    def trials(self) -> list[Trial]:
        return self.repository.trials(self.name)

    def optuna(self, place: int = 0) -> list[optuna.trial.FrozenTrial]:
        return self.studies.study(self.searches[place].name).trials

    def check_studies(self) -> None:
        """Each trial of the database once in its Optuna study, with its state, and none that is forever running."""
        for search in self.searches:
            recorded = self.studies.study(search.name).trials
            stored = {t.hash: t for t in self.trials() if t.study == search.name}
            assert Counter(t.user_attrs["hash"] for t in recorded) == Counter(stored.keys())
            for one in recorded:
                trial = stored[one.user_attrs["hash"]]
                assert (
                    one.state is {TrialState.FINISHED: States.COMPLETE, TrialState.PRUNED: States.PRUNED}[trial.state]
                )
                assert one.params["gamma"] == trial.gamma


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path / 'test.db'}") as database:
        yield database


def results(trials: list[Trial]) -> list[tuple[float | None, TrialState, float | None, int]]:
    return [(t.gamma, t.state, t.val_dsc, t.epochs) for t in trials]


def test_a_search_from_its_first_to_its_last_trial(database: Database, tmp_path: Path) -> None:
    bench = Bench(database, tmp_path, losses=[{"name": "unified_focal_asym"}, {"name": "dice"}])
    assert [t.loss for t in bench.trials()] == ["dice"], "nothing is suggested before it can be claimed"
    bench.run()
    assert bench.close() is SweepState.FINISHED
    chosen = [t for t in bench.trials() if t.study]
    assert len(chosen) == 4
    assert len({t.gamma for t in chosen}) == 4
    assert {t.state for t in chosen} == {TrialState.FINISHED, TrialState.PRUNED}
    bench.check_studies()
    pruned = next(t for t in chosen if t.state is TrialState.PRUNED)
    assert (pruned.val_dsc, pruned.mlflow_run) == (None, "run-p")
    (attempt,) = bench.repository.attempts(pruned.hash)
    assert attempt.state.value == "pruned"
    assert "pruned after epoch" in (attempt.error or "")
    recorded = {t.user_attrs["hash"]: t for t in bench.optuna()}[pruned.hash]
    assert sorted(recorded.intermediate_values) == list(range(1, pruned.epochs + 1))
    assert len(bench.repository.epochs(pruned.hash)) == pruned.epochs < EPOCHS
    attributes = bench.studies.study(bench.searches[0].name).user_attrs
    assert attributes["search"]["settings"]["sampler"] == "tpe"
    assert attributes["search_hash"] == SETTINGS.hash


def test_a_trial_is_stored_before_it_is_claimed_and_one_at_a_time(database: Database, tmp_path: Path) -> None:
    bench = Bench(database, tmp_path)
    first = bench.coordinator.next()
    assert first is not None
    assert [t.hash for t in bench.trials()] == [first.trial.hash]
    second = bench.coordinator.next()
    assert second is not None, "a place would be idle otherwise"
    assert bench.coordinator.request(first).supervised
    bench.train(first)
    bench.train(second)
    bench.run()
    bench.close()
    bench.check_studies()


def test_two_studies_take_turns(database: Database, tmp_path: Path) -> None:
    bench = Bench(database, tmp_path, losses=[{"name": "unified_focal_asym"}, {"name": "unified_focal_sym"}])
    running = [bench.coordinator.next() for _ in range(2)]
    assert {r.trial.loss for r in running if r is not None} == {"unified_focal_asym", "unified_focal_sym"}
    bench.kill()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    with open_database(f"sqlite:///{folder / 'test.db'}") as database:
        bench = Bench(database, folder)
        bench.run()
        bench.close()
        return results(bench.trials())


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", range(1, 40, 3))
def test_killed_anywhere_it_ends_as_if_it_had_not_been(
    database: Database, tmp_path: Path, kill_at: int, undisturbed: list[Any]
) -> None:
    """The coordinator dies before its n-th write; the next one goes on from the database and the checkpoints."""
    bench = Bench(database, tmp_path)
    writes = itertools.count(1)
    write = bench.keeper.write

    def dying(*arguments: Any, **options: Any) -> Any:
        if next(writes) == kill_at:
            raise Killed
        return write(*arguments, **options)

    bench.keeper.write = dying  # type: ignore[method-assign]
    checkpoint: dict[str, int] = {}
    try:
        bench.run()
    except Killed:
        checkpoint = {t.hash: len(bench.repository.epochs(t.hash)) for t in bench.trials()}
    bench.kill()
    bench.open()
    while (running := bench.coordinator.next()) is not None:
        bench.train(running, resumed_from=checkpoint.pop(running.trial.hash, 0))
    assert bench.close() is SweepState.FINISHED
    bench.check_studies()
    assert results(bench.trials()) == undisturbed


def test_killed_between_the_end_of_a_trial_and_its_study(database: Database, tmp_path: Path) -> None:
    bench = Bench(database, tmp_path)
    running = bench.coordinator.next()
    assert running is not None

    def killed(*_: Any) -> None:
        raise Killed

    assert bench.coordinator.adaptive is not None
    bench.coordinator.adaptive.ended = killed  # type: ignore[method-assign, assignment]
    with pytest.raises(Killed):
        bench.train(running)
    assert bench.optuna() == []
    bench.kill()
    bench.open()
    bench.run()
    bench.close()
    bench.check_studies()


def test_a_finished_trial_of_another_sweep_costs_nothing(database: Database, tmp_path: Path) -> None:
    repository = Repository(database)
    grid = {
        "name": "fixed",
        "datasets": [{"name": "a"}],
        "losses": [{"name": "unified_focal_asym", "gamma": PAPER}],
        "training": {"epochs": EPOCHS},
    }
    specs = expand(Grid.model_validate(grid), DATA)
    repository.create_sweep("fixed", grid={}, trials=[new_trial(spec, None) for spec in specs])
    with LeaseKeeper(repository, "fixed", 60.0) as keeper, Studies(database) as studies:
        coordinator = Coordinator(
            repository,
            repository.sweep("fixed"),
            keeper,
            studies=studies,
            work=Work(tmp_path, tmp_path),
            observer=Notes(),
        )
        while (running := coordinator.next()) is not None:
            coordinator.handle(running.trial.hash, finished(running.trial.hash, round(value_of(running.trial), 6)))
    bench = Bench(database, tmp_path, losses=[{"name": "unified_focal_asym", "gamma": PAPER}])
    assert bench.coordinator.next() is None
    assert bench.coordinator.done()
    assert bench.close() is SweepState.FINISHED
    assert {t.sweep for t in bench.trials()} == {"fixed"}
    assert len(bench.trials()) == SETTINGS.trials
    assert min(abs((t.gamma or 0) - 0.3) for t in bench.trials()) < 0.15, "it knew where the best was"
    bench.check_studies()


def test_what_a_search_gave_up_is_trained_to_its_end_by_a_fixed_grid(database: Database, tmp_path: Path) -> None:
    bench = Bench(database, tmp_path)
    bench.run()
    bench.close()
    pruned = next(t for t in bench.trials() if t.state is TrialState.PRUNED)
    repository = bench.repository
    spec = pruned.spec
    repository.create_sweep("fixed", grid={}, trials=[new_trial(spec, None)])
    assert repository.trials("fixed")[0].state is TrialState.PRUNED
    with LeaseKeeper(repository, "fixed", 60.0) as keeper, Studies(database) as studies:
        coordinator = Coordinator(
            repository,
            repository.sweep("fixed"),
            keeper,
            studies=studies,
            work=Work(tmp_path, tmp_path),
            observer=Notes(),
        )
        running = coordinator.next()
        assert running is not None
        assert running.trial.hash == pruned.hash
        assert not coordinator.request(running).supervised
        coordinator.handle(pruned.hash, finished(pruned.hash, 0.5))
        assert coordinator.close() is SweepState.FINISHED
    assert bench.trials()[[t.hash for t in bench.trials()].index(pruned.hash)].state is TrialState.FINISHED
    assert len(bench.optuna()) == SETTINGS.trials


def test_what_the_grid_lists_is_not_suggested_too(database: Database, tmp_path: Path) -> None:
    listed = {"name": "unified_focal_asym", "gamma": 0.5}
    searched = {"name": "unified_focal_asym", "gamma": [0.3, 0.5, 0.7]}
    bench = Bench(database, tmp_path, losses=[listed, searched])
    bench.run()
    assert bench.close() is SweepState.FINISHED
    assert sorted(t.gamma or 0.0 for t in bench.trials()) == [0.3, 0.5, 0.7]
    assert [t.gamma for t in bench.trials() if t.study is None] == [0.5]


def test_every_point_is_trained_with_every_seed(database: Database, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, trials=2, pruner="none", pruner_settings={})
    bench = Bench(database, tmp_path, settings=settings, seeds=[3, 5])
    bench.run()
    bench.close()
    assert Counter(t.gamma for t in bench.trials()).most_common()[0][1] == 2
    assert sorted({(t.repeat, t.seed) for t in bench.trials()}) == [(0, 3), (1, 5)]
    assert len(bench.trials()) == 4
    bench.check_studies()


def test_a_failed_trial_is_tried_and_not_recorded(database: Database, tmp_path: Path) -> None:
    bench = Bench(database, tmp_path)
    running = bench.coordinator.next()
    assert running is not None
    bench.coordinator.handle(running.trial.hash, Report(Failed(FailureKind.DIVERGED, "nan")))
    bench.run()
    assert bench.close() is SweepState.FINISHED
    assert len(bench.trials()) == SETTINGS.trials
    assert len(bench.optuna()) == SETTINGS.trials - 1


def test_a_limit_and_a_drain_leave_the_rest_to_a_later_run(database: Database, tmp_path: Path) -> None:
    bench = Bench(database, tmp_path)
    running = bench.coordinator.next()
    assert running is not None
    bench.coordinator.drain("enough")
    bench.train(running)
    assert bench.coordinator.next() is None
    assert bench.close() is SweepState.STOPPED
    bench.open()
    bench.run()
    assert bench.close() is SweepState.FINISHED
    assert len(bench.trials()) == SETTINGS.trials


def test_the_learning_rate_and_delta_are_recorded_too(database: Database, tmp_path: Path) -> None:
    bench = Bench(
        database,
        tmp_path,
        losses=[{"name": "unified_focal_asym", "delta": {"low": 0.4, "high": 0.8}}],
        search={"sampler": "tpe", "learning_rate": {"low": 0.01, "high": 0.3, "log": True}},
    )
    bench.run()
    bench.close()
    for trial in bench.optuna():
        assert set(trial.params) == {"gamma", "delta", "learning_rate"}
    stored = {t.hash: t.spec for t in bench.trials()}
    for trial in bench.optuna():
        spec = stored[trial.user_attrs["hash"]]
        assert trial.params["learning_rate"] == spec.training.learning_rate
        assert trial.params["delta"] == spec.loss.parameters["delta"]
