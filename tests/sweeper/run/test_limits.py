"""How long a trial may take, and what is said of one that took longer."""

from __future__ import annotations

import pytest

from sweeper.errors import GridError
from sweeper.grids.files import load_grid
from sweeper.grids.schema import ResourcesTable
from sweeper.run.limits import limits_of, over_text, patience
from trials.messages import Limits


@pytest.mark.parametrize(
    ("limits", "elapsed", "seconds"),
    [
        (Limits(), 1e9, None),
        (Limits(epoch=60.0), 1e9, 60.0),
        (Limits(attempt=100.0), 30.0, 70.0),
        (Limits(attempt=100.0), 130.0, 0.0),
        (Limits(attempt=100.0, epoch=60.0), 10.0, 60.0),
        (Limits(attempt=100.0, epoch=60.0), 90.0, 10.0),
    ],
)
def test_the_shorter_of_both_times_counts(limits: Limits, elapsed: float, seconds: float | None) -> None:
    assert patience(limits, elapsed) == seconds


def test_the_reason_names_the_key_that_decided() -> None:
    limits = limits_of(ResourcesTable(trial_hours=2, epoch_minutes=30))
    assert over_text(limits, 7200.0).startswith("it was not done after 2 h ([resources] trial_hours)")
    assert over_text(limits, 1900.0).startswith("no epoch ended within 30 min ([resources] epoch_minutes)")


@pytest.mark.parametrize("change", ["resources.trial_hours=0", "resources.epoch_minutes=-1"])
def test_a_time_that_cannot_be_is_refused(change: str) -> None:
    with pytest.raises(GridError, match=change.split("=")[0].rpartition(".")[2]):
        load_grid("demo", [change])
