"""Plans on a database: what is finished, what it will cost, what is missing. The printed form is tested in cli/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage.database import open_database
from storage.records import Epoch, Outcome, Score
from storage.repository import Repository
from sweeper.data import identify
from sweeper.errors import GridError
from sweeper.grid import Grid, expand
from sweeper.grids import load_grid
from sweeper.launch import new_trials, sweep_table
from sweeper.plan import make_plan
from sweeper.schedule import learn_costs
from sweeper.settings import Settings
from workers.spec import TrialSpec

SECONDS = 30.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", database_url=f"sqlite:///{tmp_path / 'x.db'}", data=None)


def specs_of(grid: Grid, settings: Settings) -> tuple[TrialSpec, ...]:
    return expand(grid, {name: known.identity for name, known in identify(grid, settings).items()})


def finish(settings: Settings, grid: Grid, count: int) -> None:
    """Stores a sweep of the grid with its first `count` trials finished, in `SECONDS` each."""
    specs = specs_of(grid, settings)
    with open_database(settings.database) as database:
        repository = Repository(database)
        size = {"nuclei": (38, 128 * 128)}
        details = {"data": {"nuclei": {"images": 38, "voxels": 128 * 128}}}
        trials = new_trials(grid, specs, learn_costs([]), size)
        repository.create_sweep(grid.name, grid=sweep_table(grid), trials=trials, details=details)
        lease = repository.acquire_lease(grid.name, "test", 60)
        for spec in specs[:count]:
            attempt = repository.claim(lease, spec.hash, host="host")
            assert attempt is not None
            history = tuple(Epoch(n + 1, 0.5, 0.5, 0.5, 0.1, 19, 1.0) for n in range(spec.training.epochs))
            score = Score("test", "x", "nucleus", 0.5, 0.5, 0.5, 0.5)
            result = Outcome((score,), history, 1, 0.5, 0.5, 0.5, 19, 0, 10, SECONDS, 1.0, 100.0)
            repository.finish(lease, attempt.id, result)


def test_without_a_database_all_is_new_and_nothing_is_made(settings: Settings, tmp_path: Path) -> None:
    plan = make_plan(load_grid("demo"), settings)
    assert {trial.state for trial in plan.trials} == {"new"}
    assert plan.missing == ()
    assert plan.unprepared == ("nuclei",)
    assert plan.costs.error is None
    assert not list(tmp_path.iterdir())


def test_finished_trials_of_another_sweep_are_shared(settings: Settings) -> None:
    finish(settings, load_grid("demo", ['name="first"']), 6)
    plan = make_plan(load_grid("demo", ['name="second"']), settings)
    assert [trial.state for trial in plan.trials] == ["finished"] * 6 + ["queued"] * 10
    assert {trial.sweep for trial in plan.trials[:6]} == {"first"}
    assert (len(plan.open), plan.to_dict()["finished"]) == (10, 6)


def test_a_grown_grid_has_only_what_is_new_to_run(settings: Settings) -> None:
    finish(settings, load_grid("demo"), 16)
    plan = make_plan(load_grid("demo", ["losses.focal.gamma=[2, 3]"]), settings)
    assert [trial.spec.loss.gamma for trial in plan.open] == [3.0]


def test_costs_are_learned_from_what_is_finished(settings: Settings) -> None:
    before = make_plan(load_grid("demo"), settings)
    finish(settings, load_grid("demo"), 4)
    after = make_plan(load_grid("demo"), settings)
    assert all(trial.seconds == pytest.approx(SECONDS, rel=0.1) for trial in after.open)
    assert before.trials[-1].seconds != pytest.approx(SECONDS, rel=0.1)
    assert after.costs.error == pytest.approx(0.0, abs=0.1)
    assert after.seconds == pytest.approx(SECONDS * -(-12 // after.slots), rel=0.1)


def test_resources_say_how_many_run_at_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    assert make_plan(load_grid("demo"), settings).slots == 8
    assert make_plan(load_grid("demo", ["resources.cpus=3"]), settings).slots == 2
    assert make_plan(load_grid("demo", ["resources.cpus=30"]), settings).slots == 1


def test_missing_data_has_a_plan_all_the_same(settings: Settings) -> None:
    plan = make_plan(load_grid("paper"), settings)
    assert plan.missing == ("cvc_clinicdb", "drive", "bus2017", "brats20", "kits19")
    costs: dict[str, Any] = {trial.spec.data.dataset: trial.seconds for trial in plan.trials}
    assert costs["kits19"] > costs["brats20"] > costs["cvc_clinicdb"] > costs["drive"] > costs["bus2017"]
    assert plan.bytes_needed > 1e9


def test_a_wrong_grid_has_none(settings: Settings) -> None:
    with pytest.raises(GridError, match="gamma = 1"):
        make_plan(load_grid("demo", ["losses.unified_focal_asym.gamma=1"]), settings)
