"""Images that look alike are found wherever the split puts them, and can be kept together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from trials.splits import Split
from workers.datasets import check, get_reader
from workers.datasets.prepared import prepare
from workers.datasets.similarity import across, alike, near_duplicates, thumbnail
from workers.datasets.splits import make_split

Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FakeCase:
    """What is looked at of a case."""

    id: str
    group: str | None = None
    partition: None = None


def scene(seed: int, shape: tuple[int, ...] = (60, 80)) -> Pixels:
    """Blobs of about a quarter of the image: what a thumbnail still shows."""
    coarse = np.random.default_rng(seed).normal(size=(5,) * len(shape))
    for axis, length in enumerate(shape):
        coarse = np.repeat(coarse, -(-length // 5), axis)
    return coarse[tuple(slice(n) for n in shape)].astype(np.float32)


def noisy(image: Pixels, seed: int) -> Pixels:
    return image + 0.3 * np.random.default_rng(seed).normal(size=image.shape).astype(np.float32)


def pairs_of(images: dict[str, Pixels], **groups: str) -> tuple[tuple[str, str], ...]:
    cases = [FakeCase(name, groups.get(name)) for name in images]
    return alike(cases, {name: thumbnail(image[..., None]) for name, image in images.items()})


def test_frames_of_one_scene_are_found() -> None:
    images = {f"c{i}": scene(i) for i in range(8)} | {"x": noisy(scene(3), 9), "y": 2 * noisy(scene(5), 8) + 40}
    assert pairs_of(images) == (("c3", "x"), ("c5", "y"))
    assert pairs_of(images, c3="video", x="video") == (("c5", "y"),)  # known already
    assert pairs_of({f"v{i}": scene(i % 4, (20, 24, 18)) for i in range(5)}) == (("v0", "v4"),)


def test_pictures_of_one_kind_are_not_duplicates() -> None:
    """Retinas in their round field correlate above .95 without being of one patient."""
    y, x = np.mgrid[:64, :64]
    field = 20.0 * ((y - 32) ** 2 + (x - 32) ** 2 < 800).astype(np.float32)
    images = {f"eye{i}": field + scene(i, (64, 64)) for i in range(8)}
    normed = np.array([thumbnail(image[..., None]) for image in images.values()])
    assert np.corrcoef(normed).min() > 0.95
    assert pairs_of(images) == ()
    assert pairs_of({**images, "again": noisy(images["eye2"], 1)}) == (("again", "eye2"),)


def test_constant_images_and_few_images_are_like_nothing() -> None:
    flat = np.ones((9, 9), np.float32)
    assert pairs_of({"a": flat, "b": flat, "c": scene(1)}) == ()
    assert pairs_of({"a": scene(1)}) == ()
    assert pairs_of({"a": scene(1, (7, 3)), "b": scene(2, (7, 3))}) == ()


def test_pairs_across_parts() -> None:
    split = Split(("a", "b"), ("c",), ("d",))
    assert across((("a", "b"), ("a", "c"), ("b", "d")), [split]) == (("a", "c"), ("b", "d"))


@pytest.mark.parametrize("seed", range(5))
def test_what_looks_alike_stays_together(seed: int) -> None:
    cases = [FakeCase(f"c{i}", "g" if i in (0, 9) else None) for i in range(12)]
    pairs = (("c0", "c5"), ("c5", "c7"), ("c1", "c2"))
    split = make_split(cases, seed=seed, grouped="near-duplicates", alike=pairs)
    parts = (set(split.train), set(split.validation), set(split.test))
    for unit in ({"c0", "c5", "c7", "c9"}, {"c1", "c2"}):
        assert any(unit <= part for part in parts)
    assert make_split(cases, seed=seed, alike=pairs) == make_split(cases, seed=seed)


def test_check_and_preparation_find_them_in_files(image_folder: Path, tmp_path: Path) -> None:
    picture = np.asarray(Image.open(image_folder / "images" / "c0.png"), np.int16)
    changed = np.clip(picture + np.random.default_rng(1).integers(-4, 5, picture.shape), 0, 255)
    Image.fromarray(changed.astype(np.uint8)).save(image_folder / "images" / "c4.png")
    split = Split(("c0", "c1", "c2"), ("c3",), ("c4", "c5"))
    report = check(get_reader("image-folder"), image_folder, processes=1, split=lambda cases, pairs: [split])
    (problem,) = report.problems
    assert problem.severity == "warning"
    assert problem.message.startswith("1 pair of images looks alike across parts of the split (c0 and c4)")
    prepared = prepare(get_reader("image-folder"), image_folder, tmp_path / "prepared")
    assert near_duplicates(prepared, keep=True) == (("c0", "c4"),)
    (kept,) = prepared.path.glob("near-duplicates.json")
    assert near_duplicates(prepared) == (("c0", "c4"),)
    kept.write_text('{"pairs": [["c0", "nobody"]]}')  # damaged: looked at again
    assert near_duplicates(prepared) == (("c0", "c4"),)
