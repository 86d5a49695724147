"""Speeds of devices, learned from what trials took on them: told apart from what the data sets cost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from storage.database import open_database
from storage.repository import Repository
from sweeper.grids.files import load_grid
from sweeper.settings import Settings
from sweeper.timing.measured import is_of_type, measured_costs, measured_speeds
from sweeper.timing.speeds import Took, learn_speeds, published
from tests.sweeper.finished import SECONDS, finish, specs_of

ALIKE = {"A100": 1.0, "P100": 1.0}


def beside(speeds: dict[str, float], one: str = "A100", other: str = "P100") -> float:
    return speeds[one] / speeds[other]


@settings_of_hypothesis(max_examples=25)
@given(st.floats(0.2, 5), st.floats(0.2, 5), st.floats(0.01, 100), st.randoms())
def test_speeds_and_costs_are_told_apart_where_a_data_set_ran_on_both(
    fast: float, costly: float, common: float, draw: random.Random
) -> None:
    took = [
        Took(group, device, common * (costly if group == "volumes" else 1) / (fast if device == "A100" else 1))
        for group, device in (("images", "A100"), ("images", "P100"), ("volumes", "A100"))
        for _ in range(5)
    ]
    draw.shuffle(took)
    learned = learn_speeds(took, ALIKE)
    assert beside(dict(learned.devices)) == pytest.approx(fast, rel=0.1)
    one = learned.seconds(60.0, "images") / learned.devices["P100"]
    assert one == pytest.approx(60 * common, rel=0.15)


def test_where_no_data_set_ran_on_both_the_device_is_thought_of_first() -> None:
    """Predictions of data sets are beside each other within a third; devices are not."""
    took = [*[Took("images", "P100", 4.0)] * 5, *[Took("volumes", "A100", 1.0)] * 5]
    assert 2.5 < beside(dict(learn_speeds(took, ALIKE).devices)) < 4


def test_before_anything_has_run_published_rates_count_and_others_are_as_fast_as_their_mean() -> None:
    guess = published(["P100", "A100", "T4"])
    assert 3 < beside(guess) < 10
    assert guess["P100"] < guess["T4"] < guess["A100"]
    assert published(["T4", "V100"]) == {"T4": 1.0, "V100": 1.0}
    assert learn_speeds([], guess).devices == guess


def test_the_first_trials_outweigh_the_published_rates_and_not_what_earlier_sweeps_measured() -> None:
    took = [Took("images", "A100", 1.0), Took("images", "P100", 1.0)]
    guess = published(["A100", "P100"])
    assert beside(dict(learn_speeds(took, guess).devices)) < 1.5
    assert beside(dict(learn_speeds(took, guess, measured=guess).devices)) > 2


@pytest.mark.parametrize(
    ("device", "of_type"),
    [
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("Tesla P100-PCIE-16GB", "P100"),
        ("NVIDIA GeForce RTX 4090", "GeForce-RTX-4090"),
    ],
)
def test_tensorflow_and_ray_name_a_gpu_differently(device: str, of_type: str) -> None:
    types = ["A100", "P100", "GeForce-RTX-4090", "A10", "GeForce-RTX-409"]
    assert [one for one in types if is_of_type(device, one)] == [of_type]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", database_url=f"sqlite:///{tmp_path}/x.db", data=None)


def test_costs_are_those_of_the_device_that_most_trials_had(settings: Settings) -> None:
    """The same trials took as long on each of three devices, and half as much as the large network's beside them."""
    finish(settings, load_grid("demo"), 6, "NVIDIA A100-SXM4-40GB")
    with open_database(settings.database) as database:
        alone = measured_costs(Repository(database))
    slow = load_grid("demo", ['name="slow"', "seed=1", "training.epochs=20"])
    finish(settings, slow, 3, "Tesla P100-PCIE-16GB")
    with open_database(settings.database) as database:
        both = measured_costs(Repository(database))
        speeds = measured_speeds(Repository(database), ["A100", "P100", "T4"])
    one = specs_of(load_grid("demo"), settings)[0]
    assert alone.seconds(one, 38, 128 * 128) == pytest.approx(SECONDS, rel=0.1)
    assert both.seconds(one, 38, 128 * 128) == pytest.approx(SECONDS, rel=0.1)
    assert set(speeds) == {"A100", "P100"}
    epochs = one.training.epochs, 20
    assert speeds["P100"] / speeds["A100"] == pytest.approx(epochs[1] / epochs[0], rel=0.3)


def test_one_type_alone_teaches_no_speeds(settings: Settings) -> None:
    finish(settings, load_grid("demo"), 2, "NVIDIA A100-SXM4-40GB")
    with open_database(settings.database) as database:
        assert measured_speeds(Repository(database), ["A100", "P100"]) == {}
