"""What a trial returns: scores per image and class, the history of its epochs, times and environment. Pure data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Partition = Literal["validation", "test"]


@dataclass(frozen=True, slots=True)
class Score:
    """Scores of one image for one class.

    `values` maps a metric's name (`trials.metrics`) to its value, None where it is undefined (recall where the truth
    is empty). A metric that was not computed is not there. `group` is the patient, or another group, that the image
    belongs to, as the data set's reader knows it; empty where it is not known.
    """

    partition: Partition
    case: str
    label: str
    values: Mapping[str, float | None]
    group: str = ""

    def __getitem__(self, metric: str) -> float | None:
        """The value of a metric; None where it is undefined or was not computed."""
        return self.values.get(metric)

    def to_dict(self) -> dict[str, Any]:
        """One flat object: partition, case, label, group, and the metrics by name."""
        return {
            "partition": self.partition, "case": self.case, "label": self.label, "group": self.group, **self.values,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Score:
        """The inverse of `to_dict`; reads every stored form: earlier versions knew no groups."""
        rest = dict(values)
        group = rest.pop("group", "")
        return cls(rest.pop("partition"), rest.pop("case"), rest.pop("label"), rest, group)


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch, counted from 1: mean losses, mean hard validation DSC over foreground classes, its learning rate.

    `steps` are the epoch's own optimiser steps, `seconds` its duration, `waited` how many of these seconds its steps
    waited for their batches (None where that was not measured). Two epochs that differ in `waited` alone are equal.
    """

    epoch: int
    loss: float
    val_loss: float
    val_dsc: float
    learning_rate: float
    steps: int
    seconds: float
    waited: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The result of a trial that trained to its end. `best_epoch` counts from 1; 0 where nothing was trained."""

    hash: str
    scores: tuple[Score, ...]
    history: tuple[Epoch, ...]
    best_epoch: int
    stopped_early: bool
    resumed_from: int
    steps: int
    parameters: int
    train_seconds: float
    evaluate_seconds: float
    peak_memory_mib: float
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def val_loss(self) -> float:
        """The validation loss of the best epoch; NaN where nothing was trained."""
        return self.history[self.best_epoch - 1].val_loss if self.history else math.nan

    @property
    def val_dsc(self) -> float | None:
        """Mean DSC over the validation images and foreground classes; None where none is defined."""
        return mean_defined(s["dsc"] for s in self.scores if s.partition == "validation")

    @property
    def test_dsc(self) -> float | None:
        """Mean DSC over the test images and foreground classes; None where none is defined."""
        return mean_defined(s["dsc"] for s in self.scores if s.partition == "test")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; distances may be infinite."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            **fields,
            "scores": [score.to_dict() for score in self.scores],
            "history": [dataclasses.asdict(epoch) for epoch in self.history],
            "environment": dict(self.environment),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrialResult:
        """The inverse of `to_dict`."""
        rest = dict(values)
        scores = tuple(Score.from_dict(score) for score in rest.pop("scores"))
        history = tuple(Epoch(**epoch) for epoch in rest.pop("history"))
        return cls(scores=scores, history=history, **rest)


def mean_defined(values: Iterable[float | None]) -> float | None:
    """The mean of those values that are not None; None where there is none."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
