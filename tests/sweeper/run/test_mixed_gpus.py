"""Mixed GPUs on real Ray: pretended ones, and trials that sleep (`tests.sleeping_trials`)."""

from __future__ import annotations

import pytest

from tests.sleeping_trials import sleep_through

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TYPES = [("A100", 2, 5.0), ("P100", 3, 1.0)]
SECONDS = [20.0, 18.5, 12.6, 11.0, 6.1, 4.7, 3.3, 2.8, 2.2, 1.7, 1.1, 0.9, 0.6, 0.5]


def test_the_longest_trials_run_on_the_fastest_gpus_and_all_end_near_the_bound() -> None:
    """Counted in what each GPU slept, not by a clock. Ray alone gives the third and the fourth trial to a P100 that is
    free, which then sleeps at least 1.8 times the bound. Each GPU keeps its process, though the types take turns."""
    slept = sleep_through(TYPES, SECONDS)
    assert slept.types[:4] == ["A100"] * 4
    assert "P100" in slept.types
    assert max(slept.loads.values()) <= 1.3 * slept.bound
    assert slept.processes == 5
    assert slept.said == ["GPUs of several types (2 A100 and 3 P100): the longest trials are kept for the fastest"]
