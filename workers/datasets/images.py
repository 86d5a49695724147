"""Reading 2D images and masks from PNG, TIFF, GIF, JPEG and BMP files in their many variants.

Pillow reads; tifffile reads those TIFF files that Pillow refuses or of which it drops bits or channels. What the values
of a mask mean is in `workers.datasets.masks`. Whoever changes the arrays that come from a format, or from a variant of
it, raises its version in `workers.datasets.formats`.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from workers.datasets.masks import Foreground, binary_label, class_label
from workers.datasets.picture_headers import (
    TIFF_TAGS,
    channels_of,
    deep_png,
    misread_tiff,
    orientation_of,
    orientation_tag,
    tiff_channels,
)
from workers.datasets.preprocessing import IGNORED, WHOLE, Image, Label
from workers.errors import ChannelsError, DataError

Orientation = Literal["tag", "stored"]
"""Whether a picture is turned as its orientation tag says and as every viewer shows it, or read as it is stored."""

MAX_PIXELS = 1 << 26
"""Largest image that is decoded (8192×8192): a small file can declare any size and would fill the memory."""

_OF_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError,
    NotImplementedError, struct.error,
)  # fmt: skip
"""What Pillow and tifffile raise for damaged files: they compute with a header's numbers before they look at them."""

_FIX = "get the file again or exclude the case"


def read_image(path: Path, channels: int = 3, orientation: Orientation = "tag") -> Image:
    """An image as float32 (height, width, channels), in the file's own value range.

    One grey channel is repeated; a channel that the file declares to be alpha is dropped, and no other; a colour image
    read as one channel becomes its luminance.

    Raises:
        DataError: the file is missing, damaged, animated, too large or has another number of channels.
    """
    pixels = _read(path, "RGB", orientation).astype(np.float32)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    found = pixels.shape[-1]
    if found == 1 and channels in (1, 3):
        return np.repeat(pixels, channels, axis=-1)
    if found == 3 and channels == 1:
        luminance: Image = (pixels @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]  # ITU-R BT.601
        return luminance
    if found != channels:
        raise ChannelsError(
            f"{path}: the image has {found} channels, expected {channels} (declared alpha is not counted); set "
            f"options.channels = {found} of the image-folder reader to keep them all, or save it as grey, RGB or RGBA",
            file=path,
            found=found,
        )
    return pixels


def read_pixels(path: Path) -> npt.NDArray[np.generic]:
    """A picture or mask as its file holds it, turned as its tag says and without alpha: (height, width), or with
    channels behind.

    Raises:
        DataError: as `read_image`, but for the channels.
    """
    return _read(path, "index", "tag")


def read_binary_mask(
    path: Path, foreground: Foreground = "binary", orientation: Orientation = "tag", ignore: int | None = None
) -> Label:
    """A mask of one structure as uint8 (height, width), 0 background and 1 foreground.

    Pixels of the value `ignore` become `IGNORED`, and have no part in what the others mean.

    Raises:
        DataError: as `read_image`, or the values are not those of one structure (`workers.datasets.masks`).
    """
    values = _read_values(path, orientation)
    if ignore is None:
        return binary_label(values, path, foreground)
    ignored = values == ignore
    label = binary_label(np.where(ignored, 0, values), path, foreground)
    label[ignored] = IGNORED
    return label


def read_class_mask(path: Path, label_map: Mapping[int, int], orientation: Orientation = "tag") -> Label:
    """A mask of several values as uint8 class indices (height, width), through `label_map` (pixel value to class).

    Raises:
        DataError: as `read_image`, or a value that the map does not have.
    """
    return class_label(_read_values(path, orientation), path, label_map)


def read_colour_mask(path: Path, colours: Mapping[int, int], orientation: Orientation = "tag") -> Label:
    """A mask of several colours as uint8 class indices (height, width), through `colours` (0xrrggbb to class).

    Raises:
        DataError: as `read_image`, or a colour that the map does not have.
    """
    pixels = read_image(path, 3, orientation)
    if pixels.max(initial=0) > 255:
        raise DataError(f"{path}: the mask has values above 255; colours are given for 8 bits")
    values = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    label, seen = np.zeros(values.shape, np.uint8), np.zeros(values.shape, np.bool_)
    for value, index in colours.items():
        where = values == value
        label[where], seen[where] = index, True
    unknown = np.unique(values[~seen])
    if unknown.size:
        listed = ", ".join(f"#{value:06x}" for value in unknown[:8].tolist()) + (", …" if unknown.size > 8 else "")
        known = ", ".join(f"#{value:06x}" for value in colours)
        raise DataError(f"{path}: the colours {listed} are not in options.colours ({known})")
    return label


def is_turned(path: Path) -> bool:
    """Whether a picture has an orientation tag by which it is turned.

    Raises:
        DataError: the file cannot be read.
    """
    return _decoded(path, "index")[1] != 1


def _read_values(path: Path, orientation: Orientation) -> npt.NDArray[np.int64]:
    """Grey values (height, width) of a mask; colour is only accepted where all channels are equal."""
    pixels = _read(path, "index", orientation)
    if pixels.ndim == 3:
        if not (pixels == pixels[..., :1]).all():
            raise DataError(f"{path}: the mask is a colour image; expected one grey value per pixel")
        pixels = pixels[..., 0]
    if pixels.dtype.kind != "f":
        return pixels.astype(np.int64)
    if not np.isfinite(pixels).all() or np.abs(pixels - np.rint(pixels)).max(initial=0) > WHOLE:
        raise DataError(f"{path}: the mask holds values that are not whole numbers")
    values: npt.NDArray[np.int64] = np.rint(pixels).astype(np.int64)
    return values


def _read(path: Path, palette: Literal["RGB", "index"], orientation: Orientation) -> npt.NDArray[np.generic]:
    """Pixels in the file's own depth, without alpha: (height, width) or (height, width, channels).

    This is the one place that turns pictures. `palette` says what to take of a file with a colour palette: its colours,
    or the numbers of its entries.
    """
    pixels, tag = _decoded(path, palette)
    return turned(pixels, tag) if orientation == "tag" else pixels


def _decoded(path: Path, palette: Literal["RGB", "index"]) -> tuple[npt.NDArray[np.generic], int]:
    """The pixels of a file as it stores them, and its orientation tag."""
    try:
        with warnings.catch_warnings(action="ignore"), PillowImage.open(path) as image:  # of damaged EXIF data
            _check_size(path, image.width, image.height)
            frames = int(getattr(image, "n_frames", 1))
            if frames != 1 and image.format != "MPO":  # a telephone's photograph, with a preview behind it
                raise DataError(f"{path}: the file holds {frames} images, expected one")
            return _stored(path, image, palette)
    except UnidentifiedImageError as error:
        if path.suffix.lower() not in (".tif", ".tiff"):
            raise DataError(f"{path}: not an image that can be read ({_why(path, error)})") from error
        return _read_tiff(path)
    except PillowImage.DecompressionBombError as error:
        raise DataError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except _OF_DAMAGED as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: damaged or unreadable image ({error}); {_FIX}") from error


def turned(pixels: npt.NDArray[np.generic], tag: int) -> npt.NDArray[np.generic]:
    """A picture (height, width, …) as its orientation tag (1 to 8) says that it is to be seen."""
    if tag >= 5:
        pixels = pixels.swapaxes(0, 1)
    vertical, horizontal = _FLIPS[tag]
    return pixels[:: -1 if vertical else 1, :: -1 if horizontal else 1]


_FLIPS = {
    **{1: (False, False), 2: (False, True), 3: (True, True), 4: (True, False)},
    **{5: (False, False), 6: (False, True), 7: (True, True), 8: (True, False)},
}
"""Orientation tag to whether rows and columns run backwards; from 5 on, the two change places first."""

_INVERSE = {6: 8, 8: 6}
"""The tags that are not their own inverse."""


def _stored(
    path: Path, image: PillowImage.Image, palette: Literal["RGB", "index"]
) -> tuple[npt.NDArray[np.generic], int]:
    """What an opened file holds, as it is stored and without alpha, and its orientation tag."""
    tiff = tiff_channels(image)
    if tiff is not None and (tiff.apart or misread_tiff(image)):
        return _read_tiff(path)
    order = deep_png(image)
    tag = orientation_tag(image)
    if order:
        deep = _read_deep_png(path, order)
        return deep if order == "RGB" else deep[..., :-1], tag
    image.load()
    plain = _plain(image, palette)
    pixels: npt.NDArray[np.generic] = np.asarray(plain)
    if plain.mode in ("LA", "PA", "RGBA"):
        pixels = pixels[..., :-1]
    if tiff is not None:  # Pillow turns these, and no others, while it loads them
        pixels = turned(pixels, _INVERSE.get(tag, tag))
    return pixels, tag


def _read_deep_png(path: Path, order: str) -> npt.NDArray[np.uint16]:
    """A PNG of 16-bit colours, or grey with alpha, of which Pillow gives the higher byte of each value."""
    if order == "LA":
        both = _unpacked(path, "RGBA")
        high, low = both[..., ::2], both[..., 1::2]
    else:
        high, low = _unpacked(path, f"{order};16B"), _unpacked(path, f"{order};16L")
    deep: npt.NDArray[np.uint16] = high.astype(np.uint16) * np.uint16(256) + low
    return deep


def _unpacked(path: Path, order: str) -> npt.NDArray[np.uint8]:
    """The picture with its bytes taken in another of Pillow's orders (raw modes) of the same length."""
    with PillowImage.open(path) as image:
        image.tile = [tile._replace(args=order) for tile in image.tile]
        image.load()
        return np.asarray(image)


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


def _read_tiff(path: Path) -> tuple[npt.NDArray[np.generic], int]:
    """A TIFF by tifffile, as it is stored and without declared alpha, and its orientation tag."""
    try:
        with tifffile.TiffFile(path) as tiff:
            series, page = tiff.series[0], tiff.pages.first
            axes = series.axes.replace("C", "S")
            if axes not in ("YX", "YXS", "SYX"):
                raise DataError(f"{path}: a TIFF of shape {series.shape}; expected one image")
            sizes = dict(zip(axes, series.shape, strict=True))
            _check_size(path, sizes["X"], sizes["Y"])
            pixels: npt.NDArray[np.generic] = series.asarray()
            tags = {name: tag.value for name in TIFF_TAGS if (tag := page.tags.get(name)) is not None}
    except (tifffile.TiffFileError, *_OF_DAMAGED) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: damaged or unreadable TIFF ({error}); {_FIX}") from error
    if axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    alpha = channels_of(tags).alpha
    if pixels.ndim == 3 and len(page.shape) == 3:
        pixels = np.delete(pixels, alpha, axis=-1)
    return pixels, orientation_of(tags.get("Orientation", 1))


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path}: the file declares {width}×{height} pixels, more than the {MAX_PIXELS:,} that are read"
        )


def _why(path: Path, error: Exception) -> str:
    return "the file is empty" if path.stat().st_size == 0 else str(error).split(":")[0].split(" '")[0]
