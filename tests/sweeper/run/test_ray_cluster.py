"""The folder of a local Ray: nobody else can enter it, and nothing stays."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sweeper.run.ray_cluster import private_folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return tmp_path


def test_others_cannot_enter_it_and_it_is_removed(root: Path) -> None:
    with private_folder() as folder:
        folder.mkdir()
        folder.chmod(0o777)  # as Ray does
        (outer,) = root.iterdir()
        assert folder.parent == outer
        assert stat.S_IMODE(outer.stat().st_mode) == 0o700
    assert list(root.iterdir()) == []


def test_a_socket_in_the_default_folder_has_a_name_that_is_short_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    with private_folder() as folder:
        session = "session_2026-11-28_03-46-01_123456_4194304"
        assert len(str(folder / session / "sockets" / "plasma_store")) <= 107


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_stays(root: Path) -> None:
    left, young = root / "sweeper-ray-left", root / "sweeper-ray-young"
    for folder in (left, young):
        folder.mkdir()
    os.utime(left, (0, 0))
    with private_folder() as living:
        os.utime(living.parent, (0, 0))
        with private_folder():
            assert not left.exists()
            assert young.exists()
            assert living.parent.exists()
