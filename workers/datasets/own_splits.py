"""Splits that somebody else made: a CSV file, nnU-Net's splits_final.json, or folders train/, val/ and test/. Pure, but
for reading the file.

Every case has to be in exactly one part of each fold. A split without validation cases gets some of its training cases,
drawn as those of a random split are.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from trials.splits import Split
from workers.datasets.splits import Grouped, SplitCase, make_split
from workers.errors import DataError, ParameterError, nearest, shortened

Part = Literal["train", "validation", "test"]

PARTS: tuple[Part, ...] = ("train", "validation", "test")

_PART_NAMES: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}

_SHOWN = 5
_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class OwnSplit:
    """A split as its file or folders have it: for each fold, names and their part, in order.

    Attributes:
        where: the file's name, or "folders"; for messages and the report.
        folds: one for each fold; one alone where there are none.
        groups: whether the names are those of groups.
        val_is_test: whether what the file calls val is the test set (nnU-Net's files have no other).
    """

    where: str
    folds: tuple[tuple[tuple[str, Part], ...], ...]
    groups: bool = False
    val_is_test: bool = False


def read_split_file(path: Path) -> OwnSplit:
    """Reads a split file: CSV with the columns case (or group), partition and fold, or nnU-Net's JSON.

    Raises:
        DataError: it cannot be read, or is neither; the message names the line.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: no split file (more than {_MAX_BYTES >> 20} MiB)")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no text in UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); fix split.file in the grid") from error
    return _of_json(path, text) if path.suffix.lower() == ".json" else _of_csv(path, text)


def split_of_folders(places: Mapping[str, PurePosixPath]) -> OwnSplit:
    """The split that the folders of the images say: train/, val/ and test/, also training/, validation/ and so on.

    Args:
        places: case to the path of its image within the data set's folder.

    Raises:
        DataError: an image lies in no such folder, or in several.
    """
    pairs: list[tuple[str, Part]] = []
    for case, place in places.items():
        parts = {_PART_NAMES[name.lower()] for name in place.parts[:-1] if name.lower() in _PART_NAMES}
        if len(parts) != 1:
            raise DataError(
                f"split folders = true, but {place} lies in {'several' if parts else 'none'} of the folders train, val "
                "and test"
            )
        pairs.append((case, parts.pop()))
    return OwnSplit("folders", (tuple(pairs),))


def own_splits(
    own: OwnSplit,
    cases: Sequence[SplitCase],
    *,
    repeats: int = 1,
    left_out: Collection[str] = (),
    seed: int = 0,
    validation: float = 0.2,
    grouped: Grouped = False,
    folds: int | None = None,
    fold: int | None = None,
    resplit: bool = False,
    alike: Collection[tuple[str, str]] = (),
) -> dict[tuple[int, int | None], Split]:
    """The split of each training of a loss, by its repeat and fold, as `workers.datasets.splits.make_splits` gives it.

    Args:
        own: what the file says.
        cases: of the data set.
        repeats: how many repeats there are.
        left_out: cases that the file may name though they are excluded.
        seed, validation, grouped, alike: of the validation cases that are drawn where the file has none. With
            `grouped`, a file that divides a group is refused.
        folds, fold, resplit: see `make_splits`; `folds` must be the file's.

    Raises:
        ParameterError: the settings do not fit the file.
        DataError: a name that is no case, a case that is in no part or in two, an empty part, or a divided group.
    """
    if (folds or 1) != len(own.folds):
        raise ParameterError(
            f"{own.where} has {len(own.folds)} folds: set folds = {len(own.folds)}, with fold = 0 for the first alone"
            if len(own.folds) > 1
            else f"folds = {folds}, but {own.where} has one split: leave folds out"
        )
    wanted: Sequence[int | None] = range(len(own.folds)) if folds is not None and fold is None else [fold]
    splits: dict[tuple[int, int | None], Split] = {}
    for number in wanted:
        place = own.where + (f", fold {number}" if number is not None else "")
        parts = _parts(own, own.folds[number or 0], cases, left_out, place)
        if grouped:
            _refuse_divided(parts, cases, place)
        complete = "validation" in parts.values()
        if resplit and complete:
            raise ParameterError(f"resplit = true, but {place} says which cases validate: leave resplit out")
        settings: dict[str, object] = {"own": own.where, "folds": folds, "fold": number, "official": False}
        settings |= {"val_is_test": True} if own.val_is_test else {}
        key = None if fold is not None else number
        for repeat in range(repeats):
            if repeat and not resplit:
                splits[repeat, key] = splits[0, key]
            elif complete:
                train, val, test = ([case for case, own_part in parts.items() if own_part == part] for part in PARTS)
                splits[repeat, key] = Split(tuple(sorted(train)), tuple(sorted(val)), tuple(sorted(test)), settings)
            else:
                placed = [_Placed(case.id, case.group, _official(parts[case.id])) for case in cases]
                drawn = make_split(placed, seed=seed, validation=validation, grouped=grouped, draw=repeat, alike=alike)
                splits[repeat, key] = replace(drawn, settings={**drawn.settings, **settings})
    return splits


def split_table(splits: Mapping[tuple[int, int | None], Split]) -> str:
    """The first repeat's splits as the text of a CSV file that `read_split_file` reads."""
    first = {fold: split for (repeat, fold), split in splits.items() if repeat == 0}
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "partition"] if None in first else ["case", "partition", "fold"])
    for fold, split in first.items():
        pairs = [(case, part) for part in PARTS for case in getattr(split, part)]
        writer.writerows((*pair, *(() if fold is None else (fold,))) for pair in sorted(pairs))
    return text.getvalue()


@dataclass(frozen=True, slots=True)
class _Placed:
    """A case whose part is known: for `make_split`."""

    id: str
    group: str | None
    partition: Literal["train", "test"] | None


def _official(part: Part) -> Literal["train", "test"]:
    return "test" if part == "test" else "train"


def _of_json(path: Path, text: str) -> OwnSplit:
    """nnU-Net's list of folds with train and val; also with test, and one fold that is no list."""
    try:
        values = json.loads(text)
        folds = values if isinstance(values, list) else [values]
        read: list[tuple[tuple[str, Part], ...]] = []
        for fold in folds:
            parts = [(_PART_NAMES[str(name).lower()], names) for name, names in fold.items()]
            if any(not isinstance(names, list) for _, names in parts):
                raise TypeError
            read.append(tuple((str(name), part) for part, names in parts for name in names))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path}: no split; expected nnU-Net's form, a list of folds such as "
            '[{"train": ["case1", …], "val": [… ]}, …]'
        ) from error
    if not read:
        raise DataError(f"{path}: the list of folds is empty")
    if any(part == "test" for fold in read for _, part in fold):
        return OwnSplit(path.name, tuple(read))
    swapped = tuple(tuple((name, "test" if part == "validation" else part) for name, part in fold) for fold in read)
    return OwnSplit(path.name, swapped, val_is_test=True)


def _of_csv(path: Path, text: str) -> OwnSplit:
    head = text.partition("\n")[0]
    rows = list(csv.reader(io.StringIO(text), delimiter=max(",;\t", key=head.count)))
    columns = [name.strip().lower() for name in rows[0]] if rows else []
    key = next((name for name in ("case", "group") if name in columns), None)
    if key is None or not {"partition", "fold"} & set(columns):
        raise DataError(
            f"{path}: expected the columns case (or group), partition (train, validation or test) and, for a "
            f"cross-validation, fold; the first line has {', '.join(columns) or 'nothing'}"
        )
    found: list[tuple[str, str, str]] = []
    for line, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) < len(columns):
            raise DataError(f"{path}, line {line}: {len(row)} columns, and the first line has {len(columns)}")
        values = dict(zip(columns, (cell.strip() for cell in row), strict=False))
        part, fold = values.get("partition", ""), values.get("fold", "")
        if "partition" in columns and part.lower() not in _PART_NAMES:
            raise DataError(f"{path}, line {line}: partition {part!r}: train, validation or test")
        if "fold" in columns and not (fold.isascii() and fold.isdigit()):
            raise DataError(f"{path}, line {line}: fold {fold!r}: a number from 0")
        found.append((values[key], part.lower(), fold))
    numbers = sorted({int(fold) for _, _, fold in found if fold})
    if numbers != list(range(len(numbers))):
        raise DataError(f"{path}: folds {', '.join(map(str, numbers))}; they count from 0, without a gap")
    if "partition" not in columns:  # each case is tested in its fold, and trained on in all others
        folds = tuple(
            tuple((name, "test" if int(fold) == number else "train") for name, _, fold in found) for number in numbers
        )
        return OwnSplit(path.name, _typed(folds), key == "group")
    each = itertools.groupby(sorted(found, key=_fold_of), key=_fold_of)
    named = tuple(tuple((name, part) for name, part, _ in rows) for _, rows in each)
    return OwnSplit(path.name, _typed(named) or ((),), key == "group")


def _fold_of(row: tuple[str, str, str]) -> int:
    return int(row[2] or 0)


def _typed(folds: Iterable[Iterable[tuple[str, str]]]) -> tuple[tuple[tuple[str, Part], ...], ...]:
    return tuple(tuple((name, _PART_NAMES[part]) for name, part in fold) for fold in folds)


def _parts(
    own: OwnSplit,
    pairs: Sequence[tuple[str, Part]],
    cases: Sequence[SplitCase],
    left_out: Collection[str],
    where: str,
) -> dict[str, Part]:
    """The part of every case. A name that is no case stands for the cases of that group, such as a volume's slices."""
    members: dict[str, list[str]] = {}
    for case in cases:
        if case.group is not None:
            members.setdefault(case.group, []).append(case.id)
    ids = {case.id for case in cases}
    parts: dict[str, Part] = {}
    unknown: list[str] = []
    for name, part in pairs:
        named = [name] if name in ids and not own.groups else members.get(name, [])
        if not named and name not in left_out:
            unknown.append(name)
        for own_case in named:
            if own_case in parts:
                both = "twice in " + part if parts[own_case] == part else f"in {parts[own_case]} and in {part}"
                raise DataError(f"{where}: case {own_case!r} is {both}")
            parts[own_case] = part
    if unknown:
        kind = "groups" if own.groups else "cases"
        known = members if own.groups else ids
        raise DataError(
            f"{where} names {len(unknown)} {kind} that this data set does not have: {_shown(unknown)}"
            f"{nearest(unknown[0], known)}"
        )
    if lacking := sorted(ids - set(parts)):
        raise DataError(
            f"{where} leaves {len(lacking)} of {len(ids)} cases in no part: {_shown(lacking)}; add or exclude them"
        )
    for part in ("train", "test"):
        if part not in parts.values():
            raise DataError(f"{where}: no case is in {part}")
    return parts


def _refuse_divided(parts: Mapping[str, Part], cases: Iterable[SplitCase], where: str) -> None:
    first: dict[str, Part] = {}
    for case in cases:
        part = parts[case.id]
        if case.group is not None and first.setdefault(case.group, part) != part:
            raise DataError(
                f"{where}: patient or sequence {case.group!r} has cases in {first[case.group]} and in {part}; fix it, "
                "or leave grouped out"
            )


def _shown(names: Sequence[str]) -> str:
    return shortened([repr(name) for name in names], _SHOWN)
