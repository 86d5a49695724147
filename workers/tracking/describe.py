"""How a trial reads in MLflow: its tags, parameters and metric names, in the field's terms. Pure functions.

Metric names: `loss`, `val_loss`, `val_dsc`, `learning_rate` per epoch; at the end `test_dsc` (mean over the foreground
classes of the class's mean over images; likewise iou, precision, recall), `val_dsc_best` (the same on the validation
images with the final weights), and one for each class, such as `test_dsc_tumour`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from trials.metrics import paper_metrics
from trials.results import Epoch, Score, TrialResult
from trials.spec import TrialSpec, dotted

MAXIMUM_PARAMETER_LENGTH = 6000
"""Characters that MLflow keeps of a parameter's value."""

TRIAL_TAG = "sweeper.trial"
"""The tag by which a trial's run is found again: the trial's hash."""

_SHORT = {"validation": "val", "test": "test"}


def run_tags(spec: TrialSpec, *, sweep: str, attempt: int, provenance: str = "") -> dict[str, str]:
    """Tags to filter and group by; every value is a string, γ without trailing zeros."""
    tags = {
        TRIAL_TAG: spec.hash,
        "sweeper.attempt": str(attempt),
        "sweep": sweep,
        "dataset": spec.data.dataset,
        "loss": spec.loss.name,
        "model": spec.model.name,
        "repeat": str(spec.repeat),
        "seed": str(spec.seed),
        "provenance": provenance or spec.data.provenance,
        "state": "running",
    }
    if spec.data.fold is not None:
        tags["fold"] = str(spec.data.fold)
    if spec.loss.gamma is not None:
        tags["gamma"] = f"{spec.loss.gamma:g}"
    return tags


def run_params(spec: TrialSpec) -> dict[str, str]:
    """Every field of the spec under a dotted name, such as `training.learning_rate` or `loss.gamma`."""
    values = spec.to_dict(complete=True)
    values["loss"] = {"name": spec.loss.name, "source": spec.loss.source, **values["loss"]["parameters"]}
    return {name: _text(value) for name, value in dotted(values) if value is not None and value != ""}


def epoch_values(record: Epoch) -> dict[str, float]:
    """The metrics of one epoch."""
    return {
        "loss": float(record.loss),
        "val_loss": float(record.val_loss),
        "val_dsc": float(record.val_dsc),
        "learning_rate": float(record.learning_rate),
        "epoch_seconds": float(record.seconds),
    }


def final_values(result: TrialResult) -> dict[str, float]:
    """The metrics of a finished trial; a metric without any defined value is left out."""
    values: dict[str, float] = {}
    for partition, prefix in _SHORT.items():
        scores = [score for score in result.scores if score.partition == partition]
        labels = sorted({score.label for score in scores})
        for metric in paper_metrics():
            means = {label: _mean(scores, label, metric) for label in labels}
            defined = {label: mean for label, mean in means.items() if mean is not None}
            values.update({f"{prefix}_{metric}_{metric_key(label)}": mean for label, mean in defined.items()})
            if defined:
                # `val_dsc` is the history's name, so the final weights' own mean is called the best.
                name = f"{prefix}_{metric}" if prefix == "test" else f"{prefix}_{metric}_best"
                values[name] = sum(defined.values()) / len(defined)
    values |= {
        "best_epoch": float(result.best_epoch),
        "steps": float(result.steps),
        "parameters": float(result.parameters),
        "train_seconds": float(result.train_seconds),
        "evaluate_seconds": float(result.evaluate_seconds),
        "peak_memory_mib": float(result.peak_memory_mib),
    }
    return values


def metric_key(label: str) -> str:
    """A class's name as a part of a metric's name, where MLflow allows letters, digits and `_-. /` alone."""
    return re.sub(r"[^\w\-. /]", "_", label.strip(), flags=re.ASCII).replace(" ", "_").replace("/", "_")


def model_name(label: str) -> str:
    """A trial's label as a name that MLflow allows for a model, which may hold none of `/ : . % " '`."""
    return re.sub(r"[/:.%\"']", "_", label)


def _mean(scores: Iterable[Score], label: str, metric: str) -> float | None:
    values = [score[metric] for score in scores if score.label == label]
    defined = [float(value) for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _text(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text[:MAXIMUM_PARAMETER_LENGTH]
