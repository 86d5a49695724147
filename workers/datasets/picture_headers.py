"""What the header of a picture declares: how it is to be turned, which channels are alpha, how deep it is."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from PIL import ExifTags, PngImagePlugin, TiffImagePlugin
from PIL import Image as PillowImage

TIFF_TAGS = {
    "PhotometricInterpretation": TiffImagePlugin.PHOTOMETRIC_INTERPRETATION,
    "SamplesPerPixel": TiffImagePlugin.SAMPLESPERPIXEL,
    "ExtraSamples": TiffImagePlugin.EXTRASAMPLES,
    "BitsPerSample": TiffImagePlugin.BITSPERSAMPLE,
    "PlanarConfiguration": TiffImagePlugin.PLANAR_CONFIGURATION,
    "Orientation": ExifTags.Base.Orientation.value,
}
"""The tags of a TIFF that are looked at, by tifffile's names, with their numbers."""

_COLOURS = {2: 3, 5: 4, 6: 3, 8: 3, 9: 3, 10: 3}
"""A TIFF's photometric interpretation to the channels that make its colours; 1 (grey, palette) elsewhere."""

_CMYK = 5

ON_ITS_SIDE = 5
"""From this orientation tag on, rows and columns change places."""


class TiffChannels(NamedTuple):
    """The channels of a TIFF.

    `alpha` holds the positions of those that the file declares to be alpha; `undeclared` counts those that are neither
    colours nor declared to be anything; `apart` says whether Pillow would drop some of their bits or channels, and
    `dropped` whether an earlier version dropped the last one, or all but the first, as if it were alpha.
    """

    alpha: tuple[int, ...]
    undeclared: int
    apart: bool
    dropped: bool


def tiff_channels(image: PillowImage.Image) -> TiffChannels | None:
    """The channels of a TIFF that Pillow opened; None for another format."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    tags = image.tag_v2
    return channels_of({name: tags[number] for name, number in TIFF_TAGS.items() if number in tags})


def misread_tiff(image: PillowImage.Image) -> bool:
    """Whether it is a TIFF whose pixels Pillow (13) puts into rows of a wrong length: not packed, and on its side."""
    return (
        isinstance(image, TiffImagePlugin.TiffImageFile)
        and orientation_tag(image) >= ON_ITS_SIDE
        and image.width != image.height
        and any(tile.codec_name == "raw" for tile in image.tile)
    )


def channels_of(tags: Mapping[str, object]) -> TiffChannels:
    """The channels of a TIFF with these tags (`TIFF_TAGS`)."""
    bits = _numbers(tags.get("BitsPerSample", 1))
    samples = max(_numbers(tags.get("SamplesPerPixel", 1))[0], 1)
    photometric = _numbers(tags.get("PhotometricInterpretation", 1))[0]
    colours = min(_COLOURS.get(photometric, 1), samples)
    kinds = _numbers(tags.get("ExtraSamples", 0))
    alpha = tuple(colours + i for i, kind in enumerate(kinds[: samples - colours]) if kind in (1, 2))
    undeclared = samples - colours - len(alpha)
    deep = samples > 1 and max(bits) > 8
    separate = _numbers(tags.get("PlanarConfiguration", 1))[0] == 2
    dropped = (undeclared > 0 and (samples != 3 or separate)) or (deep and photometric == _CMYK)
    return TiffChannels(alpha, undeclared, deep or undeclared > 0, dropped)


def orientation_tag(image: PillowImage.Image) -> int:
    """The orientation tag of an opened picture, from 1 (as stored) to 8; 1 where it has none that can be read.

    Of a PNG all pixels are read, because the tag may stand behind them.
    """
    try:
        # A TIFF's tags have been read with its header; getexif would read them again.
        tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else image.getexif()
        return orientation_of(tags.get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, ValueError, TypeError, KeyError, struct.error):  # what Pillow raises for damaged EXIF data
        return 1


def orientation_of(value: object) -> int:
    """The value of an orientation tag; 1 for one that means nothing."""
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1


def deep_png(image: PillowImage.Image) -> str:
    """The channels (`RGB`, `RGBA`, `LA`) of a PNG that stores each in 16 bits; empty for any other picture.

    Pillow returns one byte of each such value. To be asked before the pixels are read.
    """
    if not isinstance(image, PngImagePlugin.PngImageFile) or not image.tile:
        return ""
    order, _, depth = str(image.tile[0].args).partition(";")
    return order if depth == "16B" and order in ("RGB", "RGBA", "LA") else ""


def _numbers(value: object) -> tuple[int, ...]:
    """A tag's value, which may be one number or several, as numbers."""
    several = value if isinstance(value, tuple | list) else (value,)
    return tuple(int(one) for one in several if isinstance(one, int)) or (0,)
