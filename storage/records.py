"""The plain data that `storage` takes and gives. Frozen dataclasses, string enums; no SQLAlchemy, nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from trials.spec import DataSpec, ModelSpec, TrainingSpec, TrialSpec
from trials.states import AttemptState, FailureKind, SweepState, TrialState


@dataclass(frozen=True, slots=True)
class NewTrial:
    """A trial as the grid made it. `hash` is the content hash of its `spec`.

    `dataset`, `loss`, `gamma` and `repeat` are copies of fields of `spec` for filtering.
    `study` names the Optuna study that the trial reports to, or None. `cost` is the predicted seconds.
    """

    hash: str
    spec: TrialSpec
    label: str
    dataset: str
    loss: str
    gamma: float | None
    repeat: int
    seed: int
    results_version: int
    study: str | None = None
    cost: float | None = None

    @classmethod
    def again(cls, trial: Trial) -> Self:
        """A stored trial as a new one, for a sweep that is stored again."""
        return cls(
            trial.hash,
            trial.spec,
            trial.label,
            trial.dataset,
            trial.loss,
            trial.gamma,
            trial.repeat,
            trial.seed,
            trial.results_version,
        )


IMPORTED = "imported"
"""The key of a sweep's details that says that it was made elsewhere, with the hashes of plug-ins that may run here."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A stored sweep. Times are seconds since the epoch by the database's clock."""

    id: int
    name: str
    state: SweepState
    reason: str
    grid: Mapping[str, Any]
    rehearsal: bool
    description: str
    created_at: float
    finished_at: float | None
    mlflow_run: str | None
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SweepProgress:
    """A sweep and how far it is.

    Attributes:
        sweep: as it is stored.
        counts: its trials in each state that one of them has.
        held: whether a living coordinator runs it.
        last_end: when the newest of its trials ended; 0 where none has.
    """

    sweep: Sweep
    counts: Mapping[TrialState, int]
    held: bool
    last_end: float


@dataclass(frozen=True, slots=True)
class Removal:
    """What goes with a sweep that is deleted.

    Attributes:
        sweep, created_at: which sweep; a later one of the same name was made at another time.
        trials: the hashes of its trials that no other sweep has.
        kept: how many of its trials another sweep has; they stay.
        attempts, epochs, scores: rows of the trials that go.
        studies: names of its Optuna studies.
        mlflow_runs: the MLflow runs of the trials that go, as far as the database knows them.
    """

    sweep: str
    created_at: float
    trials: tuple[str, ...]
    kept: int
    attempts: int
    epochs: int
    scores: int
    studies: tuple[str, ...]
    mlflow_runs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainingTime:
    """Seconds that the training of a finished trial of a sweep took for so many epochs, and where (`environments`).

    Of the trial's spec it has what the time depends on.
    """

    sweep: str
    data: DataSpec
    model: ModelSpec
    training: TrainingSpec
    epochs: int
    seconds: float
    environment: str | None


@dataclass(frozen=True, slots=True)
class Trial:
    """A stored trial as one sweep sees it. Result fields are None until it has finished."""

    hash: str
    position: int
    state: TrialState
    spec: TrialSpec
    label: str
    dataset: str
    loss: str
    gamma: float | None
    repeat: int
    seed: int
    results_version: int
    study: str | None
    cost: float | None
    attempts: int
    failure: FailureKind | None
    error: str | None
    sweep: str | None
    """Name of the sweep that ran it, or is running it; differs from the asking sweep where the result is shared."""
    epochs: int
    best_epoch: int | None
    val_loss: float | None
    val_dsc: float | None
    test_dsc: float | None
    train_seconds: float | None
    parameters: int | None
    environment: str | None
    mlflow_run: str | None
    started_at: float | None
    finished_at: float | None
    evaluate_seconds: float | None = None
    peak_memory_mib: float | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a trial. `steps` counts the optimiser steps that this attempt made."""

    id: int
    trial: str
    number: int
    sweep_id: int
    state: AttemptState
    kind: FailureKind | None
    error: str | None
    stderr_tail: str | None
    host: str
    pid: int | None
    device: str | None
    resumed_from: int
    steps: int
    started_at: float
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a sweep. `fencing` grows by one at each take-over, so that a late writer is recognised."""

    sweep_id: int
    holder: str
    fencing: int
    expires_at: float


@dataclass(frozen=True, slots=True)
class Request:
    """A wish of another process (stop, retry, scale), which the lease's holder carries out."""

    id: int
    sweep_id: int
    verb: str
    arguments: Mapping[str, object]
    created_at: float
    done_at: float | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class SignificanceTest:
    """One stored test. `scores_hash` is the hash of the scores that it was computed from."""

    dataset: str
    label: str
    metric: str
    test: str
    first: str
    second: str
    n: int
    p: float | None
    p_holm: float | None
    effect: float | None
    median_difference: float | None
    low: float | None
    high: float | None
    scores_hash: str
