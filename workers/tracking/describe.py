"""How a trial reads in MLflow: its tags, parameters and metric names, in the field's terms. Pure functions.

Metric names: `loss`, `val_loss`, `val_dsc`, `learning_rate`, `epoch_seconds` and `input_wait` (the share of these
seconds in which the steps waited for their batches) per epoch; at the end `test_dsc` (mean over the foreground
classes of the class's mean over images; likewise every other metric that the trial is scored by), `val_dsc_best` (the
same on the validation images with the final weights), and one for each class, such as `test_dsc_tumour`. An infinite
distance counts as the image's diagonal, as in the tables.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from trials.input_wait import waiting_share
from trials.metrics import DIAGONAL, find, in_order
from trials.results import Epoch, Score, TrialResult
from trials.spec import DataSpec, TrialSpec, dotted
from workers.tracking.records import Dataset

MAXIMUM_PARAMETER_LENGTH = 6000
"""Characters that MLflow keeps of a parameter's value."""

TRIAL_TAG = "sweeper.trial"
"""The tag by which a trial's run is found again: the trial's hash."""

SETTING_TAG = "loss_at_gamma"
"""The tag that is the same for the repeats and folds of a cell: loss, settings and γ."""

_SHORT = {"validation": "val", "test": "test"}


def run_tags(spec: TrialSpec, *, sweep: str, attempt: int, provenance: str = "", setting: str = "") -> dict[str, str]:
    """Tags to filter and group by; every value is a string, γ without trailing zeros.

    `setting` is the cell's name without data set, repeat and fold.
    """
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
    if setting:
        tags[SETTING_TAG] = setting
    if spec.data.fold is not None:
        tags["fold"] = str(spec.data.fold)
    if not spec.training.deterministic:
        tags["reproducible"] = "false"
    if spec.loss.gamma is not None:
        tags["gamma"] = f"{spec.loss.gamma:g}"
    return tags


def run_params(spec: TrialSpec) -> dict[str, str]:
    """Every field of the spec under a dotted name, such as `training.learning_rate` or `loss.gamma`."""
    values = spec.to_dict(complete=True)
    values["loss"] = {"name": spec.loss.name, "source": spec.loss.source, **values["loss"]["parameters"]}
    return {name: _text(value) for name, value in dotted(values) if value is not None and value != ""}


def dataset_of(data: DataSpec, source: str = "") -> Dataset:
    """The data set of a trial as MLflow knows it; `source` says where it comes from."""
    fold = "" if data.fold is None else str(data.fold)
    return Dataset(data.dataset, data.prepared or "unprepared", data.split, fold, source)


def epoch_values(record: Epoch) -> dict[str, float]:
    """The metrics of one epoch."""
    values = {
        "loss": float(record.loss),
        "val_loss": float(record.val_loss),
        "val_dsc": float(record.val_dsc),
        "learning_rate": float(record.learning_rate),
        "epoch_seconds": float(record.seconds),
    }
    if (share := waiting_share([record])) is not None:
        values["input_wait"] = share
    return values


def final_values(result: TrialResult) -> dict[str, float]:
    """The metrics of a finished trial; a metric without any defined value is left out."""
    return score_values(result.scores) | {
        "best_epoch": float(result.best_epoch),
        "steps": float(result.steps),
        "parameters": float(result.parameters),
        "train_seconds": float(result.train_seconds),
        "evaluate_seconds": float(result.evaluate_seconds),
        "peak_memory_mib": float(result.peak_memory_mib),
    }


def score_values(scores: Sequence[Score]) -> dict[str, float]:
    """The means of every metric that compares segmentations; see `final_values`."""
    values: dict[str, float] = {}
    for partition, prefix in _SHORT.items():
        by_label: dict[str, list[Score]] = {}
        for score in scores:
            if score.partition == partition:
                by_label.setdefault(score.label, []).append(score)
        for metric in stored_metrics(name for own in by_label.values() for score in own for name in score.values):
            means = {label: _mean(by_label[label], metric) for label in sorted(by_label)}
            defined = {label: mean for label, mean in means.items() if mean is not None}
            key = metric_name(metric)
            values.update({f"{prefix}_{key}_{metric_key(label)}": mean for label, mean in defined.items()})
            if defined:
                values[overall_name(partition, metric)] = sum(defined.values()) / len(defined)
    return values


def overall_name(partition: str, metric: str) -> str:
    """The name of a metric's mean over all classes: `test_dsc`, `val_dsc_best`.

    `val_dsc` is the history's name, so that the final weights' own mean is called the best.
    """
    prefix, key = _SHORT[partition], metric_name(metric)
    return f"{prefix}_{key}" if prefix == "test" else f"{prefix}_{key}_best"


def stored_metrics(names: Iterable[str]) -> list[str]:
    """Those of the names that say how good a segmentation is, each once, in the order of the registry.

    A metric of a plug-in that is not loaded is one of them.
    """
    return [name for name in in_order(list(dict.fromkeys(names))) if (m := find(name)) is None or m.compared]


def metric_name(stored: str) -> str:
    """A metric in MLflow's names: `nsd_tolerance_2` for `nsd(tolerance=2)`."""
    return metric_key(re.sub(r"[(,=]", "_", stored).rstrip(")"))


def metric_key(label: str) -> str:
    """A class's name as a part of a metric's name, where MLflow allows letters, digits and `_-. /` alone."""
    return re.sub(r"[^\w\-. /]", "_", label.strip(), flags=re.ASCII).replace(" ", "_").replace("/", "_")


def model_name(label: str) -> str:
    """A trial's label as a name that MLflow allows for a model, which may hold none of `/ : . % " '`."""
    return re.sub(r"[/:.%\"']", "_", label)


def _mean(scores: Iterable[Score], metric: str) -> float | None:
    """The mean over the images of one class; None where no image has a value, or where it is infinite."""
    known = find(metric)
    distance = known is not None and known.distance
    defined = []
    for score in scores:
        value = score[metric]
        if value is not None and distance and math.isinf(value):
            value = math.inf if score[DIAGONAL] is None else score[DIAGONAL]
        if value is not None:
            defined.append(float(value))
    mean = sum(defined) / len(defined) if defined else math.nan
    return mean if math.isfinite(mean) else None


def _text(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text[:MAXIMUM_PARAMETER_LENGTH]
