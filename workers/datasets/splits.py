"""Which cases train a network, which validate it, and which test it. Pure; the same on every machine.

The paper (Yeung et al. 2022, section 3.2): 80% development and 20% test at random, the development set again 80%
training and 20% validation; an official partition (DRIVE) is kept. Grouped splits, folds, and a validation set that
is drawn anew for each repeat are options.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np

from trials.splits import Split
from workers.errors import DataError, ParameterError

Grouped = bool | Literal["near-duplicates"]
"""What stays together: nothing, the groups that the files name, or these and images that look alike."""


class SplitCase(Protocol):
    """What a split needs from a case. `partition` is the distribution's own: "train", "test" or None."""

    @property
    def id(self) -> str: ...
    @property
    def group(self) -> str | None: ...
    @property
    def partition(self) -> str | None: ...


def make_splits(
    cases: Iterable[SplitCase],
    *,
    repeats: int = 1,
    seed: int,
    test: float = 0.2,
    validation: float = 0.2,
    grouped: Grouped = False,
    folds: int | None = None,
    fold: int | None = None,
    resplit: bool = False,
    alike: Collection[tuple[str, str]] = (),
) -> dict[tuple[int, int | None], Split]:
    """The split of each training of a loss, by its repeat and fold: what a grid's table `split` asks for.

    Args:
        cases, seed, test, validation, grouped, alike: see `make_split`.
        repeats: how many repeats there are.
        folds: number of folds of a cross-validation.
        fold: the one fold that is run. With `folds` alone, all are: each is the test set of trainings of its own.
            Otherwise the fold in the keys is None.
        resplit: whether each repeat draws training and validation cases anew. The test cases (also those of each
            fold) stay the same, and the first repeat has the split that all have otherwise.

    Raises:
        ParameterError, DataError: see `make_split`.
    """
    pool = list(cases)
    every = range(folds) if folds is not None and fold is None else (None,)
    splits: dict[tuple[int, int | None], Split] = {}
    for repeat, one in itertools.product(range(repeats), every):
        if repeat and not resplit:
            splits[repeat, one] = splits[0, one]
            continue
        splits[repeat, one] = make_split(
            pool, seed=seed, test=test, validation=validation, grouped=grouped, folds=folds,
            fold=fold if one is None else one, draw=repeat, alike=alike,
        )  # fmt: skip
    return splits


def make_split(
    cases: Iterable[SplitCase],
    *,
    seed: int,
    test: float = 0.2,
    validation: float = 0.2,
    grouped: Grouped = False,
    folds: int | None = None,
    fold: int | None = None,
    draw: int = 0,
    alike: Collection[tuple[str, str]] = (),
) -> Split:
    """Divides cases at random into train, validation and test.

    Args:
        cases: in any order; ids must be unique.
        seed: of the random order, 0 or more.
        test: share of all cases; round(test · n) cases. Not used with an official partition or folds.
        validation: share of the development cases; round(validation · development) cases.
        grouped: keep the cases of one group (patient, video sequence) together. Sizes are as near as groups allow.
            A case without a group is a group of its own. "near-duplicates" keeps images that look alike together,
            too.
        folds: number of folds of a cross-validation; the test set is then fold number `fold` (0 to folds − 1).
        fold: which fold is the test set.
        draw: number of the draw of training and validation cases. Splits that differ in it alone have the same test
            cases.
        alike: pairs of cases that look alike (`workers.datasets.similarity`).

    Raises:
        ParameterError: a setting outside its range, or folds together with an official partition.
        DataError: too few cases or groups to fill three partitions, an id twice, or `grouped` where no case has a
            group.
    """
    pool = sorted(cases, key=lambda case: case.id)
    _check(pool, seed, test, validation, folds, fold, grouped=grouped)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed])))
    units = _units(pool, grouped, alike if grouped == "near-duplicates" else ())
    official = {case.id for case in pool if case.partition == "test"}
    if official:
        if folds is not None:
            raise ParameterError("this data set has an official test partition: leave out folds and fold")
        test_units = [unit for unit in units if official.intersection(unit)]
        if grouped and any(not official.issuperset(unit) for unit in test_units):
            raise DataError(
                "a group, or images that look alike, are in the official test partition and outside of it: leave out "
                "grouped"
            )
    else:
        units = [units[i] for i in generator.permutation(len(units))]
        test_units = (
            _fold(units, folds, fold or 0)
            if folds is not None
            else _take(units, round_half_up(test * len(pool)), leave=2)
        )
    development = [unit for unit in units if unit not in test_units]
    if draw:
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, draw])))
    development = [development[i] for i in generator.permutation(len(development))]
    size = round_half_up(validation * sum(len(unit) for unit in development))
    validation_units = _take(development, size, leave=1)
    train_units = [unit for unit in development if unit not in validation_units]
    parts = [tuple(sorted(i for unit in part for i in unit)) for part in (train_units, validation_units, test_units)]
    if not all(parts):
        count, unit = (len(units), "group") if grouped else (len(pool), "case")
        kind = f"{count} {unit}" + "s" * (count != 1)
        sizes = ", ".join(str(len(part)) for part in parts)
        raise DataError(f"{kind} cannot be split: train, validation and test would have {sizes} cases; each needs one")
    settings = {"seed": seed, "test": test, "validation": validation, "grouped": grouped, "folds": folds, "fold": fold}
    settings |= {"official": bool(official)}
    return Split(parts[0], parts[1], parts[2], settings | ({"draw": draw} if draw else {}))


def round_half_up(value: float) -> int:
    """Nearest integer, a half upwards (Python's `round` goes to the even one)."""
    return int(np.floor(value + 0.5))


def _check(
    cases: Sequence[SplitCase],
    seed: int,
    test: float,
    validation: float,
    folds: int | None,
    fold: int | None,
    *,
    grouped: Grouped,
) -> None:
    if seed < 0:
        raise ParameterError(f"split seed = {seed}: 0 or more")
    for name, share in (("test", test), ("validation", validation)):
        if not 0 < share < 1:
            raise ParameterError(f"split {name} = {share:g}: a share between 0 and 1, such as 0.2")
    if (folds is None) != (fold is None):
        raise ParameterError(f"folds = {folds}, fold = {fold}: give both or neither")
    if folds is not None and fold is not None and not (2 <= folds <= len(cases) and 0 <= fold < folds):
        raise ParameterError(f"folds = {folds}, fold = {fold}: 2 ≤ folds ≤ {len(cases)} cases and 0 ≤ fold < folds")
    if grouped is True and all(case.group is None for case in cases):
        raise DataError(
            "split grouped = true, but no case names its patient or sequence: set `group` in the data set's options, "
            "or add the file that names it (metadata.csv for CVC-ClinicDB)"
        )
    for first, second in pairwise(cases):
        if first.id == second.id:
            raise DataError(f"two cases have the id {first.id!r}")


def _units(cases: Sequence[SplitCase], grouped: Grouped, alike: Collection[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Sets of case ids that stay together, in an order that depends on the ids alone."""
    keys = {
        case.id: f"group {case.group}" if grouped and case.group is not None else f"case {case.id}" for case in cases
    }
    joined: dict[str, str] = {}

    def root(key: str) -> str:
        while key in joined:
            key = joined[key]
        return key

    for first, second in alike:
        if first in keys and second in keys and (one := root(keys[first])) != (other := root(keys[second])):
            joined[max(one, other)] = min(one, other)
    units: dict[str, list[str]] = {}
    for case in cases:
        units.setdefault(root(keys[case.id]), []).append(case.id)
    return [tuple(ids) for ids in units.values()]


def _take(units: Sequence[tuple[str, ...]], size: int, *, leave: int) -> list[tuple[str, ...]]:
    """Units in their order, each that brings the number of cases nearer to `size`.

    At least one is taken (the smallest if none brings it nearer), and at least `leave` are left for the other
    partitions.
    """
    taken: list[tuple[str, ...]] = []
    count = 0
    for unit in units:
        if len(units) - len(taken) > leave and abs(count + len(unit) - size) < abs(count - size):
            taken.append(unit)
            count += len(unit)
    return taken or sorted(units, key=len)[:1]


def _fold(units: Sequence[tuple[str, ...]], folds: int, fold: int) -> list[tuple[str, ...]]:
    """Fold number `fold`: units dealt one by one to the fold that has the fewest cases, the first of equals."""
    dealt: list[list[tuple[str, ...]]] = [[] for _ in range(folds)]
    counts = [0] * folds
    for unit in units:
        least = counts.index(min(counts))
        dealt[least].append(unit)
        counts[least] += len(unit)
    return dealt[fold]
