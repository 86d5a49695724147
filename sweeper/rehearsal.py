"""The same grid on small synthetic files: every trial of it, in minutes. Pure, but for writing the files.

Only sizes, filters, epochs and source files differ from the real grid, and `differences` says how. A rehearsal shows
that everything runs; its scores say nothing about the losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeper.data import reader_of
from sweeper.grid import Grid
from sweeper.grids import parse_grid
from workers.datasets.synthetic import synthesise

CASES = 10
SEED = 0
SIZE_2D = (48, 48)
SIZE_3D = (24, 32, 32)
PATCH = (16, 16, 16)
OVERLAP = (8, 8, 8)
MODEL = {"base_filters": 4, "depth": 2}
EPOCHS = 2


def rehearsal_of(grid: Grid) -> Grid:
    """The rehearsal of a grid, named `NAME-rehearsal`."""
    table = grid.model_dump(mode="json", exclude_unset=True)
    table["name"] = f"{grid.name}-rehearsal"
    table["rehearsal"] = True
    table.pop("extends", None)
    table["model"] = {**table.get("model", {}), **MODEL}
    table["training"] = {**table.get("training", {}), "epochs": EPOCHS}
    table["datasets"] = [_small(grid, entry) for entry in table["datasets"]]
    return parse_grid(table, table["name"])


def differences(grid: Grid, rehearsal: Grid) -> list[str]:
    """One line for each setting in which the rehearsal differs from the grid."""
    before, after = _flat(grid.model_dump(mode="json")), _flat(rehearsal.model_dump(mode="json"))
    return [
        f"{key}: {_show(before.get(key))} → {_show(value)}" for key, value in after.items() if before.get(key) != value
    ]


def write_files(rehearsal: Grid, root: Path) -> None:
    """Writes the synthetic files of every data set that are not there yet."""
    for dataset in rehearsal.datasets:
        folder = root / dataset.name
        if not folder.exists():
            three = reader_of(dataset).dimensions == 3
            synthesise(dataset.reader or dataset.name, CASES, folder, SEED, size=SIZE_3D if three else SIZE_2D)


def _small(grid: Grid, entry: dict[str, Any]) -> dict[str, Any]:
    dataset = grid.dataset(entry["name"])
    small = dict(entry)
    small.pop("folder", None)
    training = {**small.get("training", {})}
    training.pop("epochs", None)
    if reader_of(dataset).dimensions == 3:
        training |= {"patch": list(PATCH)}
        small["evaluation"] = {**small.get("evaluation", {}), "overlap": list(OVERLAP)}
    else:
        small["options"] = {**small.get("options", {}), "size": list(SIZE_2D)}
    small["training"] = training
    small.pop("model", None)
    return small


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        items = [(str(key), entry) for key, entry in value.items()]
    elif isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
        items = [(str(entry.get("name", i)), entry) for i, entry in enumerate(value)]
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, entry in items:
        flat |= _flat(entry, f"{prefix}.{key}" if prefix else key)
    return flat


def _show(value: Any) -> str:
    if value is None:
        return "the default"
    return "×".join(map(str, value)) if isinstance(value, list) else str(value)
