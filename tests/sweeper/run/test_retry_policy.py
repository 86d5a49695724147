"""Which failures are retried, and when a sweep stops: as docs/guarantees.md promises it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.run.retry_policy import broken, retry
from trials.states import FailureKind

Kind = FailureKind
KINDS = st.sampled_from(list(Kind))
ENDS = st.lists(st.none() | KINDS, max_size=20)

OF_THE_MACHINE = [Kind.LOST, Kind.OUT_OF_MEMORY]
OF_A_PERSON = [Kind.BAD_DATA, Kind.BAD_SETTINGS]
STREAK = 5
"""So many failures of a kind in a row stop a sweep, as the page says."""


def retries(kind: FailureKind) -> int:
    """How often one coordinator retries a trial that always fails in this way; fails where it has no end."""
    return next(earlier for earlier in range(100) if not retry(kind, earlier))


@pytest.mark.parametrize("kind", OF_THE_MACHINE)
def test_a_fault_of_the_machine_is_retried_a_bounded_number_of_times(kind: FailureKind) -> None:
    assert 1 <= retries(kind) < STREAK, "a trial that can't run must not stop its sweep before it has failed"


def test_a_trial_that_may_be_at_fault_itself_is_retried_less() -> None:
    assert retries(Kind.LOST) >= retries(Kind.OUT_OF_MEMORY) >= retries(Kind.BUG) >= 1


@pytest.mark.parametrize("kind", [*OF_A_PERSON, Kind.DIVERGED, Kind.TIMED_OUT])
def test_a_result_and_a_mistake_are_never_retried(kind: FailureKind) -> None:
    assert retries(kind) == 0


@given(KINDS, st.integers(0, 100))
def test_what_is_not_retried_any_more_never_is_again(kind: FailureKind, earlier: int) -> None:
    assert retry(kind, earlier) or not retry(kind, earlier + 1)


@given(ENDS, st.integers(0, 1000))
def test_a_full_disk_stops_the_sweep_at_once_and_costs_no_trial(ends: list[FailureKind | None], earlier: int) -> None:
    assert broken([*ends, Kind.DISK_FULL])
    assert retry(Kind.DISK_FULL, earlier)


@pytest.mark.parametrize("kind", [*OF_THE_MACHINE, *OF_A_PERSON, Kind.BUG])
@given(ends=ENDS)
def test_five_failures_of_a_kind_in_a_row_stop_the_sweep(ends: list[FailureKind | None], kind: FailureKind) -> None:
    assert broken([*ends, *[kind] * STREAK])
    assert not broken([*ends, None, *[kind] * (STREAK - 1)])


@pytest.mark.parametrize("kind", [Kind.DIVERGED, Kind.TIMED_OUT])
def test_losses_that_cannot_be_trained_stop_no_sweep(kind: FailureKind) -> None:
    assert not broken([kind] * 3 * STREAK)


@given(ENDS, st.lists(st.sampled_from([*OF_THE_MACHINE, *OF_A_PERSON]), min_size=STREAK, max_size=STREAK))
def test_failures_of_several_kinds_have_several_causes(ends: list[FailureKind | None], last: list[FailureKind]) -> None:
    assert broken([*ends, *last]) == (len(set(last)) == 1)


@given(ENDS, st.integers(0, STREAK - 1))
def test_one_success_among_the_last_keeps_it_running(ends: list[FailureKind | None], place: int) -> None:
    last: list[FailureKind | None] = [Kind.BUG] * STREAK
    last[place] = None
    assert not broken([*ends, *last])


@given(ENDS)
def test_a_diverged_loss_says_nothing_against_the_machine(ends: list[FailureKind | None]) -> None:
    assert broken(ends) == broken([None if kind is Kind.DIVERGED else kind for kind in ends])
    assert not broken([Kind.DIVERGED] * 50)
