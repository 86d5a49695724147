"""Plans on a database: what is finished, what it will cost, what is missing. The printed form is tested in cli/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from storage.database import open_database
from storage.repository import Repository
from sweeper import verbs
from sweeper.data.preparation import prepare
from sweeper.data.rehearsal import rehearsal_of
from sweeper.errors import GridError
from sweeper.grids.files import load_grid
from sweeper.grids.schema import ResourcesTable
from sweeper.run.devices import Devices
from sweeper.run.plan import make_plan
from sweeper.settings import Settings
from tests.sweeper.analysis.study_maker import paper_like, store
from tests.sweeper.finished import SECONDS, finish


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", database_url=f"sqlite:///{tmp_path / 'x.db'}", data=None)


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
    assert [trial.state for trial in plan.trials] == ["finished"] * 6 + ["queued"] * 12
    assert {trial.sweep for trial in plan.trials[:6]} == {"first"}
    assert (len(plan.open), plan.shown().finished) == (12, 6)


def test_a_grown_grid_has_only_what_is_new_to_run(settings: Settings) -> None:
    finish(settings, load_grid("demo"), 18)
    plan = make_plan(load_grid("demo", ["losses.unified_focal_sym.gamma=[0.5, 0.7]"]), settings)
    assert [trial.spec.loss.gamma for trial in plan.open] == [0.7] * 3


def test_a_plan_asks_the_database_as_often_whatever_is_finished(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: no statement for each finished trial, and equal parts of their specs are made once."""
    more = Settings(home=tmp_path / "home", database_url=f"sqlite:///{tmp_path / 'y.db'}", data=None)
    finish(settings, load_grid("demo"), 2)
    finish(more, load_grid("demo"), 18)
    asked: list[str] = []
    run = Connection.execute
    monkeypatch.setattr(Connection, "execute", lambda *words, **named: (asked.append(""), run(*words, **named))[1])
    make_plan(load_grid("demo", ['name="next"']), settings)
    few = len(asked)
    make_plan(load_grid("demo", ['name="next"']), more)
    assert len(asked) == 2 * few > 0
    with open_database(more.database) as database:
        times = Repository(database).training_times()
    assert len(times) == 18
    assert len({id(one.training) for one in times}) == len({id(one.data) for one in times}) == 1


def test_costs_are_learned_from_what_is_finished(settings: Settings) -> None:
    before = make_plan(load_grid("demo"), settings)
    finish(settings, load_grid("demo"), 4)
    after = make_plan(load_grid("demo"), settings)
    assert all(trial.seconds == pytest.approx(SECONDS, rel=0.1) for trial in after.open)
    assert before.trials[-1].seconds != pytest.approx(SECONDS, rel=0.1)
    assert after.costs.error == pytest.approx(0.0, abs=0.1)
    assert after.seconds == pytest.approx(SECONDS * -(-14 // after.slots), rel=0.1)


def test_resources_say_how_many_run_at_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    assert make_plan(load_grid("demo"), settings).slots == 8
    assert make_plan(load_grid("demo", ["resources.cpus=3"]), settings).slots == 2
    assert make_plan(load_grid("demo", ["resources.cpus=30"]), settings).slots == 0


@pytest.mark.parametrize(
    ("gpus", "resources", "places"),
    [
        (0, {}, 8),
        (2, {}, 2),  # a whole GPU each, unless the grid says otherwise
        (2, {"gpus": 0}, 8),
        (2, {"gpus": 0.25}, 8),
        (2, {"gpus": 0.5, "cpus": 3}, 2),
        (0, {"gpus": 1}, 0),
        (1, {"gpus": 0.1, "cpus": 0.1}, 10),
        (2, {"gpus": 0.6}, 2),  # a part of a GPU lies on one GPU
        (2, {"gpus": 0.3, "cpus": 0.5}, 6),
    ],
)
def test_gpus_and_their_shares_say_how_many_run_at_once(gpus: int, resources: dict[str, Any], places: int) -> None:
    assert Devices([{"CPU": 8, "GPU": gpus}]).slots(ResourcesTable(**resources)) == places


def test_the_data_set_that_takes_most_says_how_many_run_at_once() -> None:
    grid = load_grid("paper", ["datasets.kits19.resources.cpus=4"])
    assert Devices([{"CPU": 8}]).slots_of(grid) == 2


def test_a_trial_lies_on_one_machine() -> None:
    cluster = Devices([{"CPU": 3, "GPU": 1}, {"CPU": 3, "GPU": 1}, {"CPU": 2}])
    assert (cluster.cpus, cluster.gpus) == (8, 2)
    assert cluster.slots(ResourcesTable(gpus=0, cpus=2)) == 3
    assert cluster.slots(ResourcesTable(gpus=0, cpus=4)) == 0
    assert cluster.slots(ResourcesTable(gpus=0.6)) == 2


@pytest.mark.slow
def test_what_is_not_prepared_yet_counts_on_the_disk(settings: Settings) -> None:
    grid = load_grid("demo")
    before = make_plan(grid, settings)
    prepare(grid, settings, lambda *told: None)
    after = make_plan(grid, settings)
    on_disk = sum(path.stat().st_size for path in settings.prepared.rglob("*") if path.is_file())
    assert before.bytes_prepared == pytest.approx(on_disk, rel=0.3)
    assert after.bytes_prepared == 0
    assert before.bytes_models == after.bytes_models > 0
    assert [one.design.units for one in before.power] == [one.design.units for one in after.power] == [12]


def test_finished_trials_take_no_more_of_the_disk(settings: Settings) -> None:
    before = make_plan(load_grid("demo"), settings)
    finish(settings, load_grid("demo"), 18)
    assert make_plan(load_grid("demo"), settings).bytes_models == 0 < before.bytes_models


def test_missing_data_has_a_plan_all_the_same(settings: Settings) -> None:
    plan = make_plan(load_grid("paper"), settings)
    assert plan.missing == ("cvc_clinicdb", "drive", "bus2017", "brats20", "kits19")
    costs: dict[str, Any] = {trial.spec.data.dataset: trial.seconds for trial in plan.trials}
    assert costs["kits19"] > costs["brats20"] > costs["cvc_clinicdb"] > costs["drive"] > costs["bus2017"]
    assert plan.bytes_models > 1e9
    assert plan.bytes_prepared == 0


def test_a_plan_says_where_the_missing_data_are_had(settings: Settings) -> None:
    plan = make_plan(load_grid("public"), settings).shown()
    shown = dict(zip(plan.missing_data, plan.missing_from, strict=True))
    assert "nuclei" not in shown
    for name, page, licence in (
        ("busi", "https://scholar.cu.edu.eg/?q=afahmy/pages/dataset", "CC BY 4.0, as MedMNIST says of it"),
        ("axon_sem", "https://github.com/axondeepseg/data_axondeepseg_sem", "MIT; cite Zaimi et al."),
    ):
        assert shown[name].startswith(f"{page} (licence: {licence}")


def test_a_plan_says_which_differences_it_would_find(settings: Settings) -> None:
    (one,) = make_plan(load_grid("demo", ["repeats=5"]), settings).power
    assert (one.dataset, one.unit, one.design.runs) == ("nuclei", "images", 5)
    assert one.design.losses == len({loss.name for loss in load_grid("demo").losses})
    assert one.design.units == 12
    assert one.components.assumed


def test_a_plan_learns_from_the_newest_sweep_with_repeats_on_its_data_set(settings: Settings) -> None:
    with open_database(settings.database) as database:
        repository = Repository(database)
        details = {"data": {"nuclei": {"images": 38, "voxels": 128 * 128}}}
        store(paper_like(gammas=(0.5,), baselines=("ce",), repeats=3), repository, "older", details)
        repository.create_sweep("newest", grid={"name": "newest"}, trials=[], details=details)
    (one,) = make_plan(load_grid("demo"), settings).power
    assert (one.components.source, one.label) == ("older", "thing")
    assert make_plan(load_grid("paper"), settings).power[0].components.assumed


def test_a_sweep_that_ran_says_what_it_could_find(settings: Settings) -> None:
    with open_database(settings.database) as database:
        repository = Repository(database)
        store(paper_like(gammas=(0.5,), baselines=("ce",), repeats=3), repository, "mine")
        answer = verbs.power(verbs.Host(settings, repository), "mine")
    (one,) = answer.power
    assert (one.dataset, one.label, one.losses, one.runs, one.units) == ("nuclei", "thing", 3, 3, 20)
    assert one.components.source == "mine"
    assert one.finds is not None
    assert 0 < one.finds < 0.1


def test_a_rehearsal_and_a_single_loss_have_nothing_to_find(settings: Settings) -> None:
    grid = load_grid("demo")
    assert make_plan(rehearsal_of(grid, settings.home / "rehearsal"), settings).power == ()
    alone = grid.model_copy(update={"losses": grid.losses[:1]})
    assert make_plan(alone, settings).power == ()


def test_a_wrong_grid_has_none(settings: Settings) -> None:
    with pytest.raises(GridError, match="gamma = 1"):
        make_plan(load_grid("demo", ["losses.unified_focal_asym.gamma=1"]), settings)
