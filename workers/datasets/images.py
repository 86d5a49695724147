"""Reading 2D images and masks from PNG, TIFF, GIF, JPEG and BMP files in their many variants.

Pillow reads; tifffile reads those TIFF files that Pillow refuses or cuts from sixteen bits to eight.
Whoever changes the arrays that come from a format raises its version in `workers.datasets.formats`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image as PillowImage
from PIL import TiffImagePlugin, UnidentifiedImageError

from workers.datasets.preprocessing import Image, Label
from workers.errors import DataError

MAX_PIXELS = 1 << 26
"""Largest image that is decoded (8192×8192): a small file can declare any size and would fill the memory."""

_FIX = "get the file again or exclude the case"

GREY_SHARE = 0.05
"""Share of a binary mask's pixels that may be neither near black nor near white (smoothed or lossy edges)."""


def read_image(path: Path, channels: int = 3) -> Image:
    """An image as float32 (height, width, channels), in the file's own value range.

    One grey channel is repeated; alpha is dropped; a colour image read as one channel becomes its luminance.

    Raises:
        DataError: the file is missing, damaged, animated, too large or has another number of channels.
    """
    pixels = _read(path, "RGB").astype(np.float32)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[-1] in (2, 4):
        pixels = pixels[..., :-1]
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, channels, axis=-1)
    if pixels.shape[-1] == 3 and channels == 1:
        luminance: Image = (pixels @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]  # ITU-R BT.601
        return luminance
    if pixels.shape[-1] != channels:
        raise DataError(f"{path}: the image has {pixels.shape[-1]} channels, expected {channels}")
    return pixels


def read_binary_mask(path: Path) -> Label:
    """A mask of two values as uint8 (height, width), 0 background and 1 foreground.

    Accepts 0/1 and 0/full scale, and edges that were smoothed or lossily compressed, cut at half scale.

    Raises:
        DataError: as `read_image`, or the values are not those of a binary mask.
    """
    values = _read_values(path)
    top = int(values.max(initial=0))
    if top <= 1:
        return (values > 0).astype(np.uint8)
    scale = 255 if top <= 255 else 65535
    grey = np.count_nonzero((values > 0.1 * scale) & (values < 0.9 * scale)) / values.size
    if grey > GREY_SHARE or top < 0.9 * scale:
        raise DataError(
            f"{path}: not a binary mask: expected 0 and 1, or 0 and {scale}, found {_listed(values)}; "
            "for several classes use the image-folder reader with a label_map"
        )
    return (values > scale / 2).astype(np.uint8)


def read_class_mask(path: Path, label_map: Mapping[int, int]) -> Label:
    """A mask of several values as uint8 class indices (height, width), through `label_map` (pixel value to class).

    Raises:
        DataError: as `read_image`, or a value that the map does not have.
    """
    values = _read_values(path)
    label = np.full(values.shape, 255, np.uint8)
    for value, index in label_map.items():
        label[values == value] = index
    unknown = values[label == 255]
    if unknown.size:
        raise DataError(f"{path}: mask values {_listed(unknown)} are not in the label_map {dict(label_map)}")
    return label


def read_colour_mask(path: Path, colours: Mapping[int, int]) -> Label:
    """A mask of several colours as uint8 class indices (height, width), through `colours` (0xrrggbb to class).

    Raises:
        DataError: as `read_image`, or a colour that the map does not have.
    """
    pixels = read_image(path, 3)
    if pixels.max(initial=0) > 255:
        raise DataError(f"{path}: the mask has values above 255; colours are given for 8 bits")
    values = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    label = np.full(values.shape, 255, np.uint8)
    for value, index in colours.items():
        label[values == value] = index
    unknown = np.unique(values[label == 255])
    if unknown.size:
        listed = ", ".join(f"#{value:06x}" for value in unknown[:8].tolist()) + (", …" if unknown.size > 8 else "")
        known = ", ".join(f"#{value:06x}" for value in colours)
        raise DataError(f"{path}: the colours {listed} are not in options.colours ({known})")
    return label


def _read_values(path: Path) -> npt.NDArray[np.int64]:
    """Grey values (height, width) of a mask; colour is only accepted where all channels are equal."""
    pixels = _read(path, "index")
    if pixels.ndim == 3:
        if pixels.shape[-1] in (2, 4):
            pixels = pixels[..., :-1]
        if not (pixels == pixels[..., :1]).all():
            raise DataError(f"{path}: the mask is a colour image; expected one grey value per pixel")
        pixels = pixels[..., 0]
    values: npt.NDArray[np.int64] = pixels.astype(np.int64)
    if not np.array_equal(values, pixels):
        raise DataError(f"{path}: the mask holds values that are not whole numbers")
    return values


def _read(path: Path, palette: Literal["RGB", "index"]) -> npt.NDArray[np.generic]:
    """Pixels as the file holds them: (height, width) or (height, width, channels).

    `palette` says what to take of a file with a colour palette: its colours, or the numbers of its entries.
    """
    try:
        with PillowImage.open(path) as image:
            _check_size(path, image.width, image.height)
            frames = int(getattr(image, "n_frames", 1))
            if frames != 1:
                raise DataError(f"{path}: the file holds {frames} images, expected one")
            if _deep_colour(image):
                return _read_tiff(path)
            image.load()
            return np.asarray(_plain(image, palette))
    except UnidentifiedImageError as error:
        if path.suffix.lower() in (".tif", ".tiff"):
            return _read_tiff(path)
        raise DataError(f"{path}: not an image that can be read ({_why(path, error)})") from error
    except PillowImage.DecompressionBombError as error:
        raise DataError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow raises for damaged files
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: damaged or unreadable image ({error}); {_FIX}") from error


def _deep_colour(image: PillowImage.Image) -> bool:
    """Whether it is a colour TIFF of more than 8 bits: Pillow returns one byte of each value."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
    return len(bits) > 1 and max(bits) > 8


def _plain(image: PillowImage.Image, palette: Literal["RGB", "index"]) -> PillowImage.Image:
    """The image in a mode whose array is grey, grey with alpha, RGB or RGBA."""
    if image.mode == "P":
        # A palette of greys (DRIVE's gif masks) means those greys, also in masks.
        colours = np.asarray(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
        if (colours == colours[:, :1]).all():
            return image.convert("L")
        return image.convert("RGB") if palette == "RGB" else image
    if image.mode in ("1", "L", "LA", "RGB", "RGBA", "I", "F") or image.mode.startswith("I;16"):
        return image
    return image.convert("RGB")


def _read_tiff(path: Path) -> npt.NDArray[np.generic]:
    try:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.series[0]
            if len(page.shape) not in (2, 3):
                raise DataError(f"{path}: a TIFF of shape {page.shape}; expected one image")
            _check_size(path, *page.shape[:2])
            pixels: npt.NDArray[np.generic] = page.asarray()
    except (tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: damaged or unreadable TIFF ({error}); {_FIX}") from error
    if pixels.ndim == 3 and pixels.shape[0] in (3, 4) and pixels.shape[-1] not in (3, 4):
        pixels = np.moveaxis(pixels, 0, -1)  # planar configuration
    return pixels


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path}: the file declares {width}×{height} pixels, more than the {MAX_PIXELS:,} that are read"
        )


def _why(path: Path, error: Exception) -> str:
    return "the file is empty" if path.stat().st_size == 0 else str(error).split(":")[0].split(" '")[0]


def _listed(values: npt.NDArray[np.int64]) -> str:
    distinct = np.unique(values)
    return ", ".join(str(v) for v in distinct[:8]) + (", …" if distinct.size > 8 else "")
