"""What a finished trial leaves: all of it in one statement, or nothing; on SQLite and on a real Postgres."""

from __future__ import annotations

import dataclasses
import gc
import math

import pytest
from sqlalchemy import Engine, event
from storage_samples import epoch, make_sweep, outcome, scores, trial_hash

from storage.errors import AttemptEndedError, InvalidScoreError, LeaseLostError, UnknownSweepError, UnknownTrialError
from storage.repository import Repository
from tests.results import result
from trials.results import Score
from trials.states import FailureKind, TrialState


def test_finish_stores_all_and_again_changes_nothing(repository: Repository) -> None:
    lease = make_sweep(repository)
    attempt = repository.claim(lease, trial_hash(0))
    assert attempt is not None
    repository.record_epoch(lease, attempt.id, epoch(1))
    given = outcome(3)
    repository.finish(lease, attempt.id, given, "run-1")
    stored = (repository.trials("study"), repository.score_columns("study"), repository.attempts(trial_hash(0)))
    repository.finish(lease, attempt.id, dataclasses.replace(given, parameters=1, scores=()))
    assert stored == (
        repository.trials("study"),
        repository.score_columns("study"),
        repository.attempts(trial_hash(0)),
    )
    trial = stored[0][0]
    assert trial.state == TrialState.FINISHED
    for name in (
        "best_epoch", "val_loss", "val_dsc", "test_dsc", "parameters", "train_seconds", "evaluate_seconds",
        "peak_memory_mib",
    ):  # fmt: skip
        assert getattr(trial, name) == getattr(given, name), name
    assert (trial.epochs, trial.mlflow_run) == (3, "run-1")
    assert repository.environments() == {trial.environment: given.environment}
    assert tuple(repository.epochs(trial.hash)) == given.history
    columns = repository.score_columns("study")
    assert list(zip(*columns.values(), strict=True)) == [
        (trial.hash, score.partition, score.case, score.label, score.group, *score.values.values())
        for score in scores()
    ]
    assert repository.claim(lease, trial.hash) is None
    with pytest.raises(AttemptEndedError, match="already finished"):
        repository.fail(lease, attempt.id, FailureKind.BUG, "late", requeue=True)
    assert repository.retry(lease, [trial.hash]) == []


def test_epochs_beyond_the_end_are_not_of_the_history(repository: Repository) -> None:
    lease = make_sweep(repository)
    attempt = repository.claim(lease, trial_hash(0))
    assert attempt is not None
    for number in (1, 2, 3, 4, 5):
        repository.record_epoch(lease, attempt.id, epoch(number))
    repository.finish(lease, attempt.id, outcome(3))
    assert len(repository.epochs(trial_hash(0))) == len(repository.epoch_columns("study")["epoch"]) == 3


def test_scores_take_one_statement(repository: Repository) -> None:
    lease = make_sweep(repository)
    attempt = repository.claim(lease, trial_hash(0))
    assert attempt is not None
    seen: list[int] = []

    def listen(conn, cursor, statement, parameters, context, executemany) -> None:  # type: ignore[no-untyped-def]
        if "INSERT INTO score" in statement:
            seen.append(sum(map(len, parameters)) if executemany else len(parameters))

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        repository.finish(lease, attempt.id, outcome(images=100))
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    assert len(seen) == 1
    assert seen[0] >= 100 * 2 * 2 * 5  # every value of every row is in that one call
    assert len(repository.score_columns("study")["trial"]) == 400


def test_a_read_leaves_the_search_for_garbage_as_it_was(repository: Repository) -> None:
    make_sweep(repository)
    repository.score_columns("study")
    assert gc.isenabled()
    with pytest.raises(UnknownSweepError):
        repository.score_columns("other")
    assert gc.isenabled()
    gc.disable()
    try:
        repository.score_columns("study")
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "change",
    [
        {"dsc": 1.0000001}, {"iou": -0.1}, {"precision": math.nan}, {"recall": math.inf}, {"hd95": math.nan},
        {"asd": -1.0}, {"hd95": -math.inf}, {"dsc": True}, {"dsc": "0.5"},
    ],
)  # fmt: skip
def test_a_bad_score_stores_nothing(repository: Repository, change: dict[str, float]) -> None:
    lease = make_sweep(repository)
    attempt = repository.claim(lease, trial_hash(0))
    assert attempt is not None
    given = scores()
    bad = (*given[:-1], dataclasses.replace(given[-1], values={**given[-1].values, **change}))
    name, value = next(iter(change.items()))
    with pytest.raises(InvalidScoreError, match=rf"validation image 'case-001', class 'tumour': {name} is {value!r}"):
        repository.finish(lease, attempt.id, dataclasses.replace(outcome(), scores=bad))
    assert repository.score_columns("study")["trial"] == []
    assert repository.epochs(trial_hash(0)) == []
    assert repository.trials("study")[0].state == TrialState.RUNNING
    repository.finish(lease, attempt.id, outcome())


def test_an_image_scored_twice_is_refused(repository: Repository) -> None:
    lease = make_sweep(repository)
    attempt = repository.claim(lease, trial_hash(0))
    assert attempt is not None
    twice = dataclasses.replace(outcome(), scores=(scores()[0], scores()[0]))
    with pytest.raises(InvalidScoreError, match="scored twice"):
        repository.finish(lease, attempt.id, twice)


def test_an_outcome_without_scores_or_history(repository: Repository) -> None:
    lease = make_sweep(repository)
    attempt = repository.claim(lease, trial_hash(0))
    assert attempt is not None
    bare = result()
    repository.finish(lease, attempt.id, bare)
    trial = repository.trials("study")[0]
    assert trial.val_loss is not None
    assert math.isnan(trial.val_loss)
    assert (trial.val_dsc, trial.environment, trial.mlflow_run) == (None, None, None)


def test_a_metric_that_nobody_knew_is_stored_by_its_name(repository: Repository) -> None:
    lease = make_sweep(repository)
    attempt = repository.claim(lease, trial_hash(0))
    assert attempt is not None
    with pytest.raises(InvalidScoreError, match="betti is nan, expected a number"):
        repository.finish(lease, attempt.id, result(scores=[Score("test", "a", "kidney", {"betti": math.nan})]))
    given = [Score("test", "a", "kidney", {"betti": -3.0}), Score("test", "b", "kidney", {"dsc": 0.5})]
    repository.finish(lease, attempt.id, result(scores=given))
    columns = repository.score_columns("study")
    assert (columns["betti"], columns["dsc"], columns["hd95"]) == ([-3.0, None], [None, 0.5], [None, None])


def test_metrics_are_added_to_stored_scores_and_none_is_changed(repository: Repository) -> None:
    lease = make_sweep(repository)
    with pytest.raises(UnknownTrialError, match="no finished trial"):
        repository.add_metrics(lease, trial_hash(0), scores(1))
    attempt = repository.claim(lease, trial_hash(0))
    assert attempt is not None
    given = scores()
    repository.finish(lease, attempt.id, outcome(3))
    before = repository.score_columns("study")
    added = [dataclasses.replace(given[0], values={"nsd": None, "dsc": 0.123, "nsd(tolerance=2)": 0.5})]
    assert repository.add_metrics(lease, trial_hash(0), added) == 1
    after = repository.score_columns("study")
    assert {name: after[name] for name in before} == before
    assert [v for v in after["nsd(tolerance=2)"] if v is not None] == [0.5]
    again = [dataclasses.replace(given[0], values={"nsd": 0.9, "nsd(tolerance=2)": 0.7})]
    assert repository.add_metrics(lease, trial_hash(0), again) == 0
    # An undefined value is stored as well: it is not missing.
    assert repository.score_columns("study") == after
    with pytest.raises(InvalidScoreError, match=r"ece is 1\.5"):
        repository.add_metrics(lease, trial_hash(0), [dataclasses.replace(given[0], values={"brier": 0.1, "ece": 1.5})])
    repository.release_lease(lease)
    with pytest.raises(LeaseLostError):
        repository.add_metrics(lease, trial_hash(0), [dataclasses.replace(given[0], values={"brier": 0.1})])
    assert repository.score_columns("study") == after
