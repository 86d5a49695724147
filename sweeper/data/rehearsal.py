"""The same grid on small synthetic files: every trial of it, in minutes. Pure, but for writing the files.

Only sizes, filters, epochs and source files differ from the real grid, and `differences` says how. A rehearsal shows
that everything runs; its scores say nothing about the losses. The paper's five data sets have a synthetic form
(`workers.datasets.synthetic`); any other, such as a user's own, is rehearsed on its own files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sweeper.data.preparation import bare_identities, reader_of
from sweeper.grids.expansion import expand, search_cells
from sweeper.grids.files import parse_grid
from sweeper.grids.schema import DatasetTable, Grid
from workers.datasets.synthetic import synthesise, synthetic_names

CASES = 10
SEED = 0
SIZE_2D = (48, 48)
SIZE_3D = (24, 32, 32)
PATCH = (16, 16, 16)
OVERLAP = (8, 8, 8)
PATCH_2D = (32, 32)
OVERLAP_2D = (16, 16)
MODEL = {"base_filters": 4, "depth": 2}
EPOCHS = 2


def rehearsal_of(grid: Grid, root: Path) -> Grid:
    """The rehearsal of a grid, named `NAME-rehearsal`.

    Args:
        grid: the grid.
        root: the folder that holds, or will hold, the synthetic files of each data set under its name. It enters the
            rehearsal, so that it can be resumed without being told again.
    """
    table = grid.model_dump(mode="json", exclude_unset=True)
    table["name"] = f"{grid.name}-rehearsal"
    table["rehearsal"] = True
    table["model"] = {**table.get("model", {}), **MODEL}
    table["models"] = [_small_model(entry) for entry in table.get("models", [])]
    table["training"] = {**table.get("training", {}), "epochs": EPOCHS}
    table["datasets"] = [_small(grid, entry, root) for entry in table["datasets"]]
    return parse_grid(table, table["name"])


def differences(grid: Grid, rehearsal: Grid) -> list[str]:
    """One line for each setting in which the rehearsal's trials differ from the grid's, as the trials have it.

    Raises:
        GridError: see `sweeper.grids.expansion.expand`.
    """
    changed: dict[tuple[str, str, str], list[str]] = {}
    for before, after in zip(_effective(grid), _effective(rehearsal), strict=True):
        name = str(before["data.dataset"])
        for key, value in after.items():
            if before[key] != value:
                names = changed.setdefault((key, _show(before[key]), _show(value)), [])
                if name not in names:
                    names.append(name)
    every = len(grid.used_datasets)
    return [
        f"{key}: {before} → {after}" + ("" if len(names) == every else f" ({', '.join(names)})")
        for (key, before, after), names in changed.items()
    ]


def _effective(grid: Grid) -> list[dict[str, object]]:
    """Each trial's settings by dotted names, with those of its data set's files."""
    readers = {dataset.name: reader_of(dataset) for dataset in grid.used_datasets}
    bare = bare_identities(grid)
    specs = [*expand(grid, bare), *(cell.template for cell in search_cells(grid, bare))]
    return [
        {
            "files": "synthetic" if grid.rehearsal and _synthetic(grid.dataset(spec.data.dataset)) else "real",
            "size": readers[spec.data.dataset].size,
            **{
                f"{table}.{key}": value
                for table, values in spec.to_dict().items()
                if isinstance(values, dict)
                for key, value in values.items()
            },
        }
        for spec in specs
    ]


def write_files(rehearsal: Grid) -> None:
    """Writes the synthetic files of every data set that are not there yet."""
    for dataset in rehearsal.used_datasets:
        reader = reader_of(dataset)
        if dataset.folder is not None and _synthetic(dataset) and not Path(dataset.folder).exists():
            size = SIZE_3D if reader.dimensions == 3 else SIZE_2D
            synthesise(dataset.reader or dataset.name, CASES, Path(dataset.folder), SEED, size=size)


def _small(grid: Grid, entry: dict[str, Any], root: Path) -> dict[str, Any]:
    dataset = grid.dataset(entry["name"])
    reader = reader_of(dataset)
    training = {key: value for key, value in entry.get("training", {}).items() if key != "epochs"}
    small = {**entry, "training": training}
    small.pop("model", None)
    if _synthetic(dataset):
        small["folder"] = str(root / dataset.name)
        small.pop("exclude", None)  # names cases of the real files, as a split of one's own does
        if "split" in small:
            small["split"] = {key: value for key, value in small["split"].items() if key not in ("file", "folders")}
    three = reader.dimensions == 3
    if not three:
        small["options"] = {**entry.get("options", {}), "size": list(SIZE_2D)}
    if (dataset.training.patch or grid.training.patch) is not None:
        training["patch"] = list(PATCH if three else PATCH_2D)
    if (dataset.evaluation.overlap or grid.evaluation.overlap) is not None:
        small["evaluation"] = {**entry.get("evaluation", {}), "overlap": list(OVERLAP if three else OVERLAP_2D)}
    return small


def _small_model(entry: dict[str, Any]) -> dict[str, Any]:
    """A network of the grid's list with a sixteenth of its filters, so that the list's entries stay different."""
    return entry if "base_filters" not in entry else {**entry, "base_filters": max(entry["base_filters"] // 16, 1)}


def _synthetic(dataset: DatasetTable) -> bool:
    """Whether synthetic files can be written for the data set's reader; a reader of a user's own has none."""
    return (dataset.reader or dataset.name) in synthetic_names()


def _show(value: object) -> str:
    return "×".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
