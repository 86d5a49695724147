"""The database of an earlier revision opens, and holds what it held."""

from __future__ import annotations

from pathlib import Path

import older_demo
import pytest

from storage import schema
from storage.database import open_database, schema_version, upgrade
from storage.errors import SchemaMismatchError
from storage.repository import Repository
from storage.studies import Studies
from trials.spec import TrialSpec


@pytest.fixture
def demo_url(empty_url: str, tmp_path: Path) -> str:
    """The demo's database on each backend."""
    if empty_url.startswith("sqlite"):
        older_demo.restore(Path(empty_url.removeprefix("sqlite:///")))
    else:
        older_demo.restore(tmp_path / "older.db")
        older_demo.copy_rows(tmp_path / "older.db", empty_url)
    return empty_url


def test_it_is_upgraded_and_opened(demo_url: str) -> None:
    assert schema_version(demo_url) == older_demo.SCHEMA
    if schema.NEWEST != older_demo.SCHEMA:
        with pytest.raises(SchemaMismatchError, match="sweeper db upgrade"):
            open_database(demo_url)
    assert upgrade(demo_url) == schema.NEWEST
    with open_database(demo_url, create=False) as database:
        repository = Repository(database)
        sweep = repository.sweep("demo")
        trials = repository.trials("demo")
        assert (str(sweep.state), len(trials)) == ("finished", 16)
        assert all(str(trial.state) == "finished" and trial.epochs == 12 for trial in trials)
        assert [len(repository.attempts(trial.hash)) for trial in trials] == [1] * 16


def test_every_trial_keeps_its_hash_and_its_spec(demo_url: str) -> None:
    before = older_demo.stored_specs(demo_url)
    upgrade(demo_url)
    after = older_demo.stored_specs(demo_url)
    assert len(after) == 16
    assert after == before
    for trial_hash, stored in after.items():
        spec = TrialSpec.from_dict(stored)
        assert spec.hash == trial_hash
        assert spec.to_dict() == stored


def test_the_scores_are_the_same_row_by_row(demo_url: str) -> None:
    upgrade(demo_url)
    with open_database(demo_url, create=False) as database:
        columns = Repository(database).score_columns("demo")
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    before = older_demo.scores()
    assert len(rows) == len(before) == 352
    key = ("trial", "partition", "case", "label")
    rows.sort(key=lambda row: tuple(str(row[name]) for name in key))
    before.sort(key=lambda row: tuple(str(row[name]) for name in key))
    for new, old in zip(rows, before, strict=True):
        assert {name: new.get(name) for name in old} == old


def test_the_points_that_optuna_was_told_are_there(tmp_path: Path) -> None:
    older_demo.restore(tmp_path / "sweeper.db")
    url = f"sqlite:///{tmp_path / 'sweeper.db'}"
    upgrade(url)
    with open_database(url, create=False) as database, Studies(database) as studies:
        values = studies.values("demo/nuclei/unified_focal_sym")
    assert sorted(gamma for gamma, _ in values.values()) == [0.1, 0.3, 0.5, 0.7, 0.9]
