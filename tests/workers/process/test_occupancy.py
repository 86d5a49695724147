"""Two processes and one trial's folder: the newer waits, the older learns of it."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from trials.states import FailureKind
from workers.errors import FolderBusyError, FolderRemovedError
from workers.process.failures import classify
from workers.process.occupancy import Occupancy


def test_the_newer_one_waits_and_the_older_one_learns_of_it(tmp_path: Path) -> None:
    older, newer = Occupancy(tmp_path / "trial"), Occupancy(tmp_path / "trial", wait=60)
    order: list[str] = []

    def take_over() -> None:
        with newer:
            order.append("newer has it")

    with older:
        assert not older.superseded()
        thread = threading.Thread(target=take_over)
        thread.start()
        while not older.superseded():
            assert thread.is_alive()
        order.append("older leaves")
    thread.join()
    assert order == ["older leaves", "newer has it"]
    assert not newer.superseded()


def test_one_that_does_not_leave_is_named(tmp_path: Path) -> None:
    with Occupancy(tmp_path), pytest.raises(FolderBusyError, match=r"pid \d+\), has not ended"):
        Occupancy(tmp_path, wait=0.05).__enter__()


def test_a_dead_one_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".owner").write_text("host (pid 1) 0123")
    (tmp_path / ".lock").touch()
    with Occupancy(tmp_path, wait=0.05) as ours:
        assert not ours.superseded()


def test_a_folder_that_was_removed_is_no_newer_attempt(tmp_path: Path) -> None:
    with Occupancy(tmp_path / "trial") as ours:
        shutil.rmtree(tmp_path / "trial")
        with pytest.raises(FolderRemovedError, match="trial's folder trial was removed while it trained") as removed:
            ours.superseded()
    assert classify(removed.value) is FailureKind.LOST  # so it is told, and retried
