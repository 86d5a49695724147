"""A call for a block that takes long."""

from __future__ import annotations

import threading

import pytest

from workers.timers import unless_ended


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_it_is_called_while_the_block_lasts(seconds: float) -> None:
    called = threading.Event()
    with unless_ended(seconds, called.set):
        assert called.wait(60)


def test_it_is_not_called_for_a_block_that_has_ended() -> None:
    called = threading.Event()

    def timers() -> list[threading.Thread]:
        return [one for one in threading.enumerate() if isinstance(one, threading.Timer)]

    before = timers()
    with unless_ended(3600.0, called.set):
        (timer,) = (one for one in timers() if one not in before)
    timer.join(60)
    assert not timer.is_alive()
    assert not called.is_set()
