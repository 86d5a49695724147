"""Batches are on the device before the step asks for them; and what counts as a wait for input."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from workers.training.feeding import AHEAD, Feed
from workers.training.loading import Batch

PATIENCE = 60.0


def batch(number: int) -> Batch:
    return np.full((2, 1), number), np.zeros(2)


def test_the_next_batches_are_on_the_device_while_a_step_is_made_and_no_more() -> None:
    placed: list[int] = []
    change = threading.Condition()

    def place(one: Batch) -> int:
        number = int(one[0].flat[0])
        with change:
            placed.append(number)
            change.notify_all()
        return number

    steps = []
    with Feed(map(batch, range(6)), place, lambda: None) as feed:
        for number, images in feed:
            with change:  # the step is being made: nothing is asked of the feed
                expected = list(range(min(number + 1 + AHEAD, 6)))
                assert change.wait_for(partial(placed.__eq__, expected), PATIENCE), placed
            steps.append((number, images))
    assert steps == [(number, 2) for number in range(6)]


def test_a_wait_counts_from_the_end_of_the_step_before() -> None:
    """A step takes 100 s, and ends 7 s before the batch after the next one is made."""
    now = [0.0]
    asked = threading.Event()

    def batches() -> Iterator[Batch]:
        yield batch(0)
        yield batch(1)
        assert asked.wait(PATIENCE)
        now[0] += 7.0
        yield batch(2)

    def ended() -> None:
        now[0] += 100.0

    reads = []

    def clock() -> float:
        reads.append(now[0])
        if len(reads) == 5:  # the wait for the third batch begins
            asked.set()
        return reads[-1]

    with Feed(batches(), lambda one: one, ended, clock=clock) as feed:
        assert len(list(feed)) == 3
    assert feed.waited == 7.0


def test_an_error_comes_in_its_place_and_the_thread_ends() -> None:
    def batches() -> Iterator[Batch]:
        yield batch(0)
        raise ValueError("the second is damaged")

    before, seen = threading.active_count(), []
    with pytest.raises(ValueError, match="the second is damaged"), Feed(batches(), len, lambda: None) as feed:
        seen += list(feed)
    assert threading.active_count() == before


def test_leaving_early_ends_the_thread_and_what_makes_the_batches() -> None:
    ended = []

    def batches() -> Iterator[Batch]:
        try:
            for number in range(100):
                yield batch(number)
        finally:
            ended.append(True)

    before = threading.active_count()
    with Feed(batches(), len, lambda: None) as feed:
        next(iter(feed))
    assert ended == [True]
    assert threading.active_count() == before
