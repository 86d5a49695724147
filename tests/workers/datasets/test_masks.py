"""Which masks are one structure with smoothed edges, and which are classes or instances."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import binary_erosion, label

from workers.datasets.image_folder import NUCLEI
from workers.datasets.masks import binary_label, class_label
from workers.errors import DataError

Values = npt.NDArray[np.int64]
Resampling = Image.Resampling

SHAPES = [Image.open(path).crop((0, 0, 128, 128)) for path in sorted((NUCLEI / "masks").iterdir())[:2]]
"""Real masks of nuclei, 0 and 255."""


def with_room(values: Values) -> Values:
    """Amid so much background that no count of grey pixels tells anything."""
    return np.pad(values, max(values.shape) // 2)


def lines() -> Image.Image:
    """Thin curved lines, as vessels are."""
    y, x = np.mgrid[:160, :200]
    curve = np.abs(((y - 80 - 40 * np.sin(x / 25)) + 200) % 40 - 20) < 1.3
    return Image.fromarray(curve.astype(np.uint8) * np.uint8(255))


def scaled(factor: float, by: Image.Resampling) -> Callable[[Image.Image], Image.Image]:
    return lambda mask: mask.resize((round(mask.width * factor), round(mask.height * factor)), by)


def as_jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    def packed(mask: Image.Image) -> Image.Image:
        file = io.BytesIO()
        mask.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return packed


SMOOTHED = {
    "halved by averages": lambda mask: mask.reduce(2),
    "bilinear": scaled(0.6, Resampling.BILINEAR),
    "Lanczos": scaled(0.7, Resampling.LANCZOS),
    "enlarged": scaled(2, Resampling.BICUBIC),
    "enlarged six times": lambda mask: scaled(6, Resampling.BILINEAR)(mask.crop((20, 20, 70, 70))),
    "turned": lambda mask: mask.rotate(17, Resampling.BILINEAR),
    "blurred": lambda mask: mask.resize((256, 256)).filter(ImageFilter.GaussianBlur(0.8)),
    "JPEG 50": as_jpeg(50),
    "JPEG 75": as_jpeg(75),
    "JPEG 95": as_jpeg(95),
}


@pytest.mark.parametrize("change", SMOOTHED.values(), ids=SMOOTHED.keys())
def test_smoothed_edges_are_cut_at_half(change: Callable[[Image.Image], Image.Image]) -> None:
    for mask in (*SHAPES, lines()):
        values = with_room(np.asarray(change(mask)).astype(np.int64))
        np.testing.assert_array_equal(binary_label(values, Path("m.png")), values > 127.5)


def instances(mask: Values, *, first: int = 1, step: int = 1) -> Values:
    numbers, count = label(mask > 0)
    assert isinstance(numbers, np.ndarray)
    values = np.where(numbers > 0, first + (numbers - 1) * step, 0) % 251
    values[numbers == count] = 255
    return values.astype(np.int64)


def rim(mask: Values, width: int) -> Values:
    """Structure 255 with a rim of 128 inside it."""
    return np.where(binary_erosion(mask > 0, iterations=width), 255, np.where(mask > 0, 128, 0)).astype(np.int64)


def ignored_border(mask: Values) -> Values:
    """Class 1, and 255 at its border, as in PASCAL VOC."""
    return np.where(binary_erosion(mask > 0), 1, np.where(mask > 0, 255, 0)).astype(np.int64)


NUMBERED: dict[str, Callable[[Values], Values]] = {
    "instances from 1": instances,
    "instances of any grey": lambda mask: instances(mask, first=20, step=37),
    "rim of one pixel": lambda mask: rim(mask, 1),
    "rim of two": lambda mask: rim(mask, 2),
    "rim of five": lambda mask: rim(mask, 5),
    "border to ignore": ignored_border,
    "three levels": lambda mask: np.choose(instances(mask) % 3, [mask, 85, 170]) * (mask > 0),
}


@pytest.mark.parametrize("change", NUMBERED.values(), ids=NUMBERED.keys())
def test_classes_and_instances_are_refused(change: Callable[[Values], Values]) -> None:
    for mask in SHAPES:
        values = with_room(change(np.asarray(mask).astype(np.int64)))
        with pytest.raises(DataError, match="not a binary mask"):
            binary_label(values, Path("m.png"))
        np.testing.assert_array_equal(binary_label(values, Path("m.png"), "nonzero"), values > 0)
        np.testing.assert_array_equal(binary_label(values, Path("m.png"), "half"), values > 127.5)


def test_the_label_map_of_a_refusal_can_be_pasted() -> None:
    values = np.zeros((64, 64), np.int64)
    values[20:30, 20:30] = 255
    values[22:26, 22:26] = 128
    with pytest.raises(DataError, match=r"m\.png: .* found 0, 128, 255 .*label_map = \{ 0 = 0, 128 = 1, 255 = 2 \}"):
        binary_label(values, Path("m.png"))
    pasted = class_label(values, Path("m.png"), {0: 0, 128: 1, 255: 2})
    assert np.bincount(pasted.ravel()).tolist() == [64 * 64 - 100, 16, 84]


def test_two_values_near_full_scale_are_a_binary_mask() -> None:
    """Some tools write 254, or one stray pixel of it."""
    values = np.zeros((32, 32), np.int64)
    values[8:20, 8:20] = 254
    assert binary_label(values, Path("m.png")).sum() == 144
    values[10, 10] = 255
    values[values == 254] = 255
    values[12, 12] = 254
    assert binary_label(values, Path("m.png")).sum() == 144
