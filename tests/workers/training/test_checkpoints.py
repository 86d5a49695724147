"""Checkpoints: whole or not there, damaged ones found, the one before used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workers.errors import CheckpointError
from workers.training.checkpoints import Checkpoint, CheckpointFolder


def checkpoint(epoch: int, best: int) -> Checkpoint:
    rng = np.random.default_rng(epoch)
    weights = (rng.normal(size=(3, 4)).astype(np.float32), np.float32(epoch).reshape(()))
    state = {"plateau": {"best_epoch": best, "best_loss": float("inf")}, "history": []}
    return Checkpoint(epoch, weights, (np.int64(epoch).reshape(()),), state)


def filled(folder: Path, epochs: int) -> CheckpointFolder:
    checkpoints = CheckpointFolder(folder)
    for epoch in range(1, epochs + 1):
        checkpoints.save(checkpoint(epoch, epoch), best=True)
    return checkpoints


def test_round_trip(tmp_path: Path) -> None:
    loaded, skipped = filled(tmp_path, 1).load()
    assert loaded is not None
    assert skipped == ()
    expected = checkpoint(1, 1)
    assert loaded.epoch == 1
    assert loaded.state == expected.state
    for ours, theirs in zip(loaded.weights + loaded.optimiser, expected.weights + expected.optimiser, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_the_best_epoch_is_written_once_and_stays_when_its_checkpoint_goes(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 1)
    assert (tmp_path / "best-000001.npz").samefile(tmp_path / "epoch-000001.npz")
    for epoch in (2, 3):
        checkpoints.save(checkpoint(epoch, 1), best=False)
    assert not (tmp_path / "epoch-000001.npz").exists()
    loaded, _ = checkpoints.load()
    assert loaded is not None
    assert loaded.epoch == 3
    for ours, theirs in zip(checkpoints.load_best(1), checkpoint(1, 1).weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_where_a_file_has_one_name_only_the_best_epoch_is_written_twice(tmp_path: Path, monkeypatch) -> None:
    def refused(*names: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr("os.link", refused)
    checkpoints = filled(tmp_path, 2)
    assert checkpoints.load()[0] is not None
    assert not (tmp_path / "best-000002.npz").samefile(tmp_path / "epoch-000002.npz")
    assert not list(tmp_path.glob(".*"))


def test_keeps_two_epochs(tmp_path: Path) -> None:
    filled(tmp_path, 5)
    assert sorted(p.name for p in tmp_path.glob("epoch-*")) == ["epoch-000004.npz", "epoch-000005.npz"]


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.97])
def test_a_truncated_checkpoint_is_found_and_the_one_before_used(tmp_path: Path, keep: float) -> None:
    checkpoints = filled(tmp_path, 3)
    newest = tmp_path / "epoch-000003.npz"
    content = newest.read_bytes()
    newest.write_bytes(content[: int(len(content) * keep)])
    loaded, skipped = checkpoints.load()
    assert loaded is not None
    assert loaded.epoch == 2
    assert len(skipped) == 1
    assert "epoch-000003.npz" in skipped[0]


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 2)
    newest = tmp_path / "epoch-000002.npz"
    content = bytearray(newest.read_bytes())
    content[200] ^= 1
    newest.write_bytes(content)
    loaded, skipped = checkpoints.load()
    assert loaded is not None
    assert loaded.epoch == 1
    assert skipped


def test_a_lost_best_file_falls_back_to_the_epoch_before(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 3)
    (tmp_path / "best-000003.npz").unlink()
    loaded, _ = checkpoints.load()
    assert loaded is not None
    assert loaded.epoch == 2
    assert len(checkpoints.load_best(2)) == 2


def test_says_so_when_all_are_damaged(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 2)
    for path in tmp_path.glob("epoch-*"):
        path.write_bytes(b"")
    loaded, skipped = checkpoints.load()
    assert loaded is None
    assert [line.split()[0] for line in skipped] == ["epoch-000002.npz", "epoch-000001.npz"]


def test_damaged_best_weights_are_an_error(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 2)
    (tmp_path / "best-000002.npz").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"best-000002\.npz cannot be read"):
        checkpoints.load_best(2)


def test_tidy_removes_half_written_files_alone(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 2)
    whole = sorted(tmp_path.iterdir())
    (tmp_path / ".epoch-000003.npz.abc.part").write_bytes(b"half")
    checkpoints.tidy()
    assert sorted(tmp_path.iterdir()) == whole


def test_an_empty_folder_is_a_fresh_start(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path).load() == (None, ())


def test_a_half_written_file_is_not_looked_at(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 1)
    (tmp_path / ".epoch-000002.npz.abc.part").write_bytes(b"half")
    loaded, skipped = checkpoints.load()
    assert loaded is not None
    assert (loaded.epoch, skipped) == (1, ())


def test_finish_leaves_nothing(tmp_path: Path) -> None:
    filled(tmp_path, 3).finish()
    assert list(tmp_path.iterdir()) == []
