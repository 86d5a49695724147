"""Sweeps side by side: which cells they share, which settings differ, and how their scores differ."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from storage.records import Trial
from storage.repository import Repository
from sweeper.analysis.between import between
from sweeper.analysis.chosen import chosen_scores
from sweeper.errors import GridError
from sweeper.grids.names import naming_of, number
from sweeper.study import read_study
from sweeper.units import listing
from sweeper.views.objects import ComparedObject, DifferenceObject, SettingObject, SharedCellObject
from trials.spec import dotted

_OWN = {"repeat", "seed", "scope", "data.prepared", "data.split"}
"""What differs from cell to cell, or is a hash of what is told otherwise."""

SHOWN_CELLS = 10
"""Shared cells that the text names."""


def compare_sweeps(repository: Repository, names: Sequence[str]) -> ComparedObject:
    """The comparison of two or more sweeps.

    Raises:
        GridError: fewer than two different names.
        UnknownSweepError: there is no such sweep.
        AnalysisError: a stored score is impossible.
    """
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise GridError("a comparison needs two sweeps or more, each named once")
    studies = {name: read_study(repository, name) for name in names}
    trials = {name: repository.trials(name) for name in names}
    hashes = [{trial.hash for trial in own} for own in trials.values()]
    found = between({name: chosen_scores(study.trials, study.scores) for name, study in studies.items()})
    return ComparedObject(
        sweeps=list(names),
        trials={name: len(own) for name, own in trials.items()},
        shared=len(set.intersection(*hashes)),
        settings=_settings(trials),
        cells=_shared_cells(repository, trials),
        differences=[_difference(row) for row in found.to_dict("records")],
    )


def compared_lines(found: ComparedObject, metric: str = "dsc") -> list[str]:
    """The comparison for a person, by one metric."""
    sizes = ", ".join(f"{name} has {count}" for name, count in found.trials.items())
    lines = [f"trials: {sizes}; all share {found.shared}"]
    for cell in found.cells[:SHOWN_CELLS]:
        at = "" if cell.gamma is None else f" · γ={number(cell.gamma)}"
        runs = "" if cell.trials == 1 else f", {cell.trials} trials"
        lines.append(f"  {cell.dataset} · {cell.variant}{at}{runs}: in {listing(cell.sweeps)}")
    if len(found.cells) > SHOWN_CELLS:
        lines.append(f"  and {len(found.cells) - SHOWN_CELLS} more cells (all with --json)")
    lines += [f"settings that differ: {len(found.settings) or 'none'}"]
    for one in found.settings:
        lines.append(f"  {one.setting}: " + "; ".join(f"{name} {', '.join(own)}" for name, own in one.values.items()))
    rows = [one for one in found.differences if one.metric == metric]
    lines.append(
        f"differences of {metric} on the test images, with 95% intervals over runs and images"
        + ("" if rows else ": no loss was trained on one data set in two of the sweeps")
    )
    for row in rows:
        where = f"{row.dataset}, {row.label}, {row.variant}: {row.sweep_a} − {row.sweep_b} "
        if row.low is None or row.high is None:
            lines.append(f"  {where}{_signed(row.difference)} (of these networks: without repeats no interval)")
        else:
            lines.append(
                f"  {where}{_signed(row.difference)} [{_signed(row.low)}, {_signed(row.high)}] "
                f"({row.runs_a} and {row.runs_b} runs, {row.images} images)"
            )
    return lines


def _shared_cells(repository: Repository, trials: Mapping[str, Sequence[Trial]]) -> list[SharedCellObject]:
    """The cells that two of the sweeps or more have, in the order of the first sweep that has them."""
    having: dict[str, list[str]] = {}
    for name, own in trials.items():
        for trial in own:
            having.setdefault(trial.hash, []).append(name)
    cells: dict[tuple[str, str, float | None, tuple[str, ...]], int] = {}
    for name, own in trials.items():
        naming = naming_of(repository.sweep(name).grid, own)
        for trial in own:
            sweeps = having[trial.hash]
            if len(sweeps) > 1 and sweeps[0] == name:
                key = (trial.dataset, naming.variant(trial.spec), trial.gamma, tuple(sweeps))
                cells[key] = cells.get(key, 0) + 1
    return [
        SharedCellObject(dataset=dataset, variant=variant, gamma=gamma, sweeps=list(sweeps), trials=count)
        for (dataset, variant, gamma, sweeps), count in cells.items()
    ]


def _settings(trials: Mapping[str, Sequence[Trial]]) -> list[SettingObject]:
    values: dict[str, dict[str, set[str]]] = {}
    for name, own in trials.items():
        for trial in own:
            table = trial.spec.to_dict(complete=True)
            settings = {"loss": table.pop("loss")["name"], "repeats": trial.repeat, **dict(dotted(table))}
            for setting in settings.keys() - _OWN:
                text = json.dumps(settings[setting], default=str)
                values.setdefault(setting, {one: set() for one in trials})[name].add(text)
    return [
        SettingObject(setting=setting, values={name: sorted(_plain(one) for one in own) for name, own in by.items()})
        for setting, by in sorted(values.items())
        if len({frozenset(own) for own in by.values()}) > 1
    ]


def _plain(text: str) -> str:
    return text.strip('"')


def _difference(row: Mapping[Hashable, Any]) -> DifferenceObject:
    return DifferenceObject(
        dataset=str(row["dataset"]),
        label=str(row["class"]),
        metric=str(row["metric"]),
        variant=str(row["variant"]),
        sweep_a=str(row["sweep_a"]),
        sweep_b=str(row["sweep_b"]),
        difference=_number(row["difference"]),
        low=_number(row["low"]),
        high=_number(row["high"]),
        images=int(row["images"]),
        runs_a=int(row["runs_a"]),
        runs_b=int(row["runs_b"]),
    )


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _signed(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+.3f}"
