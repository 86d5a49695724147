"""Prepared arrays that changed on the disk are found and made again; a file keeps its size when a bit flips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trials.spec import content_hash
from trials.splits import Split
from workers.datasets import get_reader
from workers.datasets.folder import FILES, MANIFEST, VERIFIED_SECONDS, PreparedDataset
from workers.datasets.prepared import open_prepared, prepare
from workers.errors import DataError


@pytest.fixture
def done(image_folder: Path, tmp_path: Path) -> PreparedDataset:
    return prepare(get_reader("image-folder"), image_folder, tmp_path / "prepared")


def flip(path: Path) -> bytes:
    """Changes one bit in the middle of a file, and gives what it held."""
    held = path.read_bytes()
    middle = len(held) // 2
    path.write_bytes(held[:middle] + bytes([held[middle] ^ 1]) + held[middle + 1 :])
    return held


@pytest.mark.parametrize("kind", FILES)
def test_one_flipped_bit_is_found(done: PreparedDataset, kind: str) -> None:
    done.verify()
    flip(done.path / f"00003.{kind}")
    whole = open_prepared(done.path)  # its size is right
    with pytest.raises(DataError, match=rf"damaged \(00003\.{kind} was changed\); run `sweeper data prepare`"):
        whole.verify()


def test_damaged_data_are_prepared_anew_and_keep_their_splits(
    done: PreparedDataset, image_folder: Path, tmp_path: Path
) -> None:
    split = Split(("c0", "c1"), ("c2",), ("c3", "c4", "c5"))
    done.write_split(split)
    before = np.array(done.image("c3"))
    held = flip(done.path / "00003.image.npy")
    told: list[str] = []
    again = prepare(get_reader("image-folder"), image_folder, tmp_path / "prepared", damaged=told.append)
    assert again.path == done.path
    assert (again.path / "00003.image.npy").read_bytes() == held
    np.testing.assert_array_equal(again.image("c3"), before)
    assert again.read_split(split.hash) == split
    assert len(told) == 1
    assert "00003.image.npy was changed" in told[0]


def test_a_host_checks_once_and_a_launch_always(done: PreparedDataset, image_folder: Path, tmp_path: Path) -> None:
    done.verify_here()
    held = flip(done.path / "00000.label.npy")
    done.verify_here()  # trusted: the same host checked just now
    with pytest.raises(DataError, match="was changed"):
        done.verify_here(trusted=0)
    (done.path / "00000.label.npy").write_bytes(held)
    done.verify_here(trusted=0)
    assert VERIFIED_SECONDS > 60


def test_a_folder_of_an_older_version_has_no_hashes_and_opens(
    done: PreparedDataset, image_folder: Path, tmp_path: Path
) -> None:
    file = done.path / MANIFEST
    values = json.loads(file.read_text())
    values.pop("checksum")
    for case in values["cases"]:
        case.pop("hashes")
    file.write_text(json.dumps({**values, "checksum": content_hash(values)}))
    stamp = file.stat().st_mtime_ns
    open_prepared(done.path).verify()
    prepare(get_reader("image-folder"), image_folder, tmp_path / "prepared")
    assert file.stat().st_mtime_ns == stamp  # taken as it is
