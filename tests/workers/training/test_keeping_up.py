"""Loading processes are added where a training waits for its input and cores are idle; otherwise a person is told."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from workers.training import spare
from workers.training.keeping_up import InputKeeper, loaders_for


class Loaders:
    """Batches that count who loads them."""

    def __init__(self, *, room: bool = True) -> None:
        self.loaders, self.room = 0, room

    def load_by(self, processes: int) -> bool:
        self.loaders = processes if self.room else self.loaders
        return self.room


@pytest.mark.parametrize(
    ("now", "share", "idle", "expected"),
    [
        (0, 0.06, 4.0, 2),  # a thread is as fast as one process
        (0, 0.9, 4.0, 2),  # at most twice as many at once
        (2, 0.9, 9.0, 4),
        (4, 0.1, 9.0, 5),
        (4, 0.4, 1.9, 5),  # as many as there are cores for
        (0, 0.9, 0.9, 0),
        (3, 0.9, 0.0, 3),
    ],
)
def test_how_many_load(now: int, share: float, idle: float, expected: int) -> None:
    assert loaders_for(now, share, idle) == expected


def test_processes_are_added_until_the_input_keeps_up(caplog: pytest.LogCaptureFixture) -> None:
    batches = Loaders()
    keeper = InputKeeper(batches, 100, idle=lambda: 8.0)
    counts = []
    for epoch, waited in enumerate((9.0, 5.0, 9.0, 3.0, 0.1, 0.1), 1):
        keeper.after(epoch, waited, 10.0)
        counts.append(batches.loaders)
    # The first epoch and the one after a change tell nothing: processes start in them.
    assert counts == [0, 2, 2, 3, 3, 3]
    assert "epoch 2 waited for its batches for 50% of its time" in caplog.text
    assert "3 processes load from now on" in caplog.text


@pytest.mark.parametrize(("idle", "room"), [(0.3, True), (8.0, False)])
def test_where_nothing_can_be_added_a_person_is_told_once(
    idle: float, room: bool, caplog: pytest.LogCaptureFixture
) -> None:
    batches = Loaders(room=room)
    keeper = InputKeeper(batches, 100, idle=lambda: idle)
    for epoch in range(1, 5):
        keeper.after(epoch, 5.0, 10.0)
    assert batches.loaders == 0
    (record,) = caplog.records
    assert "input-bound" in record.message
    assert "[resources] cpus" in record.message


def test_what_is_not_worth_a_process_is_left(caplog: pytest.LogCaptureFixture) -> None:
    batches = Loaders()
    keeper = InputKeeper(batches, 12, idle=lambda: 8.0)
    for epoch in range(1, 12):
        keeper.after(epoch, 0.9, 2.0)  # 45%, but 9 seconds in all that are left
    assert batches.loaders == 0
    assert not caplog.records


def test_idle_cores_and_memory_are_those_that_the_container_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spare, "CGROUP", tmp_path)
    assert spare.spare_memory() <= psutil.virtual_memory().total
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 0\nuser_usec 0\n")
    cores = spare.SpareCores()
    (tmp_path / "cpu.stat").write_text(f"usage_usec {10**15}\nuser_usec 0\n")
    assert cores.read() == 0.0, "the container has used all that it may, whatever the machine has"
    (tmp_path / "memory.max").write_text(f"{3 * 2**20}\n")
    (tmp_path / "memory.current").write_text(f"{3 * 2**20}\n")
    (tmp_path / "memory.stat").write_text(f"anon {2**20}\ninactive_file {2 * 2**20}\n")
    assert spare.spare_memory() == 2 * 2**20, "what was read from files can be dropped"
    (tmp_path / "memory.max").write_text("max\n")
    assert spare.spare_memory() > 2 * 2**20
