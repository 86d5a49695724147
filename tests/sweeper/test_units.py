"""Times and sizes as a person reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.units import duration, size

SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def read(text: str) -> int:
    """The seconds that a person takes from a text such as `3 h 20 min`."""
    words = text.split()
    assert len(words) in (2, 4), "at most two units"
    return sum(int(number) * SECONDS[unit] for number, unit in zip(words[::2], words[1::2], strict=True))


@given(st.floats(0, 1e8))
def test_a_duration_is_right_to_the_second_the_minute_or_the_hour(seconds: float) -> None:
    precision = 1 if seconds < 90 else 60 if seconds < 2 * 86400 else 3600
    assert abs(read(duration(seconds)) - seconds) <= precision / 2


@given(st.floats(0, 1e7), st.floats(0, 1e7))
def test_a_longer_time_never_reads_shorter(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert read(duration(low)) <= read(duration(high))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45, "45 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (3600, "1 h"),
        (12000, "3 h 20 min"),
        (187200, "2 d 4 h"),
        (189000 - 1, "2 d 4 h"),
        (189000 + 1, "2 d 5 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(2e5, "0.2 MB"), (9.94e6, "9.9 MB"), (72.4e6, "72 MB"), (999e6, "999 MB"), (27.8e9, "27.8 GB")]
)
def test_sizes(number: float, text: str) -> None:
    assert size(number) == text
