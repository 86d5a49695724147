"""`sweeper status --watch`: the heat map in a terminal, at any width and height, without colour."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from storage.database import open_database
from storage.records import Lease
from storage.repository import Repository
from sweeper.views.terminal import draw, take_picture, watch
from tests.live_sweeps import Planned, bring, mixed, store
from trials.states import FailureKind, SweepState, TrialState


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with open_database(f"sqlite:///{tmp_path / 'sweeper.db'}") as database:
        yield Repository(database)


def shown(repository: Repository, width: int = 80, height: int | None = None, name: str = "demo") -> list[str]:
    text = StringIO()
    Console(file=text, width=width, color_system=None).print(draw(take_picture(repository, name), width, height))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_every_state_can_be_read_without_colour_at_80_columns(repository: Repository) -> None:
    store(repository, mixed())
    lines = shown(repository)
    assert max(map(cell_len, lines)) <= 80
    assert lines[0] == "demo: running; 3 queued, 2 running, 6 finished, 2 failed, 1 pruned, 1 stopped"
    assert lines[1].startswith("about 3 min left")
    (head,) = [line for line in lines if line.startswith("validation DSC")]
    assert head.split()[2:] == ["no", "γ", "0.1", "0.3", "0.5", "0.7", "0.9"]
    cells = [line.split() for line in lines]
    assert ["ce", ".761"] in cells
    assert ["dice", "Fnan"] in cells
    assert ["focal", "Flost"] in cells
    assert ["unified_focal_asym", ".720", ".760", "r12", ".80", "r", "-"] in cells
    assert ["ce", ".750"] in cells  # the mean of two repeats
    assert ["dice", ".650-"] in cells  # one has finished, one waits
    assert "r nuclei · unified_focal_asym · γ=0.5: epoch 12 of 100, validation DSC .800" in lines
    legend = " ".join(lines[lines.index(head) :])
    for words in (".812 finished", "- queued", "r running", "Fnan diverged", "Flost lost", "p pruned", "s stopped"):
        assert words in legend


@pytest.mark.slow
def test_it_fits_any_terminal(repository: Repository) -> None:
    many = [Planned(dataset=f"set {d}", loss="x" * 90, gamma=g / 20) for d in range(8) for g in range(21)]
    odd = [Planned(dataset="核" * 60, loss="損失" * 20), Planned(dataset="[red]<script>", loss="ce")]
    store(repository, [*many, *odd])
    for width in (20, 40, 60, 79, 80, 200):
        for height in (None, 10, 24):
            lines = shown(repository, width, height)
            assert max(map(cell_len, lines)) <= width
            assert any("0.05" in line for line in lines)
            assert any("[red]<script>" in line for line in lines) or height is not None
            if height == 24 and width >= 80:
                assert len(lines) <= height
                assert any("more rows" in line for line in lines)


def test_rows_where_something_happens_come_first_where_not_all_fit(repository: Repository) -> None:
    quiet = [Planned(dataset=f"set{n}", loss="ce") for n in range(30)]
    store(repository, [*quiet, Planned(dataset="last", loss="dice", state=TrialState.FAILED)])
    lines = shown(repository, 80, 15)
    assert len(lines) <= 15
    assert any(line.split()[:2] == ["dice", "Flost"] for line in lines)


def test_an_empty_sweep_and_one_of_one_trial(repository: Repository) -> None:
    store(repository, [], "empty")
    assert shown(repository, name="empty")[0].startswith("empty: ")
    store(repository, [Planned(state=TrialState.FAILED, failure=FailureKind.OUT_OF_MEMORY)], "one")
    assert any(line.split() == ["dice", "Foom"] for line in shown(repository, name="one"))


def test_what_nobody_runs_says_how_to_go_on(repository: Repository) -> None:
    lease = store(repository, mixed())
    repository.release_lease(lease)
    assert "nobody is running it; resume it with: sweeper resume demo" in shown(repository)


@pytest.mark.slow
def test_without_a_terminal_it_is_printed_once(repository: Repository) -> None:
    store(repository, mixed())
    text = StringIO()
    watch(repository, "demo", Console(file=text, width=80))
    assert text.getvalue().count("validation DSC  ") == 1
    assert "\x1b" not in text.getvalue()


@pytest.mark.slow
def test_it_ends_with_the_sweep(repository: Repository) -> None:
    last = Planned()
    lease = store(repository, [last, Planned(loss="ce", state=TrialState.FINISHED, dsc=0.5)])
    text, seen = StringIO(), []
    console = Console(file=text, width=80, force_terminal=True, color_system=None)

    def finish(repository: Repository, lease: Lease) -> None:
        bring(repository, lease, Planned(state=TrialState.FINISHED, dsc=0.912))
        repository.set_sweep_state(lease, SweepState.FINISHED)
        repository.release_lease(lease)

    pulse = repository.pulse

    def finish_at_the_second_look(name: str) -> str:
        seen.append(name)
        if len(seen) == 2:
            finish(repository, lease)
        return pulse(name)

    repository.pulse = finish_at_the_second_look  # type: ignore[method-assign]
    watch(repository, "demo", console)
    assert len(seen) == 2
    assert ".912" in text.getvalue()
    assert "demo: finished; 2 finished" in text.getvalue()


@pytest.mark.slow
def test_the_command_in_a_terminal_of_80_columns_leaves_at_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with open_database(f"sqlite:///{tmp_path / 'home' / 'sweeper.db'}") as database:
        store(Repository(database), mixed())
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    variables = {"SWEEPER_HOME": str(tmp_path / "home"), "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeper", "status", "--watch"],
        env={k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")} | variables,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    written = b""
    deadline = time.monotonic() + 120
    while b"pruned; s stopped" not in written and time.monotonic() < deadline:
        written += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    os.close(ours)
    assert b"r12" in written
    assert b"Traceback" not in written
