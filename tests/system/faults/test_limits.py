"""A trial that hangs is ended by the grid's limit, the others train, and a retry resumes after its last epoch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.faults.scenarios import SHORT, SWEEP, Reference, Sweep, one_by_one
from trials.states import TrialState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweep]:
    limited = one_by_one(SHORT).replace("[resources]", "[resources]\nepoch_minutes = 1", 1)
    made = Sweep(tmp_path / "sweep", grid=limited)
    yield made
    made.end()


def test_a_trial_that_hangs_is_timed_out_and_a_retry_resumes_after_its_last_epoch(
    sweep: Sweep, reference: Reference
) -> None:
    run = sweep.go()
    sweep.hold("saved", run)  # the first epoch's checkpoint is on disk
    sweep.arm("mid-epoch")
    sweep.release_only("saved")
    sweep.held("mid-epoch", run)  # and nobody releases it
    run.says("no epoch ended within 60 s ([resources] epoch_minutes); a retry resumes after its last epoch")
    sweep.release()
    run.ends(None)
    assert sweep.attempts()["failed", "timed_out"] == 1
    assert (sweep.counts()[TrialState.FINISHED], sweep.counts()[TrialState.FAILED]) == (5, 1)
    reference.so_far(sweep)

    # The second epoch trained while the first was held as it was saved: it may have ended before the third hung.
    assert re.search(r"resumes after epoch [12]\b", sweep.home.run("retry", SWEEP, "--failed"))
    assert sweep.attempts()["failed", "timed_out"] == 1
    reference.equals(sweep)
