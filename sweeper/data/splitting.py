"""The splits that a grid asks for: drawn at random, or made by somebody else."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from sweeper.grids.expansion import seeds_of
from sweeper.grids.schema import DatasetTable, Grid
from trials.splits import Split
from workers.datasets import CaseFiles
from workers.datasets.own_splits import OwnSplit, own_splits, read_split_file, split_of_folders
from workers.datasets.prepared import PreparedCase, PreparedDataset
from workers.datasets.splits import make_splits
from workers.errors import DataError, InputError

Splits = dict[tuple[int, int | None], Split]


def splits_of(
    grid: Grid,
    dataset: DatasetTable,
    cases: Sequence[CaseFiles] | Sequence[PreparedCase],
    source: Path,
    *,
    left_out: Collection[str] = (),
    alike: Collection[tuple[str, str]] = (),
) -> Splits:
    """The splits that a grid asks for, by repeat and fold.

    Args:
        grid, dataset: what is asked.
        cases: of the data set.
        source: its folder.
        left_out: its cases that are excluded; a split file may name them.
        alike: pairs of cases that look alike, where they are known.

    Raises:
        InputError: they cannot be made.
    """
    table = dataset.split
    settings = table.model_dump(exclude={"file", "folders"})
    try:
        if not table.own:
            return make_splits(cases, repeats=len(seeds_of(grid)), alike=alike, **settings)
        settings.pop("test")
        return own_splits(
            _own(dataset, cases, source),
            cases,
            repeats=len(seeds_of(grid)),
            left_out=left_out,
            alike=alike,
            **settings,
        )
    except InputError as error:
        raise type(error)(f"data set {dataset.name!r}: {error}") from error


def stored_splits(grid: Grid, dataset: DatasetTable, whole: PreparedDataset, split_hash: str) -> Splits | None:
    """The split that a sweep was launched with, where somebody else made it: its file may be gone, or be another.

    Of several folds it is the first; None where it is not there, or can be made again.
    """
    if not (dataset.split.own and split_hash):
        return None
    try:
        split = whole.read_split(split_hash)
    except DataError:
        return None
    return {(repeat, fold): split for repeat in range(len(seeds_of(grid))) for fold in dataset.split.trained_folds}


def _own(dataset: DatasetTable, cases: Sequence[CaseFiles] | Sequence[PreparedCase], source: Path) -> OwnSplit:
    if dataset.split.file is not None:
        return read_split_file((source / Path(dataset.split.file).expanduser()).absolute())
    places = {
        case.id: PurePosixPath(
            case.images[0].relative_to(source).as_posix() if isinstance(case, CaseFiles) else case.files[0]
        )
        for case in cases
    }
    return split_of_folders(places)
