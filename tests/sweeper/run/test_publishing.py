"""What is made ready for a sweep's end while its trials train."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from sweeper.errors import GridError
from sweeper.run import publishing


@pytest.mark.parametrize("problem", [None, GridError("no package offers a report"), RuntimeError("no fonts")])
def test_the_report_is_made_ready_while_trials_train(
    monkeypatch: pytest.MonkeyPatch, problem: Exception | None
) -> None:
    asked, told = threading.Event(), []

    def get_ready() -> None:
        asked.set()
        if problem is not None:
            raise problem

    def writer() -> SimpleNamespace:
        return SimpleNamespace(get_ready=get_ready)

    monkeypatch.setattr(publishing, "_writer", writer)
    monkeypatch.setattr(publishing, "_STARTED_SECONDS", 0.0)
    monkeypatch.setattr(threading, "excepthook", told.append)
    with publishing.report_prepared():
        assert asked.wait(60)
    assert told == []


def test_nothing_is_made_ready_for_a_sweep_that_has_ended_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "_STARTED_SECONDS", 3600.0)
    before = threading.active_count()
    with publishing.report_prepared():
        assert threading.active_count() == before + 1
        (timer,) = (one for one in threading.enumerate() if isinstance(one, threading.Timer))
    timer.join(60)
    assert not timer.is_alive()
