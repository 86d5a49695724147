"""Times and sizes as a person reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.units import duration, size

UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@given(st.floats(0, 1e8))
def test_a_duration_says_what_it_was_to_half_of_its_last_unit(seconds: float) -> None:
    words = duration(seconds).split()
    assert len(words) in (2, 4)
    read = sum(float(n) * UNITS[unit] for n, unit in zip(words[::2], words[1::2], strict=True))
    last = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}[words[-1]]
    assert abs(read - seconds) <= (last / 2 if len(words) == 2 or last == 60.0 else last) + 60


@given(st.floats(0, 1e7), st.floats(0, 1e7))
def test_a_longer_time_never_reads_shorter(one: float, other: float) -> None:
    def read(text: str) -> float:
        words = text.split()
        return sum(float(n) * UNITS[unit] for n, unit in zip(words[::2], words[1::2], strict=True))

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
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(2e5, "0.2 MB"), (9.94e6, "9.9 MB"), (72.4e6, "72 MB"), (999e6, "999 MB"), (27.8e9, "27.8 GB")]
)
def test_sizes(number: float, text: str) -> None:
    assert size(number) == text
