"""What a loss is called where trials are compared: its name, and the settings that tell its trials apart.

One name for one line of every table, figure and heat map. Pure functions of stored trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from storage.records import Trial

_NOT_A_SETTING = {
    "repeat",
    "seed",
    "scope",
    "results_version",
    "data.split",
    "data.provenance",
    "loss.parameters.gamma",
}


def variant_names(trials: Sequence[Trial]) -> list[str]:
    """The name under which each trial's loss is compared, in the order of `trials`.

    It is the loss's name, followed by whatever else differs between the trials of that loss on that data set (network,
    δ, learning rate) except γ, repeat and seed, so that two settings are never averaged.
    """
    settings = [{k: v for k, v in _flat(t.spec.to_dict()).items() if k not in _NOT_A_SETTING} for t in trials]
    groups: dict[tuple[str, str], list[int]] = {}
    for i, trial in enumerate(trials):
        groups.setdefault((trial.dataset, trial.loss), []).append(i)
    names = [t.loss for t in trials]
    for members in groups.values():
        first = settings[members[0]]
        keys = {k for i in members if settings[i] != first for k in settings[i].keys() | first.keys()}
        differing = sorted(k for k in keys if len({repr(settings[i].get(k)) for i in members}) > 1)
        for i in members if differing else ():
            described = ", ".join(f"{_short(k)}={_shown(settings[i].get(k))}" for k in differing)
            names[i] = f"{trials[i].loss} ({described})"
    return names


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        elif f"{prefix}{key}" == "loss.parameters.gamma" and not isinstance(value, int | float):
            flat["loss.parameters.gamma per class"] = value
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _short(key: str) -> str:
    """`model.name` → `model`, `loss.parameters.delta` → `delta`."""
    parent, _, last = key.rpartition(".")
    return parent if last == "name" else last


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
