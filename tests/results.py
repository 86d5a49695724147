"""Results of trials that were not trained. Not a test module."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from trials.results import Epoch, Partition, Score, TrialResult


def scored(
    partition: str,
    case: str,
    label: str,
    dsc: float | None,
    iou: float | None = 0.5,
    precision: float | None = 0.5,
    recall: float | None = 0.5,
    **distances: float | None,
) -> Score:
    """A score by the paper's four metrics, and by surface distances where they are given."""
    part: Partition = "test" if partition == "test" else "validation"
    return Score(part, case, label, {"dsc": dsc, "iou": iou, "precision": precision, "recall": recall, **distances})


def result(
    trial_hash: str = "0" * 16, scores: Iterable[Score] = (), history: Iterable[Epoch] = (), **changes: object
) -> TrialResult:
    """A result with these scores and epochs; the last epoch is the best."""
    epochs = tuple(history)
    made = TrialResult(
        hash=trial_hash, scores=tuple(scores), history=epochs, best_epoch=len(epochs), stopped_early=False,
        resumed_from=0, steps=sum(epoch.steps for epoch in epochs), parameters=1000, train_seconds=60.0,
        evaluate_seconds=1.0, peak_memory_mib=500.0,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]
