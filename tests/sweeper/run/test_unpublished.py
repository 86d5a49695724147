"""Notes of runs that are not all in MLflow yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.database import open_database
from storage.repository import Repository
from sweeper.run import unpublished
from sweeper.settings import load_settings


def test_a_note_stands_until_it_is_forgotten(stored: Path) -> None:
    settings = load_settings()
    assert unpublished.noted(settings) == []
    unpublished.start(settings, "demo", unpublished.StartedRun(1.0, 4))
    unpublished.note(settings, "demo")
    unpublished.note(settings, "a.b")
    assert unpublished.noted(settings) == ["a.b", "demo"]
    assert unpublished.until(settings, "demo") is None
    unpublished.start(settings, "demo", unpublished.StartedRun(1.0, until=7.0))
    assert unpublished.until(settings, "demo") == 7.0
    unpublished.forget(settings, "demo")
    unpublished.forget(settings, "demo")
    assert unpublished.noted(settings) == ["a.b"]


@pytest.mark.parametrize(("limit", "left"), [(None, None), (1, 0), (3, 0), (4, 1), (0, 0)])
def test_what_is_left_of_a_limit(stored: Path, limit: int | None, left: int | None) -> None:
    """Three trials were begun, and have ended."""
    settings = load_settings()
    with open_database(settings.database) as database:
        repository = Repository(database)
        assert unpublished.left(settings, repository, "demo") is None
        unpublished.start(settings, "demo", unpublished.StartedRun(0.0, limit))
        assert unpublished.left(settings, repository, "demo") == left


def test_a_note_that_is_damaged_limits_nothing_and_is_told(stored: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = load_settings()
    unpublished.start(settings, "demo", unpublished.StartedRun(0.0, 1))
    (stored / "begun" / "demo.json").write_text("{")
    with open_database(settings.database) as database:
        assert unpublished.left(settings, Repository(database), "demo") is None
    assert "demo.json is damaged" in caplog.text
