"""Longest first: never before the lower bound, near it for the paper's grid; and the costs that it goes by."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.data.preparation import bare_identities, guessed_sizes, reader_of
from sweeper.grids.expansion import expand
from sweeper.grids.files import load_grid
from sweeper.timing import costs
from sweeper.timing.costs import FIRST_GUESS, Measured, expected_epochs, group, learn_costs, work
from sweeper.timing.schedule import Place, finish_in, longest_first, lower_bound, next_start
from trials.spec import DataSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec

SECONDS = st.lists(st.floats(0.1, 1e5), min_size=1, max_size=40)
SPEEDS = st.lists(st.floats(0.1, 10), min_size=1, max_size=16)


@given(SECONDS, SPEEDS)
def test_no_schedule_ends_before_the_bound_or_after_one_device_alone(seconds: list[float], speeds: list[float]) -> None:
    end = finish_in(seconds, speeds)
    assert end >= lower_bound(seconds, speeds) * (1 - 1e-9)
    assert end >= max(seconds) / max(speeds) * (1 - 1e-9)
    assert end <= sum(seconds) / max(speeds) * (1 + 1e-9)


@given(SECONDS, st.integers(1, 16))
def test_equal_devices_within_the_known_bound_of_longest_first(seconds: list[float], devices: int) -> None:
    """Graham (1969): longest first ends at most 4/3 − 1/(3m) later than the best schedule."""
    end = finish_in(seconds, devices)
    assert end >= lower_bound(seconds, [1.0] * devices) * (1 - 1e-9)
    assert finish_in(reversed(seconds), devices) == pytest.approx(end)


@given(SECONDS, SPEEDS, st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_twice_the_speed_takes_half_the_time(seconds: list[float], speeds: list[float], factor: float) -> None:
    faster = finish_in(seconds, [speed * factor for speed in speeds])
    assert faster == pytest.approx(finish_in(seconds, speeds) / factor)


@pytest.mark.parametrize(
    ("seconds", "speeds", "bound", "why"),
    [
        ([4, 1], [1, 1], 4.0, "the longest trial runs on one device"),
        ([4, 1], [2, 1], 2.0, "which is at best the fastest"),
        ([1, 1, 1, 1], [1, 1], 2.0, "all trials run on all devices"),
        ([3, 3, 0.1], [2, 0.1, 0.1], 3.0, "the two longest run one after the other on the one that is fast enough"),
        ([3, 3, 3, 2], [2, 1, 0.1], 11 / 3.1, "all trials, cut at will, run on all devices"),
        ([1, 1, 1], [1, 1], 2.0, "three whole trials on two devices are two rounds"),
        ([6, 2, 2], [1, 1], 6.0, "a long one has no room beside others"),
        ([3, 3, 3], [1, 0.5], 6.0, "two on the fast one, or one on the slow one"),
        ([], [1], 0.0, "nothing ends at once"),
    ],
)
def test_no_schedule_is_shorter_than_its_longest_trials_allow(
    seconds: list[float], speeds: list[float], bound: float, why: str
) -> None:
    assert lower_bound(seconds, speeds) == pytest.approx(bound), why


def test_small_schedules() -> None:
    assert finish_in([3, 3, 2, 2, 2], 2) == 7.0  # 6.0 is possible
    assert finish_in([4.0, 1.0], [2.0, 0.5]) == pytest.approx(2.0)
    assert finish_in([], 3) == 0.0
    assert finish_in([4.0, 3.0, 1.0], [1.0, 0.25]) == 7.0  # the second waits for the fast device, the last one does not
    assert finish_in([4.0, 1.0], [0.5, 2.0]) == pytest.approx(2.0)
    assert finish_in([4.0], []) == 4.0


@given(st.dictionaries(st.text(min_size=1, max_size=4), st.floats(0, 1e6), max_size=30))
def test_longest_first_is_a_stable_order(costs: dict[str, float]) -> None:
    order = longest_first(costs)
    assert sorted(order) == sorted(costs)
    for one, after in itertools.pairwise(order):
        assert costs[one] >= costs[after]
        if costs[one] == costs[after]:
            assert list(costs).index(one) < list(costs).index(after)


def paper_seconds() -> list[float]:
    """Predicted seconds of the paper's 88 trials before anything was measured."""
    grid = load_grid("paper")
    readers = {dataset.name: reader_of(dataset) for dataset in grid.datasets}
    specs = expand(grid, bare_identities(grid))
    sizes = {name: guessed_sizes(reader, None) for name, reader in readers.items()}
    return [learn_costs([]).seconds(spec, *sizes[spec.data.dataset]) for spec in specs]


MIXES = {"equal": [1.0], "two kinds": [1.0, 0.5], "three kinds": [1.0, 0.8, 0.6], "four": [1.0, 0.75, 0.5, 0.25]}


DEVICES = (1, 2, 3, 5, 8, 12, 16, 20, 24, 32, 48, 64)


def draws(mix: str) -> Iterator[list[float]]:
    """Speeds of 1 to 64 devices, four draws for each number."""
    for devices, seed in itertools.product(DEVICES, range(4)):
        yield random.Random(100 * seed + devices).choices(MIXES[mix], k=devices)


@pytest.mark.parametrize("mix", MIXES)
def test_as_a_sweep_runs_it_the_paper_s_grid_ends_within_a_tenth_of_what_is_possible(mix: str) -> None:
    """On 1 to 64 devices of mixed speeds; decided anew whenever a place is free."""
    seconds = sorted(paper_seconds(), reverse=True)
    for speeds in draws(mix):
        bound = lower_bound(seconds, speeds)
        assert simulated(seconds, speeds) <= 1.1 * bound, speeds


def simulated(seconds: Sequence[float], speeds: Sequence[float]) -> float:
    """When trials end of which each starts when `next_start` says so."""
    now, queue = 0.0, list(seconds)
    ends = [0.0] * len(speeds)
    while queue:
        while queue and (chosen := next_start(queue, [Place(s, e - now) for s, e in zip(speeds, ends, strict=True)])):
            trial, place = chosen
            assert ends[place] <= now
            ends[place] = now + queue.pop(trial) / speeds[place]
        if queue:
            now = min(end for end in ends if end > now)  # else nothing would ever start again
    return max(ends)


@given(SECONDS, SPEEDS)
def test_what_is_decided_one_by_one_ends_as_the_whole_was_planned(seconds: list[float], speeds: list[float]) -> None:
    assert simulated(sorted(seconds, reverse=True), speeds) == pytest.approx(finish_in(seconds, speeds))


@given(st.lists(st.floats(0.1, 1e5), min_size=1, max_size=6), st.lists(st.floats(0.1, 10), min_size=1, max_size=3))
def test_what_is_decided_one_by_one_never_ends_twice_as_late_as_possible(
    seconds: list[float], speeds: list[float]
) -> None:
    assert simulated(sorted(seconds, reverse=True), speeds) <= 2 * earliest(seconds, speeds) * (1 + 1e-9)


def earliest(seconds: Sequence[float], speeds: Sequence[float]) -> float:
    """When the trials end at best: every way to give them to the devices is tried."""
    return min(
        max(sum(s for s, d in zip(seconds, given_to, strict=True) if d == n) / speed for n, speed in enumerate(speeds))
        for given_to in itertools.product(range(len(speeds)), repeat=len(seconds))
    )


@given(SECONDS, st.lists(st.tuples(st.floats(0.1, 10), st.floats(0, 1e5)), min_size=1, max_size=8))
def test_a_trial_starts_where_no_other_place_would_end_it_earlier(
    seconds: list[float], places: list[tuple[float, float]]
) -> None:
    waits = [Place(speed, free_in) for speed, free_in in places]
    chosen = next_start(seconds, waits)
    if all(place.free_in == 0 for place in waits):
        assert chosen is not None, "a sweep of which nothing runs goes on"
        assert chosen[0] == 0
        assert waits[chosen[1]].speed == max(place.speed for place in waits)
    if chosen is not None:
        trial, place = chosen
        assert waits[place].free_in == 0
        ends = [one.free_in + seconds[0] / one.speed for one in waits]
        best = min(range(len(waits)), key=ends.__getitem__)
        if trial == 0:
            assert ends[place] == ends[best]
        else:
            assert waits[best].free_in > 0, "the longest trial of the queue waits for a place that is not free yet"


@pytest.mark.parametrize(
    ("free_in", "chosen"),
    [(0.0, (0, 0)), (3.0, (2, 1)), (5.0, (2, 1)), (30.0, (0, 1))],
    ids=["fast is free", "wait for fast", "wait, the shortest fits", "fast is busy for long"],
)
def test_a_slow_place_takes_what_would_not_end_earlier_on_the_fast_one(
    free_in: float, chosen: tuple[int, int] | None
) -> None:
    assert next_start([10.0, 8.0, 1.0], [Place(4.0, free_in), Place(0.5)]) == chosen


def test_a_free_place_waits_where_everything_ends_earlier_elsewhere() -> None:
    assert next_start([10.0], [Place(4.0, 1.0), Place(0.5)]) is None
    assert next_start([], [Place(1.0)]) is None
    assert next_start([1.0], []) is None


def spec(dataset: str = "a", dimensions: Any = 2, epochs: int = 10, filters: int = 8, **training: Any) -> TrialSpec:
    return TrialSpec(
        DataSpec(dataset, ("background", "x"), dimensions),
        LossSpec("ce"),
        ModelSpec(base_filters=filters, depth=3),
        TrainingSpec(epochs=epochs, **training),
    )


def gflop(one: TrialSpec, images: int, voxels: int) -> float:
    return work(one, images, voxels, expected_epochs(one.training))


@given(st.integers(1, 40), st.integers(1, 500), st.integers(1, 10**6))
def test_work_grows_with_epochs_images_and_voxels(epochs: int, images: int, voxels: int) -> None:
    one = gflop(spec(epochs=epochs), images, voxels)
    assert gflop(spec(epochs=epochs + 1), images, voxels) > one
    assert gflop(spec(epochs=epochs), 2 * images, voxels) == pytest.approx(2 * one)
    assert gflop(spec(epochs=epochs), images, 2 * voxels) == pytest.approx(2 * one)
    assert 2 * one < gflop(spec(epochs=epochs, filters=16), images, voxels) < 4 * one


def test_a_patch_and_not_the_whole_volume_is_the_work() -> None:
    patched = spec(dimensions=3, patch=(8, 8, 8))
    assert gflop(patched, 10, 10**6) == gflop(patched, 10, 10**7)
    assert gflop(spec(dimensions=3, patch=(8, 8, 8), patches_per_case=3), 10, 1) == pytest.approx(
        3 * gflop(patched, 10, 1)
    )


def multiplications(dimensions: int, filters: int, depth: int) -> float:
    """Of one pass through a U-Net, per voxel: on each level two convolutions down, and two up, after a skip."""
    count = 0.0
    for level in range(depth + 1):
        own = filters * 2**level
        channels = [(3 if level == 0 else own // 2, own), (own, own)]
        channels += [(2 * own, own), (own, own)] if level < depth else []
        count += 3**dimensions / 2 ** (dimensions * level) * sum(a * b for a, b in channels)
    return count


@pytest.mark.parametrize(("filters", "depth"), [(8, 3), (64, 4)])
def test_a_voxel_costs_in_3d_what_its_convolutions_cost(filters: int, depth: int) -> None:
    """Three times the kernel, on levels that shrink twice as fast; not what a pixel costs in 2D."""

    def cost(dimensions: Any) -> float:
        data = DataSpec("a", ("background", "x"), dimensions)
        one = TrialSpec(data, LossSpec("ce"), ModelSpec(base_filters=filters, depth=depth), TrainingSpec(epochs=10))
        return gflop(one, 10, 10**5)

    expected = multiplications(3, filters, depth) / multiplications(2, filters, depth)
    assert cost(3) / cost(2) == pytest.approx(expected, rel=0.2)


def test_in_the_paper_volumes_cost_most() -> None:
    seconds = paper_seconds()
    assert min(seconds[72:]) > max(seconds[:72])  # brats20 and kits19 are the last sixteen


def test_the_first_guess() -> None:
    model = learn_costs([])
    assert model.error is None
    assert model.seconds(spec(), 30, 10**4) == pytest.approx(FIRST_GUESS[0] + FIRST_GUESS[1] * gflop(spec(), 30, 10**4))


@pytest.mark.parametrize(
    ("filters", "depth", "images", "voxels", "seconds"),
    [(8, 3, 38, 128 * 128, 2.7), (64, 4, 2, 288 * 384, 13.0)],
    ids=["demo", "paper"],
)
def test_the_first_guess_is_what_an_epoch_took_on_a_core(
    filters: int, depth: int, images: int, voxels: int, seconds: float
) -> None:
    """Of the demo's network an epoch of each of two trials at once, of the paper's a step."""
    one = replace(spec(epochs=1), model=ModelSpec(base_filters=filters, depth=depth))
    assert learn_costs([]).seconds(one, images, voxels) - FIRST_GUESS[0] == pytest.approx(seconds, rel=0.15)


@given(st.floats(1e-5, 0.2), st.integers(1, 20))
def test_a_speed_that_was_measured_on_much_work_is_learned(rate: float, trials: int) -> None:
    images, voxels = 4000, 10**6
    took = FIRST_GUESS[0] + rate * gflop(spec(), images, voxels)
    model = learn_costs([Measured(spec(), 10, took, images, voxels)] * trials)
    assert model.seconds(spec(), images, voxels) == pytest.approx(took, rel=0.1)
    assert model.seconds(spec("b"), images, voxels) == pytest.approx(took, rel=0.1)  # what is known of the machine
    assert (model.error is None) == (trials == 1)


def test_overhead_and_speed_are_told_apart() -> None:
    seconds = [
        Measured(spec(epochs=n), n, 5.0 + 0.1 * gflop(spec(epochs=n), 10, 10**4), 10, 10**4)
        for n in (1, 5, 10, 20, 40, 50)
    ]
    overhead, rate = learn_costs(seconds).overall
    assert overhead == pytest.approx(5.0, rel=0.1)
    assert rate == pytest.approx(0.1, rel=0.05)


def test_tiny_trials_say_little_about_large_ones() -> None:
    """A rehearsal's trials take seconds for hardly any work; the paper's must not be predicted to take years for it."""
    before = learn_costs([]).seconds(spec(filters=64, epochs=50), 100, 10**5)
    model = learn_costs([Measured(spec("tiny", filters=2, epochs=1), 1, 6.0, 6, 48 * 48)] * 88)
    assert model.seconds(spec(filters=64, epochs=50), 100, 10**5) == pytest.approx(before, rel=0.05)
    assert model.seconds(spec("tiny", filters=2, epochs=1), 6, 48 * 48) == pytest.approx(6.0, rel=0.05)


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0.1, 1e5)), max_size=20))
def test_predictions_are_positive_and_grow_with_work_whatever_was_measured(trials: list[tuple[int, float]]) -> None:
    model = learn_costs([Measured(spec(), epochs, seconds, 40, 10**4) for epochs, seconds in trials])
    predicted = [model.seconds(spec(epochs=epochs), 40, 10**4) for epochs in (1, 10, 50)]
    assert 0 < predicted[0] < predicted[1] < predicted[2]


def test_the_error_is_that_of_predicting_each_from_the_others() -> None:
    assert learn_costs([Measured(spec(), 10, 50.0, 40, 10**4)] * 2).error == pytest.approx(
        abs(learn_costs([Measured(spec(), 10, 50.0, 40, 10**4)]).seconds(spec(), 40, 10**4) - 50.0) / 50.0
    )


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0.1, 1e5)), min_size=2, max_size=12))
def test_the_error_is_the_one_of_leaving_out_each_in_turn(trials: list[tuple[int, float]]) -> None:
    points = [Measured(spec(), epochs, seconds, 40, 10**4) for epochs, seconds in trials]
    wrong = []
    for place, (epochs, seconds) in enumerate(trials):
        overhead, rate = learn_costs(points[:place] + points[place + 1 :]).overall
        wrong.append(abs(overhead + rate * work(spec(), 40, 10**4, epochs) - seconds) / seconds)
    assert learn_costs(points).error == pytest.approx(sum(wrong) / len(wrong), rel=1e-9)


def test_a_trial_that_ended_early_teaches_by_the_epochs_that_it_trained() -> None:
    early = learn_costs([Measured(spec(epochs=1000), 40, 5.0 + 0.1 * gflop(spec(epochs=40), 40, 10**4), 40, 10**4)] * 9)
    exact = learn_costs([Measured(spec(epochs=40), 40, 5.0 + 0.1 * gflop(spec(epochs=40), 40, 10**4), 40, 10**4)] * 9)
    assert early.overall == exact.overall
    assert expected_epochs(TrainingSpec(epochs=1000)) == 250
    assert expected_epochs(TrainingSpec(epochs=50)) == 50


def test_thousands_of_trials_are_left_out_as_fast_as_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: each trial enters the sums once for its group, once for all, and once for the error."""
    counted = []
    terms = costs._terms
    monkeypatch.setattr(costs, "_terms", lambda point: (counted.append(point), terms(point))[1])
    learn_costs([Measured(spec(), 10, 50.0, 40, 10**4)] * 2000)
    assert len(counted) == 3 * 2000


def test_groups_are_of_data_set_and_network() -> None:
    assert group(spec()) == group(spec(epochs=3))
    assert len({group(spec()), group(spec("b")), group(spec(filters=4))}) == 3
