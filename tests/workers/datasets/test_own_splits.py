"""Splits that somebody else made are kept to the letter, and a mistake in one is refused in one line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from trials.splits import Split
from workers.datasets.own_splits import own_splits, read_split_file, split_of_folders, split_table
from workers.datasets.splits import make_splits
from workers.errors import DataError, ParameterError


@dataclass(frozen=True)
class FakeCase:
    """What a split needs to know of a case."""

    id: str
    group: str | None = None
    partition: None = None


CASES = [FakeCase(f"c{i}", f"p{i // 2}") for i in range(10)]


def by_file(path: Path, text: str, cases: list[FakeCase] = CASES, **settings: Any) -> dict[Any, Split]:
    path.write_text(text, encoding="utf-8")
    return own_splits(read_split_file(path), cases, **settings)


def rows(**parts: str) -> str:
    """The text of a CSV file: `train="01"` puts c0 and c1 into train."""
    return "case,partition\n" + "".join(f"c{n},{part}\n" for part, numbers in parts.items() for n in numbers)


def test_a_file_says_every_part(tmp_path: Path) -> None:
    text = rows(train="0123", val="45", test="6789")
    split = by_file(tmp_path / "split.csv", text)[0, None]
    assert split == Split(("c0", "c1", "c2", "c3"), ("c4", "c5"), ("c6", "c7", "c8", "c9"), split.settings)
    assert split.settings["own"] == "split.csv"
    for same in (
        text.replace(",", ";"),
        "\ufeff" + text,
        text.replace("\n", "\r\n"),
        text.replace("val", "Validation"),
    ):
        assert by_file(tmp_path / "split.csv", same)[0, None].hash == split.hash


def test_validation_is_drawn_where_the_file_has_none(tmp_path: Path) -> None:
    text = rows(train="01234567", test="89")
    splits = by_file(tmp_path / "a.csv", text, repeats=2, validation=0.25, resplit=True)
    for split in splits.values():
        assert split.test == ("c8", "c9")
        assert (len(split.train), len(split.validation)) == (6, 2)
    assert splits[0, None] != splits[1, None]
    together = by_file(tmp_path / "a.csv", text, validation=0.25, grouped=True)[0, None]
    assert {case for i in range(5) for case in (f"c{2 * i}", f"c{2 * i + 1}") if case in together.validation} == set(
        together.validation
    )
    assert len({f"p{int(case[1]) // 2}" for case in together.validation}) == 1


def test_groups_stand_for_their_cases(tmp_path: Path) -> None:
    text = "group,partition\np0,train\np1,train\np2,val\np3,test\np4,test\n"
    assert by_file(tmp_path / "a.csv", text)[0, None].test == ("c6", "c7", "c8", "c9")
    volumes = json.dumps([{"train": ["p0", "p1", "p2"], "val": ["p3", "p4"]}])  # slices of nnU-Net's volumes
    assert by_file(tmp_path / "a.json", volumes)[0, None].test == ("c6", "c7", "c8", "c9")


def test_the_folds_of_nnunet_are_test_sets(tmp_path: Path) -> None:
    names = [case.id for case in CASES]
    folds = [{"train": [n for n in names if n not in names[i::5]], "val": names[i::5]} for i in range(5)]
    text = json.dumps(folds)
    splits = by_file(tmp_path / "splits_final.json", text, folds=5, repeats=2)
    assert [splits[1, i].test for i in range(5)] == [tuple(names[i::5]) for i in range(5)]
    assert all(split.validation and not set(split.validation) & set(split.test) for split in splits.values())
    assert splits[0, 0].settings["val_is_test"] is True
    one = by_file(tmp_path / "splits_final.json", text, folds=5, fold=3)
    assert list(one) == [(0, None)]
    assert one[0, None].hash == splits[0, 3].hash
    for wrong in ({}, {"folds": 4}):
        with pytest.raises(ParameterError, match=r"splits_final\.json has 5 folds: set folds = 5"):
            by_file(tmp_path / "splits_final.json", text, **wrong)


def test_folds_in_a_table(tmp_path: Path) -> None:
    """Each case is tested in its fold, or each fold has rows of its own."""
    text = "case,fold\n" + "".join(f"c{i},{i % 2}\n" for i in range(10))
    splits = by_file(tmp_path / "a.csv", text, folds=2)
    assert splits[0, 1].test == ("c1", "c3", "c5", "c7", "c9")
    again = by_file(tmp_path / "b.csv", split_table(splits), folds=2)
    assert {place: split.hash for place, split in again.items()} == {p: split.hash for p, split in splits.items()}


@pytest.mark.parametrize("settings", [{}, {"folds": 3}, {"folds": 3, "fold": 2}, {"grouped": True}])
def test_what_is_exported_is_the_same_split_elsewhere(tmp_path: Path, settings: dict[str, Any]) -> None:
    drawn = make_splits(CASES, seed=4, **settings)
    folds = {"folds": 3} if (0, 1) in drawn else {}
    read = by_file(tmp_path / "split.csv", split_table(drawn), **folds)
    assert {place: split.hash for place, split in read.items()} == {p: split.hash for p, split in drawn.items()}


WHOLE = rows(train="0123", val="45", test="6789")
WRONG = {
    WHOLE.replace("c3", "d3"): r"names 1 cases that this data set does not have: 'd3'",
    WHOLE + "c3,train\n": r"case 'c3' is twice in train",
    WHOLE + "c3,test\n": r"case 'c3' is in train and in test",
    rows(train="012345", test="678"): r"leaves 1 of 10 cases in no part: 'c9'",
    rows(train="012345", val="6789"): r"no case is in test",
    rows(test="0123456789"): r"no case is in train",
    "name,part\nc0,train\n": r"expected the columns case \(or group\), partition .* has name, part",
    "": r"expected the columns .* has nothing",
    "case,partition\nc0,trian\n": r"line 2: partition 'trian': train, validation or test",
    "case,partition\nc0\n": r"line 2: 1 columns, and the first line has 2",
    "case,fold\nc0,one\n": r"line 2: fold 'one': a number from 0",
    "case,fold\nc0,1\nc1,2\n": r"folds 1, 2; they count from 0",
    "group,partition\nc0,train\n": r"names 1 groups .* 'c0'",
}


@pytest.mark.parametrize("text", WRONG)
def test_mistakes_in_a_table(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=WRONG[text]) as refused:
        by_file(tmp_path / "split.csv", text)
    assert "split.csv" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["[]", "7", "[7]", "{", '[{"train": "c0"}]', '[{"trains": []}]', "[" * 100_000])
def test_mistakes_in_json(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"a\.json"):
        by_file(tmp_path / "a.json", text)


def test_files_that_are_no_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    for name, told in (("a.csv", "no text in UTF-8"), ("b.csv", "No such file"), (".", "Is a directory")):
        with pytest.raises(DataError, match=told):
            read_split_file(tmp_path / name)


def test_settings_that_contradict_the_file(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="says which cases validate: leave resplit out"):
        by_file(tmp_path / "a.csv", WHOLE, repeats=2, resplit=True)
    with pytest.raises(ParameterError, match=r"a\.csv has one split: leave folds out"):
        by_file(tmp_path / "a.csv", WHOLE, folds=5)
    with pytest.raises(DataError, match="patient or sequence 'p2' has cases in train and in test"):
        by_file(tmp_path / "a.csv", rows(train="01234", val="67", test="589"), grouped=True)
    assert by_file(tmp_path / "a.csv", WHOLE, grouped=True)


def test_excluded_cases_may_be_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'c9'"):
        by_file(tmp_path / "a.csv", WHOLE, CASES[:9])
    assert by_file(tmp_path / "a.csv", WHOLE, CASES[:9], left_out=["c9"])[0, None].test == ("c6", "c7", "c8")


def test_folders_are_a_split() -> None:
    names = ["train"] * 6 + ["Val"] * 2 + ["testing"] * 2
    places = {f"c{i}": PurePosixPath(name, "images", f"c{i}.png") for i, name in enumerate(names)}
    split = own_splits(split_of_folders(places), CASES)[0, None]
    assert (split.validation, split.test) == (("c6", "c7"), ("c8", "c9"))
    with pytest.raises(DataError, match=r"images/c0\.png lies in none of the folders train, val and test"):
        split_of_folders({"c0": PurePosixPath("images/c0.png")})
    with pytest.raises(DataError, match="lies in several"):
        split_of_folders({"c0": PurePosixPath("train/test/c0.png")})
