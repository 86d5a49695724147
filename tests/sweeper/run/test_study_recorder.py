"""Trials are recorded in their studies in the background, none twice and none lost."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from storage.database import open_database
from storage.errors import DatabaseUnavailableError
from storage.records import Trial
from storage.studies import BATCH, Studies
from sweeper.run.study_recorder import StudyRecorder
from trials.spec import DataSpec, LossSpec, TrialSpec
from trials.states import TrialState

SPEC = TrialSpec(DataSpec("nuclei", ("background", "nucleus"), 2), LossSpec("ce"))

STUDY = "s/nuclei/unified_focal_asym"


def finished(number: int) -> Trial:
    return Trial(
        hash=f"{number:016x}", position=number, state=TrialState.FINISHED, spec=SPEC, label="", dataset="nuclei",
        loss="unified_focal_asym", gamma=0.5, repeat=number, seed=number, results_version=1, study=STUDY, cost=None,
        attempts=1, failure=None, error=None, sweep="s", epochs=1, best_epoch=1, val_loss=0.3, val_dsc=0.8,
        test_dsc=0.8, train_seconds=1.0, parameters=1, environment=None, mlflow_run=None, started_at=None,
        finished_at=None,
    )  # fmt: skip


@pytest.fixture
def studies(tmp_path: Path) -> Iterator[Studies]:
    with open_database(f"sqlite:///{tmp_path / 'test.db'}") as database, Studies(database) as studies:
        yield studies


def test_what_was_added_is_recorded_at_the_latest_when_it_closes(studies: Studies) -> None:
    recorder = StudyRecorder(studies, pause=60.0)
    for number in range(3):
        recorder.add(finished(number))
    recorder.add(finished(0))
    recorder.close()
    recorder.close()
    assert list(studies.values(STUDY)) == [finished(number).hash for number in range(3)]


def test_it_records_while_the_coordinator_goes_on() -> None:
    seen: list[int] = []
    met = threading.Event()

    class Slow:
        def record_finished(self, trials: Iterable[Trial]) -> int:
            seen.append(len(list(trials)))
            met.set()
            return 0

    recorder = StudyRecorder(Slow(), pause=0.01)  # type: ignore[arg-type]
    recorder.add(finished(0))
    assert met.wait(60)
    recorder.close()
    assert sum(seen) == 1


def test_a_fault_of_the_thread_is_raised_where_the_coordinator_hears_of_it() -> None:
    class Away:
        def record_finished(self, trials: Iterable[Trial]) -> int:
            raise DatabaseUnavailableError("away")

    recorder = StudyRecorder(Away(), pause=60.0)  # type: ignore[arg-type]
    recorder.add(finished(0))
    with pytest.raises(DatabaseUnavailableError, match="away"):
        recorder.close()


def test_more_trials_than_fit_under_one_lock(studies: Studies) -> None:
    trials = [finished(number) for number in range(BATCH + 1)]
    assert studies.record_finished(trials[:2]) == 2
    assert studies.record_finished(trials) == BATCH - 1
    assert studies.record_finished(trials) == 0
    assert list(studies.values(STUDY)) == [trial.hash for trial in trials]
