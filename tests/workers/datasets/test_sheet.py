from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workers.datasets import contact_sheet, get_reader, synthesise
from workers.datasets.prepared import PreparedDataset, prepare
from workers.datasets.sheet import COLOURS
from workers.errors import DataError


@pytest.fixture
def bus(tmp_path: Path) -> PreparedDataset:
    source = synthesise("bus2017", 5, tmp_path / "bus2017", 0, (64, 64))
    return prepare(get_reader("bus2017"), source, tmp_path / "root")


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def coloured(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((picture == colour).all(axis=-1).sum())


def test_it_shows_each_case_with_its_outline(bus: PreparedDataset, tmp_path: Path) -> None:
    sheet = pixels(contact_sheet(bus, tmp_path / "out" / "sheet.png"))
    one = pixels(contact_sheet(bus, tmp_path / "one.png", cases=["000001"]))
    assert sheet.shape[0] > one.shape[0]
    assert sheet.shape[1] == 4 * 196 + 4
    assert coloured(sheet, COLOURS[0]) > coloured(one, COLOURS[0]) > 50
    assert coloured(sheet, COLOURS[1]) == 0


def test_augmented_samples_stand_beside_their_image(bus: PreparedDataset, tmp_path: Path) -> None:
    seen: list[int] = []

    def flip(case: str, sample: int) -> tuple[np.ndarray, np.ndarray]:
        seen.append(sample)
        return bus.image(case)[::-1], bus.label(case)[::-1]

    sheet = pixels(contact_sheet(bus, tmp_path / "a.png", cases=["000001", "000002"], augmented=flip, samples=2))
    assert seen == [0, 1, 0, 1]
    first, second = sheet[18:210, 4:196], sheet[18:210, 200:392]
    assert np.abs(first[::-1].astype(int) - second).mean() < 3


def test_a_volume_shows_the_slice_with_most_foreground_and_all_classes(tmp_path: Path) -> None:
    source = synthesise("kits19", 3, tmp_path / "kits19", 0, (32, 64, 64))
    prepared = prepare(get_reader("kits19"), source, tmp_path / "root")
    sheet = pixels(contact_sheet(prepared, tmp_path / "k.png", captions=False))
    assert coloured(sheet, COLOURS[0]) > 50
    assert coloured(sheet, COLOURS[1]) > 20


def test_captions_can_be_left_out(bus: PreparedDataset, tmp_path: Path) -> None:
    with_ids = pixels(contact_sheet(bus, tmp_path / "a.png", cases=["000001"]))
    without = pixels(contact_sheet(bus, tmp_path / "b.png", cases=["000001"], captions=False))
    assert with_ids.shape[0] == without.shape[0] + 14


def test_an_unknown_case_is_refused(bus: PreparedDataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no case 'x'"):
        contact_sheet(bus, tmp_path / "a.png", cases=["x"])
