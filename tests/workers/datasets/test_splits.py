from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trials.splits import Split
from workers.datasets.splits import make_split, make_splits
from workers.errors import DataError, ParameterError


@dataclass(frozen=True)
class Case:
    id: str
    group: str | None = None
    partition: str | None = None


def numbered(n: int) -> list[Case]:
    return [Case(f"case{i:04d}") for i in range(n)]


def sizes(split: Split) -> tuple[int, int, int]:
    return len(split.train), len(split.validation), len(split.test)


@pytest.mark.parametrize(
    ("n", "expected"),
    [(612, (392, 98, 122)), (163, (104, 26, 33)), (342, (219, 55, 68)), (204, (130, 33, 41))],
)
def test_sizes_are_those_of_table_1(n: int, expected: tuple[int, int, int]) -> None:
    assert sizes(make_split(numbered(n), seed=3)) == expected


def test_official_partition_of_drive() -> None:
    cases = [Case(f"{i:02d}", partition="test" if i <= 20 else "train") for i in range(1, 41)]
    split = make_split(cases, seed=0)
    assert sizes(split) == (16, 4, 20)
    assert split.test == tuple(f"{i:02d}" for i in range(1, 21))
    assert make_split(cases, seed=1).test == split.test
    assert make_split(cases, seed=1).validation != split.validation


@given(n=st.integers(4, 120), seed=st.integers(0, 2**31), shuffle=st.integers())
@settings(max_examples=40)
def test_a_partition_of_the_cases_that_does_not_depend_on_their_order(n: int, seed: int, shuffle: int) -> None:
    cases = numbered(n)
    split = make_split(cases, seed=seed)
    assert sorted(split.train + split.validation + split.test) == [case.id for case in cases]
    random.Random(shuffle).shuffle(cases)
    again = make_split(cases, seed=seed)
    assert again == split
    assert again.hash == split.hash


def test_other_seeds_give_other_splits_and_hashes() -> None:
    splits = [make_split(numbered(50), seed=seed) for seed in range(10)]
    assert len({split.hash for split in splits}) == 10


def test_a_split_that_must_never_change() -> None:
    """Stored results refer to splits by seed: another split under the same seed would mix them up."""
    split = make_split(numbered(10), seed=0)
    assert split.test == ("case0004", "case0006")
    assert split.validation == ("case0003", "case0005")


@given(data=st.data(), seed=st.integers(0, 1000))
@settings(max_examples=40)
def test_grouped_never_parts_a_group(data: st.DataObject, seed: int) -> None:
    groups = data.draw(st.lists(st.integers(0, 12), min_size=30, max_size=80))
    if len(set(groups)) < 3:
        return
    cases = [Case(f"{i:03d}", group=str(group)) for i, group in enumerate(groups)]
    split = make_split(cases, seed=seed, grouped=True)
    group_of = {case.id: case.group for case in cases}
    parts = [{group_of[i] for i in part} for part in (split.train, split.validation, split.test)]
    assert sum(len(part) for part in parts) == len(set(groups))
    assert sorted(split.train + split.validation + split.test) == sorted(group_of)


@pytest.mark.parametrize("seed", range(6))
def test_three_uneven_groups_still_fill_three_partitions(seed: int) -> None:
    cases = [Case(f"{i:03d}", group="large" if i < 28 else str(i)) for i in range(30)]
    assert sizes(make_split(cases, seed=seed, grouped=True)) == (28, 1, 1)


def test_grouped_comes_near_to_the_shares() -> None:
    cases = [Case(f"{i:03d}", group=str(i // 21)) for i in range(612)]
    train, validation, test = sizes(make_split(cases, seed=0, grouped=True))
    assert abs(test - 122) <= 21
    assert abs(validation - 98) <= 21
    assert train + validation + test == 612


@given(n=st.integers(10, 60), folds=st.integers(2, 5), seed=st.integers(0, 100), grouped=st.booleans())
@settings(max_examples=40)
def test_every_case_is_tested_in_exactly_one_fold(n: int, folds: int, seed: int, grouped: bool) -> None:
    cases = [Case(f"{i:03d}", group=str(i // 2)) for i in range(n)]
    splits = [make_split(cases, seed=seed, folds=folds, fold=fold, grouped=grouped) for fold in range(folds)]
    tested = [case for split in splits for case in split.test]
    assert sorted(tested) == [case.id for case in cases]
    assert max(len(s.test) for s in splits) - min(len(s.test) for s in splits) <= (2 if grouped else 1)


@pytest.mark.parametrize("seed", range(8))
def test_folds_are_balanced_by_their_cases_and_not_by_their_groups(seed: int) -> None:
    """A patient with ten slices weighs as much as ten with one: no two folds differ by more than one patient's."""
    cases = [Case(f"{i:03d}", group=str(i // 10) if i < 100 else f"single {i}") for i in range(110)]
    splits = [make_split(cases, seed=seed, folds=3, fold=fold, grouped=True) for fold in range(3)]
    sizes = [len(split.test) for split in splits]
    assert max(sizes) - min(sizes) <= 10


@given(n=st.integers(12, 40), seed=st.integers(0, 100), grouped=st.booleans())
@settings(max_examples=15)
def test_each_repeat_of_a_resplit_draws_anew_inside_the_development_part(n: int, seed: int, grouped: bool) -> None:
    cases = [Case(f"{i:03d}", group=str(i // 2)) for i in range(n)]
    splits = make_splits(cases, repeats=6, seed=seed, grouped=grouped, resplit=True)
    assert list(splits) == [(repeat, None) for repeat in range(6)]
    assert splits[0, None] == make_split(cases, seed=seed, grouped=grouped)
    assert {split.test for split in splits.values()} == {splits[0, None].test}
    assert len({split.validation for split in splits.values()}) > 1
    for split in splits.values():
        assert sorted((*split.train, *split.validation, *split.test)) == [case.id for case in cases]
        if grouped:
            parts = [{int(case) // 2 for case in part} for part in (split.train, split.validation)]
            assert not parts[0] & parts[1]


@pytest.mark.parametrize("resplit", [False, True])
def test_all_folds_test_every_case_once_per_repeat(resplit: bool) -> None:
    splits = make_splits(numbered(20), repeats=2, seed=1, folds=4, resplit=resplit)
    for repeat in (0, 1):
        assert sorted(case for fold in range(4) for case in splits[repeat, fold].test) == [c.id for c in numbered(20)]
    assert [splits[0, fold] for fold in range(4)] == [
        make_split(numbered(20), seed=1, folds=4, fold=fold) for fold in range(4)
    ]
    assert all(splits[0, fold].test == splits[1, fold].test for fold in range(4))
    assert (splits[0, 2].hash == splits[1, 2].hash) is not resplit


def test_one_fold_is_one_split_for_all_repeats() -> None:
    splits = make_splits(numbered(20), repeats=2, seed=1, folds=4, fold=3)
    assert splits == dict.fromkeys([(0, None), (1, None)], make_split(numbered(20), seed=1, folds=4, fold=3))


def test_an_official_test_set_can_be_resplit_and_has_no_folds() -> None:
    cases = [Case(f"{i:02d}", partition="test" if i < 4 else "train") for i in range(20)]
    splits = make_splits(cases, repeats=3, seed=0, resplit=True)
    assert {split.test for split in splits.values()} == {("00", "01", "02", "03")}
    assert len({split.hash for split in splits.values()}) > 1
    with pytest.raises(ParameterError, match="official test partition: leave out folds"):
        make_splits(cases, seed=0, folds=4)


def test_a_split_survives_json() -> None:
    import json

    split = make_split(numbered(20), seed=4)
    assert Split.from_dict(json.loads(json.dumps(split.to_dict()))) == split


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed = -1"),
        ({"seed": 0, "test": 1.0}, "test = 1"),
        ({"seed": 0, "validation": 0.0}, "validation = 0"),
        ({"seed": 0, "folds": 5}, "both or neither"),
        ({"seed": 0, "folds": 5, "fold": 5}, "fold = 5"),
        ({"seed": 0, "folds": 1, "fold": 0}, "folds = 1"),
    ],
)
def test_wrong_settings_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make_split(numbered(10), **arguments)  # type: ignore[arg-type]


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(DataError, match="2 cases cannot be split"):
        make_split(numbered(2), seed=0)
    with pytest.raises(DataError, match="2 groups cannot be split"):
        make_split([Case(str(i), group=str(i % 2)) for i in range(10)], seed=0, grouped=True)
    with pytest.raises(DataError, match="two cases have the id 'a'"):
        make_split([Case("a"), Case("b"), Case("a")], seed=0)
    official = [Case(str(i), group=str(i % 3), partition="test" if i < 3 else "train") for i in range(9)]
    with pytest.raises(ParameterError, match="official test partition"):
        make_split(official, seed=0, folds=3, fold=0)
    with pytest.raises(DataError, match="in the official test partition and outside of it"):
        make_split(official, seed=0, grouped=True)
