"""Types of GPU: what a grid may say of them, what nodes have, and what a person is told who has none of a type."""

from __future__ import annotations

import pytest

from sweeper.errors import GridError
from sweeper.grids.files import load_grid
from sweeper.run.devices import Devices, times, types_asked
from sweeper.run.gpu_types import by_type, listed_types, on_type, type_of
from sweeper.run.plan import make_plan
from sweeper.settings import load_settings
from tests.sweeper.conftest import Command

A100 = {"CPU": 32.0, "GPU": 4.0, "accelerator_type:A100": 1.0, "node:10.0.0.1": 1.0}
P100 = {"CPU": 8.0, "GPU": 1.0, "accelerator_type:P100": 1.0, "node:10.0.0.2": 1.0}
HEAD = {"CPU": 8.0, "node:10.0.0.3": 1.0}


def test_the_gpus_of_all_nodes_of_a_type_are_its_own() -> None:
    types = by_type([HEAD, P100, A100, P100])
    assert types == {"A100": {"CPU": 32.0, "GPU": 4.0}, "P100": {"CPU": 16.0, "GPU": 2.0}}
    assert listed_types(types) == "4 A100 and 2 P100"
    assert listed_types({**types, "T4": {"GPU": 1.0}}) == "4 A100, 2 P100 and 1 T4"
    assert listed_types(by_type([HEAD])) == "no GPU whose type Ray knows"


def test_what_a_trial_takes_says_its_type_as_a_node_does() -> None:
    assert type_of(A100) == type_of({"CPU": 1.0, "GPU": 1.0, **on_type("A100")}) == "A100"
    assert type_of(HEAD) is None
    assert on_type(None) == {}
    assert times(A100, {"CPU": 1.0, "GPU": 0.5, **on_type("A100")}) == 8
    assert times(A100, {"CPU": 1.0, "GPU": 0.5, **on_type("P100")}) == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (['resources.gpu_type=""'], "gpu_type"),
        (['resources.gpu_type="A 100"'], "gpu_type"),
        (["resources.gpu_type=100"], "gpu_type"),
        (['resources.gpu_type="A100"', "resources.gpus=0"], "gpu_type = 'A100', but gpus = 0; leave one of them out"),
    ],
)
def test_a_type_that_cannot_be_is_refused(changes: list[str], says: str) -> None:
    with pytest.raises(GridError) as refused:
        load_grid("demo", changes)
    assert says in str(refused.value)


def test_each_data_set_may_ask_for_its_own() -> None:
    grid = load_grid("paper", ['resources.gpu_type="A100"', 'datasets.kits19.resources.gpu_type="H100"'])
    assert types_asked(grid) == ["A100", "H100"]
    assert types_asked(load_grid("paper")) == []


def test_only_gpus_of_the_type_count() -> None:
    grid = load_grid("demo", ['resources.gpu_type="A100"'])
    resources = grid.trial_resources("nuclei")
    mixed = Devices([A100, P100, P100], "the cluster")
    assert mixed.slots(resources) == 4
    assert mixed.lacking(grid) == []
    old = Devices([P100, P100], "the cluster")
    assert old.slots(resources) == 0
    assert old.lacking(grid) == ["[resources] gpu_type = 'A100': the cluster (16 CPUs, 2 GPUs) has 2 P100"]


def test_all_gpus_of_this_machine_are_of_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeper.run import devices, ray_cluster

    monkeypatch.setattr(devices, "local_gpus", lambda: 2)
    monkeypatch.setattr(ray_cluster, "local_type", lambda: "A100")
    here = devices.devices_at_hand(load_settings(), with_types=True)
    resources = ['resources.gpu_type="A100"', "resources.cpus=0.1"]
    assert here.slots(load_grid("demo", resources).trial_resources("nuclei")) == 2
    assert here.lacking(load_grid("demo", resources)) == []


def test_a_type_that_is_not_here_is_said_before_anything_runs_and_moves_no_hash(sweeper: Command) -> None:
    said = sweeper("plan", "--grid", "demo", "--set", 'resources.gpu_type="A100"')
    assert said.status == 0
    words = " ".join(said.out.split())
    assert "no trial fits on this machine" in words
    assert "warning: [resources] gpu_type = 'A100': this machine (" in words
    assert "has no GPU whose type Ray knows" in words
    asked, plain = (
        make_plan(load_grid("demo", changes), load_settings()) for changes in (['resources.gpu_type="A100"'], [])
    )
    assert [trial.spec.hash for trial in asked.trials] == [trial.spec.hash for trial in plain.trials]
