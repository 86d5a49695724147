"""The data sets of a grid on this machine: where they are, prepared once, split, and identified for the specs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.errors import MissingDataError
from sweeper.grid import DataIdentity, DatasetTable, Grid
from sweeper.settings import Settings
from workers import datasets, prepared
from workers.datasets import Reader
from workers.errors import DataError
from workers.prepared import PreparedDataset
from workers.splits import Split, make_split

Progress = Callable[[str, int, int, str], None]
"""Called with the data set, cases done, cases in all, and the case's name."""


@dataclass(frozen=True, slots=True)
class ReadyDataset:
    """A prepared data set with its split. `images` and `voxels` are those of its training set, for cost predictions."""

    prepared: PreparedDataset
    split: Split
    identity: DataIdentity
    images: int
    voxels: int


def reader_of(dataset: DatasetTable) -> Reader:
    """The reader of a grid's data set, with its options.

    Raises:
        InputError: no such reader, or a wrong option.
    """
    return datasets.get_reader(dataset.reader or dataset.name, {**dataset.options, "name": dataset.name})


def locate(dataset: DatasetTable, settings: Settings) -> Path:
    """The folder that holds a data set's files.

    Raises:
        DataError: it is not there; the message says how to get it.
    """
    reader = reader_of(dataset)
    if dataset.folder is not None:
        folder = (settings.data_root / dataset.folder).expanduser()
        if not folder.is_dir():
            raise DataError(f"data set {dataset.name!r}: its folder {folder} does not exist (`folder` in the grid)")
        return folder
    return prepared.locate(reader, settings.data_root)


def locate_all(grid: Grid, settings: Settings) -> dict[str, Path]:
    """The folder of every data set of a grid.

    Raises:
        MissingDataError: some are not there: names each, where it was looked for, and how to get it.
    """
    found: dict[str, Path] = {}
    missing: list[str] = []
    for dataset in grid.datasets:
        try:
            found[dataset.name] = locate(dataset, settings)
        except DataError as error:
            missing.append(str(error))
    if missing:
        raise MissingDataError(
            f"{len(missing)} of {len(grid.datasets)} data sets of grid {grid.name!r} are missing:\n\n"
            + "\n\n".join(missing)
            + "\n\nPut them there, or name the folder that holds them with --data. To try the whole grid on small "
            f"synthetic files first: sweeper launch --grid {grid.name} --rehearse"
        )
    return found


def identify(grid: Grid, settings: Settings) -> dict[str, DataIdentity]:
    """Identities without preparing anything: complete where a data set is prepared already, else without hashes."""
    return {dataset.name: _identify(dataset, settings) for dataset in grid.datasets}


def prepare(grid: Grid, settings: Settings, progress: Progress) -> dict[str, ReadyDataset]:
    """Prepares and splits every data set of a grid; what is prepared already is opened.

    Raises:
        MissingDataError: see `locate_all`.
        DataError: a file is damaged or not what the data set should hold.
    """
    sources = locate_all(grid, settings)
    return {dataset.name: _prepare(dataset, sources[dataset.name], settings, progress) for dataset in grid.datasets}


def _prepare(dataset: DatasetTable, source: Path, settings: Settings, progress: Progress) -> ReadyDataset:
    whole = prepared.prepare(
        reader_of(dataset),
        source,
        settings.prepared,
        exclude=dataset.exclude,
        progress=lambda done, total, case: progress(dataset.name, done, total, case),
    )
    split = split_of(dataset, whole)
    whole.write_split(split)
    return ready(whole, split)


def split_of(dataset: DatasetTable, whole: PreparedDataset) -> Split:
    """The split that a grid asks for."""
    return make_split(whole.cases, **dataset.split.model_dump())


def ready(whole: PreparedDataset, split: Split) -> ReadyDataset:
    """A prepared data set with its split, and what specs need to know of both."""
    identity = DataIdentity(
        classes=whole.classes,
        dimensions=whole.dimensions,
        prepared=whole.key,
        split=split.hash,
        provenance=whole.provenance,
    )
    shapes = {case.id: case.shape for case in whole.cases}
    voxels = [math.prod(shapes[case]) for case in split.train]
    return ReadyDataset(whole, split, identity, len(split.train), round(sum(voxels) / max(len(voxels), 1)))


def _identify(dataset: DatasetTable, settings: Settings) -> DataIdentity:
    reader = reader_of(dataset)
    bare = DataIdentity(reader.classes, reader.dimensions)
    try:
        source = locate(dataset, settings)
    except DataError:
        return bare
    key = prepared.preparation_key(reader, source, cache=settings.prepared, exclude=dataset.exclude)
    if not prepared.is_prepared(settings.prepared, dataset.name, key):
        return bare
    whole = prepared.open_prepared(settings.prepared / f"{dataset.name}-{key}")
    return ready(whole, split_of(dataset, whole)).identity


def describe(readies: Mapping[str, ReadyDataset]) -> dict[str, Any]:
    """What the report says of the data: counts, what was left out, where it comes from. No paths."""
    return {
        name: {
            "prepared": one.prepared.key,
            "provenance": one.identity.provenance,
            "cases": len(one.prepared.cases),
            "split": {part: len(getattr(one.split, part)) for part in ("train", "validation", "test")},
            "split_hash": one.split.hash,
            "split_settings": dict(one.split.settings),
            "excluded": [list(e) for e in one.prepared.excluded],
            "images": one.images,
            "voxels": one.voxels,
        }
        for name, one in readies.items()
    }
