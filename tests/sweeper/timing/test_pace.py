"""How long a sweep still takes, its throughput and its devices' use, from rows made by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.records import Attempt, Trial
from sweeper.timing.pace import WINDOW, Liveness, device_use, liveness, pace, remaining
from trials.states import AttemptState, TrialState

NOW = 1_000_000.0


def trial(name: str, state: TrialState, *, cost: float | None = 60.0, took: float | None = None) -> Trial:
    return Trial(
        name, 0, state, {}, name, "nuclei", "ce", None, 0, 0, 1, None, cost, 1, None, None, "s", 0, None, None, None,
        None, took, None, None, None, None, None,
    )  # fmt: skip


def attempt(name: str, start: float, end: float | None = None, *, host: str = "a", device: str = "GPU 0") -> Attempt:
    """From `start` to `end` seconds before now; running without an end."""
    state = AttemptState.RUNNING if end is None else AttemptState.FINISHED
    ended = None if end is None else NOW - end
    return Attempt(1, name, 1, 1, state, None, None, None, host, 1, device, 0, 0, NOW - start, ended)


def test_predicted_time_is_scaled_by_what_finished_trials_took() -> None:
    trials = [
        trial("a", TrialState.FINISHED, took=120.0),
        trial("b", TrialState.RUNNING),
        trial("c", TrialState.QUEUED),
    ]
    found = pace(trials, [attempt("a", 400, 280), attempt("b", 30)], NOW)
    assert found.measured
    assert found.left == pytest.approx((120 - 30) + 120)
    assert found.per_hour == pytest.approx(1 / 400 * 3600)


def test_before_the_first_has_finished_the_plan_counts() -> None:
    found = pace([trial("b", TrialState.RUNNING), trial("c", TrialState.QUEUED)], [attempt("b", 30)], NOW)
    assert (found.left, found.measured, found.per_hour) == (90.0, False, None)


def test_nobody_runs_it() -> None:
    found = pace([trial("a", TrialState.FINISHED, took=1.0), trial("c", TrialState.QUEUED)], [attempt("a", 9, 8)], NOW)
    assert (found.left, found.per_hour) == (None, None)


def test_all_is_done() -> None:
    assert pace([trial("a", TrialState.FINISHED, took=1.0)], [attempt("a", 9, 8)], NOW).left == 0.0


def test_two_at_once_take_half_as_long() -> None:
    trials = [trial(name, TrialState.QUEUED) for name in "abcd"]
    assert remaining(trials, {}, 2.0, 1) == 480.0
    assert remaining(trials, {}, 2.0, 2) == 240.0
    assert remaining(trials, {"a": 1000.0}, 2.0, 1) == 360.0


def test_devices_are_busy_for_the_union_of_their_attempts() -> None:
    attempts = [
        attempt("a", 1000, 500),
        attempt("b", 700, 400),
        attempt("c", 100),
        attempt("d", 1000, 900, host="b", device=""),
    ]
    first, second = device_use(attempts, NOW)
    assert (first.host, first.device, first.running, first.ended) == ("a", "GPU 0", 1, 2)
    assert first.busy == pytest.approx((600 + 100) / 1000)
    assert (second.host, second.device, second.running, second.ended) == ("b", "", 0, 1)
    assert second.busy == pytest.approx(0.1)


def test_what_ended_before_the_window_is_forgotten() -> None:
    assert device_use([attempt("a", 3 * WINDOW, 2 * WINDOW)], NOW) == []
    (use,) = device_use([attempt("a", 3 * WINDOW, WINDOW / 2)], NOW)
    assert use.busy == pytest.approx(0.5)


@given(st.lists(st.tuples(st.floats(0, 2 * WINDOW), st.none() | st.floats(0, 2 * WINDOW)), max_size=20))
def test_use_is_a_share(spans: list[tuple[float, float | None]]) -> None:
    attempts = [attempt("a", max(s, e or 0), None if e is None else min(s, e)) for s, e in spans]
    for use in device_use(attempts, NOW):
        assert 0 <= use.busy <= 1 + 1e-9


@pytest.mark.parametrize(
    ("began", "epochs", "predicted", "quiet", "slow"),
    [
        (100.0, [], None, 100.0, False),
        (1e6, [], None, 1e6, False),  # nothing tells what it would take
        (500.0, [100.0, 150.0], None, 250.0, False),
        (1000.0, [100.0, 150.0], None, 750.0, True),
        (300.0, [], 1000.0, 300.0, False),
        (500.0, [], 1000.0, 500.0, True),  # one of ten epochs
        (2300.0, [2200.0], 1000.0, 100.0, True),  # all of it
    ],
)
def test_how_a_running_trial_goes(
    began: float, epochs: list[float], predicted: float | None, quiet: float, slow: bool
) -> None:
    assert liveness(attempt("a", began), epochs, predicted, 10, NOW) == Liveness(quiet, slow)
