"""Notes of runs that are not all in MLflow yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.database import open_database
from storage.repository import Repository
from sweeper import begun
from sweeper.settings import load_settings


def test_a_note_stands_until_it_is_forgotten(stored: Path) -> None:
    settings = load_settings()
    assert begun.noted(settings) == []
    begun.begin(settings, "demo", begun.Begun(1.0, 4))
    begun.note(settings, "demo")
    begun.note(settings, "a.b")
    assert begun.noted(settings) == ["a.b", "demo"]
    begun.forget(settings, "demo")
    begun.forget(settings, "demo")
    assert begun.noted(settings) == ["a.b"]


@pytest.mark.parametrize(("limit", "left"), [(None, None), (1, 0), (3, 0), (4, 1), (0, 0)])
def test_what_is_left_of_a_limit(stored: Path, limit: int | None, left: int | None) -> None:
    """Three trials were begun, and have ended."""
    settings = load_settings()
    with open_database(settings.database) as database:
        repository = Repository(database)
        assert begun.left(settings, repository, "demo") is None
        begun.begin(settings, "demo", begun.Begun(0.0, limit))
        assert begun.left(settings, repository, "demo") == left


def test_a_note_that_is_damaged_limits_nothing_and_is_told(stored: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = load_settings()
    begun.begin(settings, "demo", begun.Begun(0.0, 1))
    (stored / "begun" / "demo.json").write_text("{")
    with open_database(settings.database) as database:
        assert begun.left(settings, Repository(database), "demo") is None
    assert "demo.json is damaged" in caplog.text
