"""What a trial returns: per-image scores, the history of its epochs, times and environment. Pure data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

METRICS = ("dsc", "iou", "precision", "recall")
"""The paper's four metrics (section 3.1.6), in the order of its tables."""


@dataclass(frozen=True, slots=True)
class CaseScore:
    """Scores of one image for one class. None is an undefined value (recall where the truth is empty).

    `hd95` and `asd` (95% Hausdorff distance and average surface distance, in the unit of the spacing, mm for volumes
    and pixels for images) are None unless asked for; infinite where only one of the two masks is empty.
    """

    partition: Literal["validation", "test"]
    case: str
    label: str
    dsc: float | None
    iou: float | None
    precision: float | None
    recall: float | None
    hd95: float | None = None
    asd: float | None = None


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch: mean losses, mean hard validation DSC over foreground classes, the learning rate that it used."""

    epoch: int
    loss: float
    val_loss: float
    val_dsc: float
    learning_rate: float
    steps: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The outcome of a trial that trained to its end. `best_epoch` counts from 1."""

    hash: str
    scores: tuple[CaseScore, ...]
    history: tuple[EpochRecord, ...]
    best_epoch: int
    stopped_early: bool
    resumed_from: int
    steps: int
    parameters: int
    train_seconds: float
    evaluate_seconds: float
    peak_memory_mib: float
    environment: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrialResult:
        rest = dict(values)
        scores = tuple(CaseScore(**s) for s in rest.pop("scores"))
        history = tuple(EpochRecord(**e) for e in rest.pop("history"))
        return cls(scores=scores, history=history, **rest)
