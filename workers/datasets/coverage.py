"""Which classes a split lacks in one of its parts, and which masks lost a class on the way to the prepared grid. Pure.

A class that no test image has says nothing about any loss, and one that no training image has cannot be learned. A mask
whose structure vanished in resizing rewards the network that marks nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from trials.splits import Split
from workers.errors import DataError, shortened

SHOWN = 5
"""So many cases are named, the others counted."""

_CONSEQUENCES = {
    "training": "no network can learn it",
    "validation": "validation DSC and the choice of γ do without it",
    "test": "it enters no table, mean or test",
}


class NotedCase(Protocol):
    """A case with what a person should know of its files' headers."""

    @property
    def id(self) -> str: ...
    @property
    def notes(self) -> Sequence[str]: ...


class CountedCase(Protocol):
    """A case with its voxels per class, on the prepared grid and in the source (empty where not known)."""

    @property
    def id(self) -> str: ...
    @property
    def voxels(self) -> Sequence[int]: ...
    @property
    def native_voxels(self) -> Sequence[int]: ...


class GroupedCase(Protocol):
    """A case with its group."""

    @property
    def id(self) -> str: ...
    @property
    def group(self) -> str | None: ...


def missing_classes(
    cases: Sequence[CountedCase], classes: Sequence[str], splits: Collection[Split]
) -> dict[tuple[str, str], int]:
    """The foreground classes that no image of a part of a split has a voxel of, on the prepared grid.

    Returns:
        Part (`training`, `validation`, `test`) and class, with the number of splits that lack it.
    """
    has = {case.id: case.voxels for case in cases}
    found: Counter[tuple[str, str]] = Counter()
    for split in splits:
        for part, ids in (("training", split.train), ("validation", split.validation), ("test", split.test)):
            for index, label in enumerate(classes[1:], start=1):
                if not any(has[case][index] for case in ids):
                    found[part, label] += 1
    return dict(found)


def shared_groups(cases: Iterable[GroupedCase], splits: Collection[Split]) -> list[str]:
    """The groups that have images both in a test set and outside of it."""
    group = {case.id: case.group for case in cases}
    shared: dict[str, None] = {}
    for split in splits:
        outside = {group[case] for case in (*split.train, *split.validation)}
        shared |= {own: None for case in split.test if (own := group[case]) is not None and own in outside}
    return list(shared)


def divided_groups(cases: Sequence[GroupedCase], splits: Collection[Split]) -> Iterator[str]:
    """A sentence where patients or sequences have images both in a test set and outside of it."""
    divided = shared_groups(cases, splits)
    if divided:
        known = len({case.group for case in cases} - {None})
        yield (
            f"{len(divided)} of {known} patients or sequences have images in the test set and outside of it, which "
            f"makes every score too high: {shortened(divided, SHOWN)}; keep them together with "
            "split = { grouped = true }"
        )


def looking_alike(pairs: int) -> str:
    """How many pairs lie in different parts of the split, as the beginning of a sentence."""
    which = "1 pair of images looks" if pairs == 1 else f"{pairs} pairs of images look"
    return f"{which} alike across parts of the split"


def header_warnings(cases: Iterable[NotedCase]) -> Iterator[str]:
    """A sentence for each thing that headers leave open or contradict, with the cases."""
    noted: dict[str, list[str]] = {}
    for case in cases:
        for note in case.notes:
            noted.setdefault(note, []).append(case.id)
    for note, ids in noted.items():
        yield f"{shortened(ids, SHOWN)}: {note}"


def refuse_absent_classes(name: str, classes: Sequence[str], voxels: Sequence[Sequence[int]]) -> None:
    """Refuses a data set in which a class has no pixel at all: nothing can be learned or said of it.

    Args:
        name: of the data set.
        classes: names by index.
        voxels: of each case, on the prepared grid, by class.

    Raises:
        DataError: such a class; the message names it.
    """
    for index, label in enumerate(classes[1:], start=1):
        if not any(own[index] for own in voxels):
            raise DataError(
                f"data set {name!r}: no image has a pixel of class {label!r}; take it out of options.classes and "
                "options.label_map, or add images that have it"
            )


def emptied_masks(cases: Sequence[CountedCase], classes: Sequence[str]) -> list[tuple[str, str]]:
    """Case and class of each mask that has the class in its file and has none of it on the prepared grid."""
    return [
        (case.id, label)
        for case in cases
        for index, label in enumerate(classes[1:], start=1)
        if case.native_voxels and case.native_voxels[index] and not case.voxels[index]
    ]


def coverage_warnings(missing: Mapping[tuple[str, str], int], emptied: Sequence[tuple[str, str]]) -> Iterator[str]:
    """A sentence for each class that a part lacks, and one for each class that resizing took from masks.

    Args:
        missing: `missing_classes`.
        emptied: `emptied_masks`.
    """
    for (part, label), splits in missing.items():
        where = f" in {splits} of the splits" if splits > 1 else ""
        yield f"no {part} image has a pixel of class {label!r}{where}: {_CONSEQUENCES[part]}"
    for label in dict.fromkeys(label for _, label in emptied):
        cases = [case for case, own in emptied if own == label]
        names = ", ".join(cases[:SHOWN]) + (f" and {len(cases) - SHOWN} more" if len(cases) > SHOWN else "")
        masks = "1 mask loses" if len(cases) == 1 else f"{len(cases)} masks lose"
        yield (
            f"{masks} class {label!r} by resizing, so that marking nothing is right there: {names}; keep small "
            'structures with options.mask_resampling = "area"'
        )
