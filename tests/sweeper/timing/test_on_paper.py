"""Costs on a GPU that is not here: operations by hand, and how finished trials correct what the data sheet says."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.database import open_database
from storage.repository import Repository
from sweeper.grids.files import load_grid
from sweeper.run.on_paper import plan_on_paper
from sweeper.run.plan import make_plan
from sweeper.settings import Settings
from sweeper.timing.costs import Measured
from sweeper.timing.layers import convolution, layers_of, up_convolution
from sweeper.timing.measured import measured_on_paper
from sweeper.timing.on_paper import DEVICES, DOUBT, Interval, device_named, fleet, on_paper, trial_seconds
from sweeper.units import duration
from tests.sweeper.finished import SECONDS, finish
from trials.errors import UnknownNameError
from trials.spec import DataSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec

P100, A100 = DEVICES["P100"], DEVICES["A100"]


def spec(dataset: str = "a", epochs: int = 10, filters: int = 64, **training: object) -> TrialSpec:
    return TrialSpec(
        DataSpec(dataset, ("background", "x"), 2),
        LossSpec("ce"),
        ModelSpec(base_filters=filters),
        TrainingSpec(**{"epochs": epochs, **training}),  # type: ignore[arg-type]
    )


def test_a_convolution_by_hand() -> None:
    """3×3 from 64 to 128 channels on 10×10 pixels: 100 × 9 × 64 × 128 products, each added."""
    layer = convolution(2, 3, 64, 128, 100)
    assert layer.operations == 14_745_600
    assert layer.moved == 100 * (64 + 128)
    assert layer.weights == 73_728


def test_a_strided_and_an_up_convolution_by_hand() -> None:
    """2×2×2 with stride 2: down, each voxel of the output sees eight of the input; up, each is of one kernel voxel."""
    down, up = convolution(3, 2, 4, 6, 10, stride=2), up_convolution(3, 6, 4, 80)
    assert (down.operations, down.moved) == (2 * 8 * 4 * 6 * 10, 80 * 4 + 10 * 6)
    assert (up.operations, up.moved, up.weights) == (2 * 6 * 4 * 80, 10 * 6 + 80 * 4, 8 * 6 * 4)


def test_the_paper_s_network_has_31_million_weights_and_163_gflop() -> None:
    """An image of 288×384, forwards. The built network is compared in tests/workers/networks."""
    layers = layers_of(ModelSpec(), 2, 288 * 384, 3, 2)
    assert sum(layer.weights for layer in layers) == 31_024_960
    assert sum(layer.operations for layer in layers) == pytest.approx(162.58e9, rel=1e-4)


def test_no_prediction_is_faster_than_the_published_peak() -> None:
    images, voxels, epochs = 392, 288 * 384, 250
    operations = sum(layer.operations for layer in layers_of(ModelSpec(), 2, voxels, 3, 2))
    least = 3 * operations * images * epochs / P100.single
    low = on_paper(P100).trial(spec(epochs=1000), images, voxels).low
    assert least < low < 2 * least


def test_a_layer_of_few_channels_waits_for_the_memory() -> None:
    """Ten times the arithmetic of a device helps the large network, and hardly the small one."""
    faster = replace(P100, single=10 * P100.single)

    def gain(filters: int) -> float:
        one = spec(filters=filters, batch_size=16)
        return trial_seconds(one, 400, 512**2, 50, P100) / trial_seconds(one, 400, 512**2, 50, faster)

    assert gain(4) < 1.5 < 3 < gain(64)


def test_half_precision_is_faster_where_a_device_has_it() -> None:
    def seconds(precision: str) -> float:
        return trial_seconds(spec(precision=precision), 400, 288 * 384, 50, P100)

    assert seconds("mixed_float16") < 0.7 * seconds("float32")
    assert seconds("mixed_bfloat16") > seconds("mixed_float16")  # a P100 computes it in float32


def measured(dataset: str, factor: float, count: int) -> list[Measured]:
    one = spec(dataset)
    return [Measured(one, 8, factor * trial_seconds(one, 400, 10**5, 8, A100), 400, 10**5)] * count


def test_without_finished_trials_the_data_sheet_is_all_that_is_known() -> None:
    costs = on_paper(A100)
    interval = costs.trial(spec(), 400, 10**5)
    assert costs.measured == 0
    assert interval.seconds == pytest.approx(trial_seconds(spec(), 400, 10**5, 10, A100))
    assert interval.high / interval.seconds == pytest.approx(DOUBT)
    assert interval.seconds / interval.low == pytest.approx(DOUBT)


def test_the_first_trials_correct_their_own_group_and_the_others() -> None:
    before = on_paper(A100).trial(spec(), 400, 10**5)
    costs = on_paper(A100, measured("a", 2.0, 5))
    own, other = costs.trial(spec(), 400, 10**5), costs.trial(spec("b"), 400, 10**5)
    assert costs.measured == 5
    assert own.seconds / before.seconds == pytest.approx(2.0, rel=0.1)
    assert other.seconds / before.seconds == pytest.approx(2.0, rel=0.2)
    assert own.high / own.low < other.high / other.low < before.high / before.low


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.2, 5), st.integers(1, 5)), min_size=1, max_size=8))
def test_a_prediction_lies_between_what_was_measured_and_the_data_sheet(trials: list[tuple[str, float, int]]) -> None:
    factors = [factor for _, factor, _ in trials]
    costs = on_paper(A100, [one for trial in trials for one in measured(*trial)])
    sheet = trial_seconds(spec(), 400, 10**5, 10, A100)
    for dataset in "abcd":
        got = costs.trial(spec(dataset), 400, 10**5)
        assert min(1.0, *factors) * 0.999 <= got.seconds / sheet <= max(1.0, *factors) * 1.001
        assert got.low < got.seconds < got.high


def test_a_fleet_ends_with_its_longest_trial_and_not_before_the_bound() -> None:
    trials = [Interval(s, s / 2, s * 2) for s in (9.0, 5.0, 4.0)]
    alone, two, many = (fleet(trials, devices) for devices in (1, 2, 64))
    assert (alone.end, alone.bound) == (Interval(18, 9, 36), 18)
    assert (two.end.seconds, two.bound) == (9, 9)
    assert many.end == Interval(9, 4.5, 18)


def test_devices_are_found_in_whatever_case_and_unknown_ones_are_named() -> None:
    assert device_named("h100") is DEVICES["H100"]
    with pytest.raises(UnknownNameError, match=r"unknown device 'V100'.*known: A100, H100, P100"):
        device_named("V100")


def test_the_page_of_speed_shows_what_the_plan_predicts(settings: Settings) -> None:
    page = Path("docs/performance.md").read_text(encoding="utf-8")
    plan = make_plan(load_grid("paper"), settings)
    for device in DEVICES.values():
        shown = plan_on_paper(plan, device, settings)
        cells = (f"{one.end}; {duration(one.bound)}" for one in shown.fleets)
        assert f"| {' | '.join([f'{device.name} ({device.model})', *cells])} |" in page


@pytest.fixture
def settings(tmp_path: object) -> Settings:
    return Settings(home=f"{tmp_path}/home", database_url=f"sqlite:///{tmp_path}/x.db", data=None)  # type: ignore[arg-type]


def test_trials_of_another_device_teach_nothing(settings: Settings) -> None:
    """`finish` stores results that were made on no GPU."""
    grid = load_grid("demo")
    before = plan_on_paper(make_plan(grid, settings), P100, settings)
    finish(settings, grid, 6)
    after = plan_on_paper(make_plan(grid, settings), P100, settings)
    assert (after.measured, after.trials) == (0, before.trials)
    assert after.fleets[0].end.seconds < before.fleets[0].end.seconds  # six trials are done


def test_trials_of_the_device_are_known_by_the_name_that_tensorflow_gives_it(settings: Settings) -> None:
    finish(settings, load_grid("demo"), 6, device="Tesla P100-PCIE-16GB")
    with open_database(settings.database) as database:
        repository = Repository(database)
        assert measured_on_paper(repository, A100).measured == 0
        costs = measured_on_paper(repository, P100)
    assert costs.measured == 6
    plan = make_plan(load_grid("demo"), settings)
    assert costs.trial(plan.trials[-1].spec, *plan.trials[-1].size).seconds == pytest.approx(SECONDS, rel=0.15)
    assert math.isclose(plan.seconds, make_plan(load_grid("demo"), settings).seconds)
