"""What is tried again, and when a sweep gives up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.run.retry_policy import BREAKER, HALTING, RETRIES, broken, retry
from trials.states import FailureKind

KINDS = st.sampled_from(list(FailureKind))
ENDS = st.lists(st.none() | KINDS, max_size=20)
FAULTS = [kind for kind in FailureKind if kind is not FailureKind.DIVERGED and kind not in HALTING]


def test_every_kind_of_failure_has_a_rule() -> None:
    assert set(RETRIES) == set(FailureKind)


@given(KINDS.filter(lambda kind: kind not in HALTING))
def test_a_trial_is_tried_again_as_often_as_its_rule_says(kind: FailureKind) -> None:
    earlier = 0
    while retry(kind, earlier):
        earlier += 1
    assert earlier == RETRIES[kind]


@pytest.mark.parametrize("kind", [FailureKind.DIVERGED, FailureKind.BAD_DATA, FailureKind.BAD_SETTINGS])
def test_a_result_and_a_person_s_mistake_are_never_tried_again(kind: FailureKind) -> None:
    assert not retry(kind, 0)


@pytest.mark.parametrize("kind", FAULTS)
def test_the_breaker_opens_after_five_of_a_kind(kind: FailureKind) -> None:
    assert not broken([kind] * (BREAKER - 1))
    assert broken([kind] * BREAKER)
    assert broken([None, *[kind] * BREAKER])


@given(ENDS)
def test_a_full_disk_stops_the_sweep_at_once_and_the_trial_stays_queued(ends: list[FailureKind | None]) -> None:
    assert broken([*ends, FailureKind.DISK_FULL])
    assert retry(FailureKind.DISK_FULL, 1000)


@given(ENDS)
def test_one_success_among_the_last_keeps_it_closed(ends: list[FailureKind | None]) -> None:
    for place in range(BREAKER):
        tail: list[FailureKind | None] = [FailureKind.BUG] * BREAKER
        tail[place] = None
        assert not broken([*ends, *tail])


@given(ENDS)
def test_diverged_trials_are_results_of_the_machine_as_good_as_any(ends: list[FailureKind | None]) -> None:
    assert broken(ends) == broken([None if kind is FailureKind.DIVERGED else kind for kind in ends])
    assert not broken([FailureKind.DIVERGED] * 50)


@given(ENDS, st.sampled_from(FAULTS))
def test_what_was_long_ago_does_not_matter(ends: list[FailureKind | None], kind: FailureKind) -> None:
    assert broken([*ends, *[kind] * BREAKER])
