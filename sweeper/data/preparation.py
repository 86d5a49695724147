"""The data sets of a grid on this machine: where they are, prepared once, split, and identified for the specs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sweeper.data.splitting import Splits, splits_of, stored_splits
from sweeper.errors import MissingDataError
from sweeper.grids.expansion import DataIdentity, check_patch, evaluation_of, training_of
from sweeper.grids.schema import DatasetTable, Grid
from sweeper.settings import Settings
from trials.splits import Split
from workers import datasets
from workers.datasets import CaseFiles, CheckReport, Reader, prepared
from workers.datasets.coverage import (
    coverage_warnings,
    emptied_masks,
    header_warnings,
    missing_classes,
    refuse_absent_classes,
)
from workers.datasets.prepared import PreparedDataset
from workers.datasets.preprocessing import Image, Label, times
from workers.datasets.reader import About, Excluded
from workers.datasets.similarity import Pairs, across, alike_warnings, near_duplicates
from workers.datasets.sizes import known_shape, prepared_bytes
from workers.datasets.sources import included_cases, look_through, unmatched_files, unmatched_note
from workers.datasets.splits import SplitCase
from workers.errors import DataError

Progress = Callable[[str, int, int, str], None]
"""Called with the data set, cases done, cases in all, and the case's name."""

Damaged = Callable[[str], None]
"""Called with what is wrong with prepared data that are prepared anew."""

UNKNOWN_SIZES = {2: (100, 256 * 256), 3: (100, 96**3)}
"""Training images and voxels of a data set that is not here and of which Table 1 says nothing: a cost to start from."""

TRAINING_SHARE = 0.64
"""80% of 80%, where the split is not known yet."""


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """What can be told of a data set without preparing it. `source` is None when it is not on this machine.

    `images` and `voxels` are those of its training set: exact once it is prepared, a guess before. `bytes` is about
    what preparing it will take on the disk: 0 once it is prepared, and where it is not here. `tested` counts what its
    test scores are of: groups, such as patients, where the prepared data know them, images elsewhere (`tested_unit`).
    `warnings` are those of the prepared data (`ReadyDataset.warnings`).
    """

    identity: DataIdentity
    source: Path | None
    images: int
    voxels: int
    bytes: int = 0
    tested: int = 0
    tested_unit: Literal["images", "groups"] = "images"
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadyDataset:
    """A prepared data set with its splits.

    Attributes:
        prepared: its arrays.
        splits: the split of each repeat and fold (`workers.datasets.splits.make_splits`).
        identity: what specs know of it.
        images, voxels: of its training set, for cost predictions.
        ungrouped: what the groups leave open (`Reader.ungrouped`, `About.ungrouped`); "" where nothing.
        alike: pairs of images that look alike and lie in different parts of the split.
        unmatched: which image files of the source belong to no case; "" where none, or where the source is not at hand.
    """

    prepared: PreparedDataset
    splits: Mapping[tuple[int, int | None], Split]
    identity: DataIdentity
    images: int
    voxels: int
    ungrouped: str = ""
    alike: Pairs = ()
    unmatched: str = ""

    @property
    def split(self) -> Split:
        """The split of the first repeat and fold."""
        return next(iter(self.splits.values()))

    @property
    def different_splits(self) -> tuple[Split, ...]:
        """Each split once."""
        return different(self.splits)

    @property
    def missing(self) -> dict[tuple[str, str], int]:
        """`workers.datasets.coverage.missing_classes` of its splits."""
        return missing_classes(self.prepared.cases, self.prepared.classes, self.different_splits)

    @property
    def emptied(self) -> list[tuple[str, str]]:
        """`workers.datasets.coverage.emptied_masks`."""
        return emptied_masks(self.prepared.cases, self.prepared.classes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of its files, classes and splits before anything is trained, one sentence each."""
        unmatched = (self.unmatched,) if self.unmatched else ()
        return (
            *unmatched,
            *header_warnings(self.prepared.cases),
            *coverage_warnings(self.missing, self.emptied),
            *alike_warnings(self.alike),
        )


def different(splits: Mapping[tuple[int, int | None], Split]) -> tuple[Split, ...]:
    """Each split once, in the order of repeats and folds."""
    return tuple({split.hash: split for split in splits.values()}.values())


def reader_of(dataset: DatasetTable) -> Reader:
    """The reader of a grid's data set, with its options.

    Raises:
        InputError: no such reader, or a wrong option.
    """
    return datasets.get_reader(dataset.reader or dataset.name, {**dataset.options, "name": dataset.name})


def about_of(dataset: DatasetTable) -> About:
    """How a data set is had: as its reader says, but for what the grid says (page, licence, patterns of files)."""
    about: About = reader_of(dataset).about
    if dataset.page is not None:
        patterns = [dataset.options[key] for key in ("images", "masks", "labels") if key in dataset.options]
        layout = "\n".join(str(pattern) for pattern in patterns) or about.layout
        about = replace(about, page=dataset.page, layout=layout)
    return about if dataset.licence is None else replace(about, licence=dataset.licence)


def where_to_get(dataset: DatasetTable) -> str:
    """The page of the full data set, and its licence."""
    about = about_of(dataset)
    return f"{about.page} (licence: {about.licence})"


def locate(dataset: DatasetTable, settings: Settings) -> Path:
    """The folder that holds a data set's files.

    Raises:
        SettingsError: the folder of all data sets was named and does not exist.
        DataError: it is not there; the message says how to get it.
    """
    settings.check_data_folder()
    reader = reader_of(dataset)
    if dataset.folder is not None:
        folder = (settings.data_root / dataset.folder).expanduser()
        if not folder.is_dir():
            raise DataError(
                f"data set {dataset.name!r}: its folder {folder} does not exist; fix `folder` in the grid (a relative "
                "one counts from --data)"
            )
        return folder
    return prepared.locate(reader, settings.data_root, about_of(dataset))


def locate_all(grid: Grid, settings: Settings) -> dict[str, Path]:
    """The folder of every data set of a grid.

    Raises:
        MissingDataError: some are not there: names each, where it was looked for, and how to get it.
    """
    found: dict[str, Path] = {}
    missing: list[str] = []
    for dataset in grid.used_datasets:
        try:
            found[dataset.name] = locate(dataset, settings)
        except DataError as error:
            missing.append(str(error))
    if missing and len(grid.used_datasets) == 1:
        raise MissingDataError(missing[0])
    if missing:
        raise MissingDataError(
            f"{len(missing)} of {len(grid.used_datasets)} data sets of grid {grid.name!r} are missing:\n\n"
            + "\n\n".join(missing)
            + "\n\nPut them there, or name the folder that holds them with --data. To try the whole grid on small "
            f"synthetic files first: sweeper launch --grid {grid.name} --rehearse"
        )
    return found


def identify(grid: Grid, settings: Settings) -> dict[str, KnownDataset]:
    """What is known of each data set of a grid. Prepares nothing and writes nothing.

    Raises:
        SettingsError: the folder of all data sets was named and does not exist.
        DataError: a data set's folder is there, but its files are not laid out as they should be.
    """
    return {dataset.name: _identify(grid, dataset, settings) for dataset in grid.used_datasets}


def check_data(grid: Grid, settings: Settings) -> CheckReport:
    """Reads every case of the first data set of a grid, and tells what a preparation or a launch would refuse.

    Raises:
        SettingsError, DataError: the folder is not there, or is not this data set as a whole.
    """
    dataset = grid.datasets[0]
    reader, source = reader_of(dataset), locate(dataset, settings)
    left_out = [case for case, _ in included_cases(reader, source, dataset.exclude)[1]]

    def launch(cases: Sequence[CaseFiles]) -> None:
        check_headers(grid, dataset, cases)
        if dataset.model_fields_set != {"name"}:  # one that the grid does not name is trained on by another
            check_patch(grid, dataset, reader.dimensions)

    return datasets.check(
        reader,
        source,
        exclude=dataset.exclude,
        cache=settings.prepared if settings.prepared.is_dir() else None,
        split=lambda cases, pairs: different(splits_of(grid, dataset, cases, source, left_out=left_out, alike=pairs)),
        launch=launch,
    )


def prepare(
    grid: Grid,
    settings: Settings,
    progress: Progress,
    *,
    keys: Mapping[str, str] | None = None,
    splits: Mapping[str, str] | None = None,
    damaged: Damaged | None = None,
) -> dict[str, ReadyDataset]:
    """Prepares and splits every data set of a grid; what is prepared already is opened, and its files are verified.

    Args:
        grid: the grid.
        settings: where things are.
        progress: is told of each case.
        keys: keys of data sets that were prepared for this sweep before. Such a one is opened from its prepared
            folder, so that a sweep can be resumed when its source has moved or `--data` is not given again. One that
            was damaged is prepared anew, and needs its source.
        splits: hashes of the first split of such data sets, for those whose split is in a file.
        damaged: is told what was wrong with data that are prepared anew.

    Raises:
        MissingDataError: see `locate_all`.
        DataError: a file is damaged or not what the data set should hold, or the source is not any more what the sweep
            was prepared from.
    """
    keys, say = keys or {}, damaged or (lambda text: None)
    done: dict[str, ReadyDataset] = {}
    said: set[str] = set()
    for dataset in grid.used_datasets:
        key = keys.get(dataset.name, "")
        if key and prepared.is_prepared(settings.prepared, dataset.name, key):
            try:
                whole = prepared.open_prepared(prepared.prepared_path(settings.prepared, dataset.name, key))
                whole.verify_here(trusted=0)
            except DataError as error:
                say(str(error))
                said.add(dataset.name)
                continue
            made = stored_splits(grid, dataset, whole, (splits or {}).get(dataset.name, ""))
            source = locate(dataset, settings) if dataset.split.own and made is None else whole.path
            done[dataset.name] = one = _ready(grid, dataset, whole, source, made, keep=True)
            _write_splits(one)
    rest = grid.model_copy(update={"datasets": tuple(d for d in grid.datasets if d.name not in done)})
    sources = locate_all(rest, settings)
    for dataset in rest.used_datasets:
        source = sources[dataset.name]
        tell = None if dataset.name in said else say
        done[dataset.name] = one = _prepare(grid, dataset, source, settings, progress, tell)
        if keys.get(dataset.name, "") not in ("", one.prepared.key):
            raise DataError(
                f"data set {dataset.name!r}: the files in {source} are not those that this sweep was prepared from "
                f"(key {keys[dataset.name]}, now {one.prepared.key}); name their folder with --data, or launch anew "
                "under another name"
            )
    return {dataset.name: done[dataset.name] for dataset in grid.used_datasets}


def _ready(
    grid: Grid,
    dataset: DatasetTable,
    whole: PreparedDataset,
    source: Path,
    splits: Splits | None = None,
    *,
    keep: bool = False,
) -> ReadyDataset:
    """A prepared data set with its splits, made now where they are not given. `keep`: see `near_duplicates`."""
    pairs = near_duplicates(whole, keep=keep)
    if splits is None:
        left_out = [case for case, _ in whole.excluded]
        splits = splits_of(grid, dataset, whole.cases, source, left_out=left_out, alike=pairs)
    return replace(ready(dataset, whole, splits), alike=across(pairs, different(splits)))


def _prepare(
    grid: Grid, dataset: DatasetTable, source: Path, settings: Settings, progress: Progress, damaged: Damaged | None
) -> ReadyDataset:
    reader = reader_of(dataset)
    found = look_through(reader, source, dataset.exclude)
    check_cases(grid, dataset, found.cases, found.excluded, source)
    whole = prepared.prepare(
        reader,
        source,
        settings.prepared,
        exclude=dataset.exclude,
        progress=lambda done, total, case: progress(dataset.name, done, total, case),
        damaged=damaged,
    )
    _check_prepared(grid, dataset, whole)
    one = _ready(grid, dataset, whole, source, keep=True)
    _write_splits(one)
    return replace(one, unmatched=unmatched_note(unmatched_files(reader, source, found)))


def _write_splits(one: ReadyDataset) -> None:
    for split in one.different_splits:
        one.prepared.write_split(split)


def augmented_samples(grid: Grid, whole: PreparedDataset) -> Callable[[str, int], tuple[Image, Label]]:
    """What training of the grid's data set of that name sees of a case, to look at; the number stands for the epoch."""
    from workers.training.batches import augmented_sample  # batchgenerators takes a second to import

    training = training_of(grid, grid.dataset(whole.name))
    # Epochs of their own for each case: in one epoch, all of them would draw the same transforms.
    place = {case: i for i, case in enumerate(whole.case_ids)}
    return lambda case, number: augmented_sample(
        whole, case, training, grid.seed, 1 + number * len(place) + place[case]
    )


def check_cases(
    grid: Grid, dataset: DatasetTable, cases: Sequence[CaseFiles], left_out: Sequence[Excluded], source: Path
) -> Splits:
    """Refuses what the names and headers of files tell of a launch that would fail: to prepare the data may take hours.

    Returns:
        The splits of these cases, without regard to those that look alike.

    Raises:
        InputError: the split cannot be made, whole images of several sizes, or scores within a field of view that the
            files do not tell.
    """
    splits = splits_of(grid, dataset, cases, source, left_out=[case for case, _ in left_out])
    check_headers(grid, dataset, cases)
    return splits


def check_headers(grid: Grid, dataset: DatasetTable, cases: Sequence[CaseFiles]) -> None:
    """`check_cases` without the split."""
    if evaluation_of(grid, dataset).field_of_view and (lacking := [case.id for case in cases if case.field is None]):
        raise DataError(
            f"data set {dataset.name!r}: evaluation.field_of_view asks for scores within the field of view, but "
            f"{len(lacking)} of {len(cases)} images have no such mask (the first is {lacking[0]!r}); add the masks "
            "that DRIVE's distribution has, or leave the setting out for this data set"
        )
    if training_of(grid, dataset).patch is None:
        reader = reader_of(dataset)
        _refuse_sizes(dataset, [(_place(case), known_shape(reader, case)) for case in cases])


def _place(case: CaseFiles) -> str:
    """An image's file with its last folder."""
    return "/".join(case.images[0].parts[-2:])


def _check_prepared(grid: Grid, dataset: DatasetTable, whole: PreparedDataset) -> None:
    """Refuses what only the arrays tell."""
    refuse_absent_classes(dataset.name, whole.classes, [case.voxels for case in whole.cases])
    if training_of(grid, dataset).patch is None:
        _refuse_sizes(dataset, [(case.files[0], case.shape) for case in whole.cases])


def _refuse_sizes(dataset: DatasetTable, shapes: Iterable[tuple[str, tuple[int, ...] | None]]) -> None:
    """Refuses whole images of several sizes: a batch holds images of one size, and a trial would find out later."""
    first = None
    for file, shape in shapes:
        if shape is None:
            continue
        first = first or (file, shape)
        if shape != first[1]:
            raise DataError(
                f"data set {dataset.name!r}: {file} has {times(shape)} pixels, {first[0]} {times(first[1])}, and a "
                "batch needs one size; set options.size = [height, width] to resize them all, or training.patch to "
                "train on parts"
            )


def ready(
    dataset: DatasetTable, whole: PreparedDataset, splits: Mapping[tuple[int, int | None], Split]
) -> ReadyDataset:
    """A prepared data set with its splits, and what specs need to know of both."""
    split = next(iter(splits.values()))
    identity = DataIdentity(
        classes=whole.classes,
        dimensions=whole.dimensions,
        prepared=whole.key,
        split=split.hash,
        provenance=whole.provenance,
        splits={place: one.hash for place, one in splits.items()},
    )
    shapes = {case.id: case.shape for case in whole.cases}
    voxels = [math.prod(shapes[case]) for case in split.train]
    voxels_each = round(sum(voxels) / max(len(voxels), 1))
    reader = reader_of(dataset)
    some_unknown = any(case.group is None for case in whole.cases)
    ungrouped = reader.ungrouped or (reader.about.ungrouped if some_unknown else "")
    return ReadyDataset(whole, splits, identity, len(split.train), voxels_each, ungrouped)


def bare_identities(grid: Grid) -> dict[str, DataIdentity]:
    """What the readers alone tell of a grid's data sets: no file is looked at."""
    readers = {dataset.name: reader_of(dataset) for dataset in grid.used_datasets}
    return {name: DataIdentity(reader.classes, reader.dimensions) for name, reader in readers.items()}


def _identify(grid: Grid, dataset: DatasetTable, settings: Settings) -> KnownDataset:
    reader = reader_of(dataset)
    bare = DataIdentity(reader.classes, reader.dimensions)
    try:
        source = locate(dataset, settings)
    except DataError:
        return KnownDataset(bare, None, *guessed_sizes(reader, None), tested=_guessed_tests(dataset, reader))
    reader = reader.at(source)
    bare = DataIdentity(reader.classes, reader.dimensions)
    found = look_through(reader, source, dataset.exclude)
    note = unmatched_note(unmatched_files(reader, source, found))
    splits = check_cases(grid, dataset, found.cases, found.excluded, source)
    # Hashing every source file for the key takes minutes, and leaves a cache: only where it can find something.
    if any(settings.prepared.glob(f"{dataset.name}-*")):
        key = prepared.preparation_key(reader, source, cache=settings.prepared, exclude=dataset.exclude)
        if prepared.is_prepared(settings.prepared, dataset.name, key):
            whole = prepared.open_prepared(prepared.prepared_path(settings.prepared, dataset.name, key))
            _check_prepared(grid, dataset, whole)
            one = _ready(grid, dataset, whole, source)
            tested, unit = _tests(one.splits.values(), one.prepared.cases)
            return KnownDataset(
                one.identity,
                source,
                one.images,
                one.voxels,
                tested=tested,
                tested_unit=unit,
                warnings=replace(one, unmatched=note).warnings,
            )
    tested, unit = _tests(splits.values(), found.cases)
    return KnownDataset(
        bare,
        source,
        *guessed_sizes(reader, len(found.cases)),
        bytes=prepared_bytes(reader, found.cases),
        tested=tested,
        tested_unit=unit,
        warnings=(note,) if note else (),
    )


def guessed_sizes(reader: Reader, cases: int | None) -> tuple[int, int]:
    """A data set's training images and the voxels of each before it is prepared: from the cases that are there, from
    Table 1 of the paper, or a guess."""
    images, voxels = UNKNOWN_SIZES[reader.dimensions]
    if (row := reader.about.table1) is not None:
        images, voxels = row.train, math.prod(row.input[: reader.dimensions])
    if reader.dimensions == 2 and reader.size is not None:
        voxels = math.prod(reader.size)
    return (images if cases is None else max(round(TRAINING_SHARE * cases), 1)), voxels


def _tests(splits: Iterable[Split], cases: Iterable[SplitCase]) -> tuple[int, Literal["images", "groups"]]:
    """How many images the test scores of a data set are of; groups, where the group of each is known."""
    group = {case.id: case.group for case in cases}
    tested = {case for split in splits for case in split.test}
    groups = {group[case] for case in tested}
    return (len(tested), "images") if None in groups or len(groups) == len(tested) else (len(groups), "groups")


def _guessed_tests(dataset: DatasetTable, reader: Reader) -> int:
    """How many test images a data set has that is not here."""
    split, row = dataset.split, reader.about.table1
    if row is not None and split.folds is None:
        return row.test
    count = row.images if row is not None else round(UNKNOWN_SIZES[reader.dimensions][0] / TRAINING_SHARE)
    if split.folds is None:
        return round(split.test * count)
    return count if split.fold is None else count // split.folds
