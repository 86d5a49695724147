"""Hand-made studies for the tests: storage records and score columns with a known truth. Never shipped as a result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from storage.records import NewTrial, Sweep, Trial
from storage.repository import Repository
from sweeper.grids.names import Naming
from tests.results import result
from trials.results import Epoch, Score
from trials.spec import RESULTS_VERSION, DataSpec, LossSpec, TrainingSpec, TrialSpec
from trials.states import FailureKind, SweepState, TrialState

BASELINES = {
    "ce": 0.0,
    "focal": -0.02,
    "dice": 0.0,
    "tversky": 0.01,
    "focal_tversky": 0.01,
    "combo": 0.02,
}
UNIFIED = {"unified_focal_sym": 0.03, "unified_focal_asym": 0.035}
SCORE_COLUMNS = (
    "trial", "partition", "case", "label", "group", "dsc", "iou", "precision", "recall", "hd95", "asd",
)  # fmt: skip
GAMMAS = tuple(g / 10 for g in range(1, 10))


def make_trial(
    dataset: str,
    loss: str,
    *,
    gamma: float | None = None,
    repeat: int = 0,
    state: TrialState = TrialState.FINISHED,
    val_dsc: float | None = 0.8,
    test_dsc: float | None = 0.8,
    results_version: int = RESULTS_VERSION,
    classes: tuple[str, ...] = ("background", "thing"),
    provenance: str = "real",
    parameters: Mapping[str, Any] | None = None,
    failure: FailureKind | None = None,
    error: str | None = None,
    train_seconds: float | None = 60.0,
    fold: int | None = None,
    environment: str | None = None,
    finished_at: float | None = None,
    training: TrainingSpec | None = None,
) -> Trial:
    values = dict(parameters or {})
    if gamma is not None:
        values["gamma"] = gamma
    spec = TrialSpec(
        DataSpec(dataset, classes, 2, "prepared", "split", provenance, fold),  # type: ignore[arg-type]
        LossSpec(loss, values),
        training=training or TrainingSpec(),
        repeat=repeat,
        seed=repeat,
        results_version=results_version,
    )
    done = state is TrialState.FINISHED
    return Trial(
        hash=spec.hash, position=0, state=state, spec=spec, label=Naming().label(spec), dataset=dataset,
        loss=loss, gamma=gamma, repeat=repeat, seed=repeat, results_version=results_version, study=None, cost=None,
        attempts=1, failure=failure, error=error, sweep="s", epochs=30 if done else 0,
        best_epoch=20 if done else None, val_loss=0.3 if done else None, val_dsc=val_dsc if done else None,
        test_dsc=test_dsc if done else None, train_seconds=train_seconds if done else None,
        parameters=1000 if done else None, environment=environment, mlflow_run=None, started_at=None,
        finished_at=finished_at,
    )  # fmt: skip


def make_sweep(name: str = "s", **changes: Any) -> Sweep:
    values: dict[str, Any] = {
        "id": 1, "name": name, "state": SweepState.FINISHED, "reason": "", "grid": {"text": "name = 's'"},
        "rehearsal": False, "description": "", "created_at": 1.7e9, "finished_at": 1.7e9 + 3600, "mlflow_run": None,
        "details": {},
    }  # fmt: skip
    return Sweep(**(values | changes))


@dataclass
class Study:
    """Trials with scores for each; `columns` is what `Repository.score_columns` gives."""

    trials: list[Trial] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=lambda: {k: [] for k in SCORE_COLUMNS})
    further: bool = True
    """Whether images have scores besides DSC. An analysis of one metric takes half as long."""

    def add_scores(
        self,
        trial: Trial,
        label: str,
        dsc: Sequence[float | None],
        partition: str = "test",
        groups: Sequence[str] = (),
        first: int = 0,
    ) -> None:
        """One image per DSC, numbered from `first`; the other metrics follow. Without `groups` they are unknown."""
        for i, value in enumerate(dsc):
            also = value if self.further else None
            iou = None if also is None else also / (2 - also)
            row = {
                "trial": trial.hash, "partition": partition, "case": f"case{first + i:03}", "label": label,
                "group": groups[i] if groups else "", "dsc": value,
                "iou": iou, "precision": also, "recall": also, "hd95": None, "asd": None,
            }  # fmt: skip
            for key, entry in row.items():
                self.columns[key].append(entry)

    def add(self, trial: Trial, dsc: Sequence[float | None], label: str = "thing") -> Trial:
        self.trials.append(trial)
        self.add_scores(trial, label, dsc)
        return trial


def paper_like(
    datasets: Iterable[str] = ("nuclei",),
    *,
    images: int = 20,
    repeats: int = 1,
    gammas: Sequence[float] = GAMMAS,
    labels: Sequence[str] = ("thing",),
    baselines: Iterable[str] = tuple(BASELINES),
    provenance: str = "real",
    seed: int = 0,
) -> Study:
    """All eight losses on each data set, or both unified ones and some `baselines`: images differ in difficulty, losses
    by a small shift, γ by a flat parabola."""
    rng = np.random.default_rng(seed)
    study = Study()
    for d, dataset in enumerate(datasets):
        difficulty = np.clip(rng.normal(0.78 - 0.03 * d, 0.08, images), 0.2, 0.93)
        for repeat in range(repeats):
            cells = [(loss, None, BASELINES[loss]) for loss in baselines]
            cells += [(u, g, s - 0.15 * (g - 0.45) ** 2) for u, s in UNIFIED.items() for g in gammas]
            for loss, gamma, shift in cells:
                scores = {
                    label: np.clip(difficulty - 0.1 * k + shift + rng.normal(0, 0.02, images), 0, 1)
                    for k, label in enumerate(labels)
                }
                mean = float(np.mean(list(scores.values())))
                trial = make_trial(
                    dataset, loss, gamma=gamma, repeat=repeat, val_dsc=mean + rng.normal(0, 0.002), test_dsc=mean,
                    classes=("background", *labels), provenance=provenance,
                    train_seconds=float(60 + 5 * rng.normal()),
                )  # fmt: skip
                study.trials.append(trial)
                for label, values in scores.items():
                    study.add_scores(trial, label, values.tolist())
    return study


def with_history(study: Study, epochs: int = 30) -> dict[str, list[Any]]:
    """What `Repository.epoch_columns` gives: a falling loss and a rising DSC for each finished trial."""
    names = ("trial", "epoch", "loss", "val_loss", "val_dsc", "learning_rate", "steps", "seconds", "waited")
    columns: dict[str, list[Any]] = {k: [] for k in names}
    rng = np.random.default_rng(1)
    for trial in study.trials:
        if trial.state is not TrialState.FINISHED:
            continue
        for epoch in range(1, epochs + 1):
            left = np.exp(-epoch / 8)
            row = (trial.hash, epoch, 0.2 + left, 0.25 + left + rng.normal(0, 0.01),
                   (trial.val_dsc or 0.0) * (1 - left) + rng.normal(0, 0.01), 0.1, 19, 2.0, 0.0)  # fmt: skip
            for name, value in zip(names, row, strict=True):
                columns[name].append(value)
    return columns


class MemoryRepository:
    """The reading methods of `storage.repository.Repository` that a report uses, over a hand-made study."""

    def __init__(self, study: Study, sweep: Sweep | None = None) -> None:
        self.study, self._sweep = study, sweep or make_sweep()

    def sweep(self, name: str) -> Sweep:
        return self._sweep

    def trials(self, name: str) -> list[Trial]:
        return self.study.trials

    def score_columns(self, name: str) -> dict[str, list[Any]]:
        return self.study.columns

    def epoch_columns(self, name: str) -> dict[str, list[Any]]:
        return with_history(self.study)

    def environments(self) -> dict[str, dict[str, str]]:
        return {}


def store(study: Study, repository: Repository, name: str = "s", details: Mapping[str, object] | None = None) -> None:
    """Writes a study's finished trials into a real database, as a coordinator does."""
    new = [
        NewTrial(t.hash, t.spec, t.label, t.dataset, t.loss, t.gamma, t.repeat, t.seed, t.results_version)
        for t in study.trials
    ]
    repository.create_sweep(name, grid={"name": name}, trials=new, details=details or {})
    lease = repository.acquire_lease(name, "test:1", 600)
    rows = [dict(zip(study.columns, values, strict=True)) for values in zip(*study.columns.values(), strict=True)]
    histories = with_history(study, epochs=3)
    for trial in study.trials:
        if trial.state is not TrialState.FINISHED:
            continue
        attempt = repository.claim(lease, trial.hash)
        assert attempt is not None
        scores = tuple(
            Score.from_dict(
                {k: v for k, v in row.items() if k != "trial" and (v is not None or k not in ("hd95", "asd"))}
            )
            for row in rows
            if row["trial"] == trial.hash
        )
        epochs = [dict(zip(histories, values, strict=True)) for values in zip(*histories.values(), strict=True)]
        history = tuple(
            Epoch(**{k: v for k, v in e.items() if k != "trial"}) for e in epochs if e["trial"] == trial.hash
        )
        done = result(trial.hash, scores, history, best_epoch=2, environment={"python": "3.11", "device": "CPU"})
        repository.finish(lease, attempt.id, done)
