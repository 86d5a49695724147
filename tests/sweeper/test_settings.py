"""Where things are on a machine, from the environment."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import make_url

from sweeper.errors import SettingsError
from sweeper.settings import Settings, existing_part, load_settings, write_fault


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SWEEPER_DATA", "SWEEPER_DATABASE_URL", "MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SWEEPER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_everything_is_below_the_home_folder_unless_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().home == tmp_path / ".sweeper"
    monkeypatch.setenv("SWEEPER_HOME", "~/elsewhere")
    settings = load_settings()
    home = tmp_path / "elsewhere"
    assert settings.database == f"sqlite:///{home}/sweeper.db"
    assert settings.database_file == home / "sweeper.db"
    assert settings.mlflow == f"sqlite:///{home}/mlflow.db"
    for place in ("data_root", "prepared", "trials", "logs", "reports", "plugins", "artifacts"):
        assert home in getattr(settings, place).parents
    assert not home.exists()


@pytest.mark.parametrize("name", ["a%20b", "a?b", "a#b", "100%"])
def test_two_homes_never_share_a_database(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / name))
    settings = load_settings()
    assert settings.database_file == tmp_path / name / "sweeper.db"
    assert make_url(settings.mlflow).database == str(tmp_path / name / "mlflow.db")


def test_the_environment_and_then_the_option_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_DATA", "~/data")
    monkeypatch.setenv("SWEEPER_DATABASE_URL", "postgresql://me@host/db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    monkeypatch.setenv("RAY_ADDRESS", "host:6379")
    settings = load_settings()
    assert settings.data_root == tmp_path / "data"
    assert (settings.database, settings.database_file) == ("postgresql://me@host/db", None)
    assert (settings.mlflow, settings.ray_address) == ("http://host:5000", "host:6379")
    assert load_settings(data=Path("/other")).data_root == Path("/other")


def test_a_data_folder_is_only_missed_when_it_was_named(tmp_path: Path) -> None:
    load_settings().check_data_folder()
    load_settings(data=tmp_path).check_data_folder()
    with pytest.raises(SettingsError, match="nowhere"):
        load_settings(data=tmp_path / "nowhere").check_data_folder()


def test_make_home_makes_it_once_and_refuses_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "a" / "b"))
    load_settings().make_home()
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    (tmp_path / "a" / "b").chmod(0o750)  # somebody shares it
    load_settings().make_home()
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o750
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "file"))
    with pytest.raises(SettingsError, match="file is not a folder"):
        load_settings().make_home()


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the answer of `os.access`, since a test that runs as root may write anywhere."""
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    assert write_fault(tmp_path / "new") == f"no permission to write {tmp_path}"
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "new"))
    with pytest.raises(SettingsError, match="no permission to write"):
        load_settings().make_home()
    assert not (tmp_path / "new").exists()


def test_existing_part(tmp_path: Path) -> None:
    assert existing_part(tmp_path) == tmp_path
    assert existing_part(tmp_path / "a" / "b") == tmp_path
    assert existing_part(Path("/")) == Path("/")


def test_a_data_folder_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Settings(data=tmp_path).check_data_folder()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may read everything
    with pytest.raises(SettingsError, match=r"may not be read by user \d+; fix it with: chmod -R a\+rX"):
        Settings(data=tmp_path).check_data_folder()
