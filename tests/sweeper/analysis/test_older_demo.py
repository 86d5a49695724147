"""Of an earlier revision's database every answer is what that revision said."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import older_demo
import pandas as pd
import pytest

from storage.database import open_database, upgrade
from storage.repository import Repository
from sweeper.study import Study, read_study

BEFORE = older_demo.answers()

REPLACED = ("median_difference", "low", "high")
"""Of the stored tests: then the median's bootstrap, now the Hodges–Lehmann estimate with its test's interval."""
SILENT = ("share_significantly_above", "p_best_vs_recommended", "best_differs_from_recommended", "note")
"""Of γ: what one run for each γ says of new trainings, which is nothing."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    file = tmp_path_factory.mktemp("older") / "sweeper.db"
    older_demo.restore(file)
    upgrade(f"sqlite:///{file}")
    with open_database(f"sqlite:///{file}", create=False) as database:
        yield Repository(database)


@pytest.fixture(scope="module")
def study(repository: Repository) -> Study:
    return read_study(repository, "demo")


def rows(frame: pd.DataFrame, columns: Sequence[str]) -> list[list[Any]]:
    return [[_plain(value) for value in row] for row in frame[list(columns)].itertuples(index=False)]


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def assert_same(now: Any, before: Any) -> None:
    """Equal; numbers to the last digits that another version of NumPy or SciPy may move."""
    if isinstance(before, list):
        assert len(now) == len(before)
        for one, other in zip(now, before, strict=True):
            assert_same(one, other)
    elif isinstance(before, float):
        assert now == pytest.approx(before, rel=1e-9, abs=1e-12)
    else:
        assert now == before


@pytest.mark.parametrize("name", ["selection", "stability", "table", "significance"])
def test_its_tables_are_the_same(study: Study, name: str) -> None:
    before = pd.DataFrame(BEFORE[name]["rows"], columns=BEFORE[name]["columns"], dtype=object)
    columns = [column for column in before.columns if column not in (*REPLACED, *SILENT)]
    assert_same(rows(getattr(study.answers, name), columns), rows(before, columns))


def test_its_ranks_are_the_same(study: Study) -> None:
    found = [*study.answers.ranks, study.answers.across]
    assert len(found) == len(BEFORE["ranks"])
    for now, before in zip(found, BEFORE["ranks"], strict=True):
        assert now is not None
        assert list(now.mean_ranks) == list(before["mean_ranks"])
        assert_same(list(now.mean_ranks.values()), list(before["mean_ranks"].values()))
        assert_same([_plain(now.statistic), _plain(now.p)], [before["statistic"], before["p"]])


def test_its_test_dsc_by_loss_is_the_same(study: Study) -> None:
    now = {
        row.loss if math.isnan(row.gamma) else f"{row.loss} {row.gamma:g}": row.test_dsc
        for row in study.trials.itertuples()
    }
    assert now == BEFORE["test_dsc"]


def test_the_tests_that_it_stored_are_those_that_are_made_now(repository: Repository, study: Study) -> None:
    """Also by the hash of the scores; all but the intervals, which are replaced with the next report."""
    stored = repository.significance("demo")
    assert {test.scores_hash for test in stored} == {BEFORE["scores_hash"]} == {study.answers.scores_hash}
    columns = [name for name in BEFORE["significance"]["columns"] if name not in ("n", *REPLACED)]
    assert_same([[getattr(test, name) for name in columns] for test in stored], rows(study.significance, columns))
