"""At no byte free under the home: what reads, reads; what would write says in one line why it cannot."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import open_database, sqlite_url
from storage.repository import Repository
from tests.dashboards.unrendered import unrendered
from tests.sweeper.conftest import Command
from tests.system.faults.scenarios import fill

pytestmark = pytest.mark.slow  # it computes a report


@pytest.fixture
def full_home(home: Path, stored_file: Path) -> Iterator[Path]:
    """A home on a disk without room, with a sweep that is run by another machine."""
    home.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(home)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        shutil.copy(stored_file, home)
        with open_database(sqlite_url(home / "sweeper.db")) as database:
            Repository(database).acquire_lease("demo", "another machine", 600)
        fill(home / "ballast")
        yield home
    finally:
        subprocess.run(["umount", "--lazy", home], check=True)


def test_a_report_and_stop_say_in_one_line_why_they_cannot(sweeper: Command, full_home: Path) -> None:
    assert sweeper("status", "demo").status == 0
    with unrendered():
        report = sweeper("report", "demo")
    assert report.status == 2
    assert "report cannot be written to" in report.err
    assert "No space left on device" in report.err
    stop = sweeper("stop", "demo")
    assert stop.status == 2
    assert "make room on its disk (sweeper gc)" in stop.err
    assert [len(answer.err.strip().splitlines()) for answer in (report, stop)] == [1, 1]
    (full_home / "ballast").unlink()
    assert sweeper("stop", "demo").status == 0
