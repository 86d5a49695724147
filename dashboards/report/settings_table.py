"""The settings that the trials of each data set were trained with, as their specs have them, beside the paper's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

from dashboards.report.blocks import Table, table
from dashboards.report.numbers import NONE
from trials.spec import EvaluationSpec, ModelSpec, TrainingSpec, TrialSpec

NOT_STATED = "not stated"

STATED: Mapping[str, str] = {
    "network": "U-Net",
    "filters on the first level": "64 in 2D, 32 in 3D",
    "depth": "4 in 2D, 3 in 3D",
    "normalisation": "instance",
    "optimiser": "SGD",
    "batch size": "2",
    "learning rate": "stated, illegible in our copy",
    "learning rate falls by the factor": "0.1",
    "… after epochs without a better validation loss": "10",
    "training stops after epochs without a better one": "20",
    "probability of each augmentation": "0.15",
    "spatial transform": "batchgenerators",
    "training patch": "96×96×96 and 80×160×160 in 3D",
    "overlap of windows": "48×48×48 and 40×80×80 in 3D",
    "results version": NONE,
}
"""What the paper's section 3.2 states, as text; U-Net's sizes are those of the two papers that it names."""

_NAMES: Mapping[str, str] = {
    "base_filters": "filters on the first level",
    "learning_rate": "learning rate",
    "plateau_factor": "learning rate falls by the factor",
    "plateau_patience": "… after epochs without a better validation loss",
    "early_stopping_patience": "training stops after epochs without a better one",
    "min_delta": "smallest change that counts as better (min_delta)",
    "epochs": "most epochs",
    "augmentation_probability": "probability of each augmentation",
    "patch": "training patch",
    "patches_per_case": "patches per case and epoch",
    "foreground_oversampling": "patches centred on foreground, share",
    "gradient_clip": "gradient clipped at",
    "xla": "XLA",
    "overlap": "overlap of windows",
    "weighting": "weighting of windows",
    "native": "scores at native resolution",
    "field_of_view": "scores within the field of view alone",
}
_WHOLE = {"patch": "whole images", "overlap": NONE, "gradient_clip": "no"}
_MOST_VALUES = 6


def settings_table(specs: Iterable[TrialSpec]) -> Table:
    """One row per setting, one column per data set; several values of one data set stand side by side.

    Losses and their parameters are left out: they are what is compared. So are the sources of plug-ins.
    """
    by_dataset: dict[str, list[TrialSpec]] = {}
    for spec in specs:
        by_dataset.setdefault(spec.data.dataset, []).append(spec)
    columns = [_settings(own) for own in by_dataset.values()]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [(name, STATED.get(name, NOT_STATED), *(column.get(name, NONE) for column in columns)) for name in names]
    return table(
        "Settings of the trials", ("Setting", "The paper", *by_dataset), rows, text=2 + len(by_dataset), long=True
    )


def _settings(specs: Sequence[TrialSpec]) -> dict[str, str]:
    found: dict[str, list[object]] = {}
    for spec in specs:
        values: dict[str, object] = {"network": spec.model.name}
        values |= _of(spec.model, ("name", "source"))
        values["optimiser"] = "SGD"
        values |= _of(spec.training, () if not spec.training.deterministic else ("deterministic",))
        values |= _of(spec.evaluation, ())
        values["seed"] = spec.seed
        if spec.data.fold is not None:
            values["fold of the cross-validation"] = spec.data.fold
        values["results version"] = spec.results_version
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return {name: _several(values) for name, values in found.items()}


def _of(part: ModelSpec | TrainingSpec | EvaluationSpec, left_out: Sequence[str]) -> dict[str, object]:
    """A part of a spec by readable names: a field that is added later has its own, with spaces."""
    return {
        _NAMES.get(field.name, field.name.replace("_", " ")): _WHOLE.get(field.name, NONE)
        if (value := getattr(part, field.name)) is None
        else value
        for field in fields(part)
        if field.name not in left_out
    }


def _several(values: Sequence[object]) -> str:
    distinct = sorted(dict.fromkeys(values), key=_order)
    if len(distinct) > _MOST_VALUES:
        return f"{_text(distinct[0])} to {_text(distinct[-1])} ({len(distinct)} values)"
    return ", ".join(_text(value) for value in distinct)


def _order(value: object) -> tuple[int, float, str]:
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "×".join(_text(entry) for entry in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
