"""Until when a sweep may run, as a person says it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from sweeper.errors import SettingsError
from sweeper.run.deadline import as_option, deadline

NOW = datetime(2030, 1, 31, 19, 30, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("hours", "until", "after"),
    [
        (12.0, None, 12.0),
        (0.5, None, 0.5),
        (None, "07:00", 11.5),
        (None, "7:00", 11.5),
        (None, "20:00", 0.5),
        (None, "19:30", 24.0),
        (None, "2030-02-01T19:30", 24.0),
        (None, "2030-01-31T19:30:00+00:00", 2.0),
    ],
)
def test_the_end(hours: float | None, until: str | None, after: float) -> None:
    assert deadline(hours, until, NOW) == NOW.timestamp() + 3600 * after


def test_no_end() -> None:
    assert deadline(None, None, NOW) is None


@pytest.mark.parametrize(
    ("hours", "until", "words"),
    [
        (-1.0, None, "more than 0"),
        (float("nan"), None, "more than 0"),
        (1e9, None, "at most 100,000"),
        (1.0, "07:00", "give one of them"),
        (None, "25:00", "is no time"),
        (None, "soon", "is no time"),
        (None, "2030-01-31T19:29", "is past"),
    ],
)
def test_what_is_no_end_is_refused(hours: float | None, until: str | None, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        deadline(hours, until, NOW)


def test_another_process_is_told_the_same_end() -> None:
    option, text = as_option(NOW.timestamp())
    assert option == "--until"
    assert deadline(None, text, NOW - timedelta(hours=1)) == NOW.timestamp()
