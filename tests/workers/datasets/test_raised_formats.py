"""Each file's format is looked at once, and remembered by what the file holds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from workers.datasets import raised_formats
from workers.datasets.formats import FORMAT_VERSIONS, TURNED
from workers.datasets.sources import hash_files

ORIENTATION = 0x0112


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """A JPEG file as it is, and one with an orientation tag."""
    files = [tmp_path / "plain.jpg", tmp_path / "turned.jpg"]
    tagged = Image.Exif()
    tagged[ORIENTATION] = 6
    for file, exif in zip(files, (Image.Exif(), tagged), strict=True):
        Image.new("RGB", (8, 4)).save(file, exif=exif)
    return files


def found(files: list[Path], cache: Path) -> set[str]:
    return raised_formats.raised_formats(hash_files(files, None), cache)


def test_a_file_is_opened_once(pictures: list[Path], tmp_path: Path) -> None:
    assert found(pictures, tmp_path / "cache") == {TURNED}
    assert found(pictures[:1], tmp_path / "cache") == set()
    hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in pictures}
    for path in pictures:
        path.unlink()
    assert raised_formats.raised_formats(hashes, tmp_path / "cache") == {TURNED}


@pytest.mark.parametrize("content", ["{broken", "[]", '{"asked": [], "found": {}}', '{"asked": null, "found": 3}'])
def test_what_is_damaged_or_of_another_version_is_made_anew(pictures: list[Path], tmp_path: Path, content: str) -> None:
    (tmp_path / "source-formats.json").write_text(content, encoding="utf-8")
    assert found(pictures, tmp_path) == {TURNED}


def test_a_format_that_is_raised_is_looked_for(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found(pictures, tmp_path) == {TURNED}
    monkeypatch.setitem(FORMAT_VERSIONS, "jpeg", 2)
    assert found(pictures, tmp_path) == {TURNED, "jpeg"}
