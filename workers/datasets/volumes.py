"""Reading volumes and their labels, of whatever format, into the type that is wanted.

Whoever changes the arrays that come from a format raises its version in `workers.datasets.formats`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from workers.datasets.grids import Header, turn_onto, turned
from workers.datasets.nifti import Slabs, open_nifti
from workers.datasets.preprocessing import WHOLE, Image, Label, times
from workers.datasets.volume_formats import opener_of
from workers.errors import ChannelsError, DataError

__all__ = ["Header", "read_channels", "read_header", "read_labels", "read_volume"]


def read_header(path: Path) -> Header:
    """The grid of a volume, without its voxels.

    Raises:
        DataError: not a readable volume; see `read_volume`.
    """
    with _opened(path) as (header, _):
        return header


def read_volume(path: Path) -> tuple[Image, Header]:
    """A volume as float32 (x, y, z) in the file's own axis order, rescaled as its header says.

    Raises:
        DataError: missing, damaged or truncated, four-dimensional, too large, without orientation, or not real numbers.
    """
    channels, header = read_channels(path)
    if header.channels != 1:
        raise _several(path, header)
    return channels[..., 0], header


def read_channels(path: Path) -> tuple[Image, Header]:
    """As `read_volume`, with all volumes of the file, as (x, y, z, channels)."""
    with _opened(path) as (header, slabs):
        volume = np.empty((*header.shape, header.channels), np.float32, order="F")
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large for float32 is found as infinite
            for channel, part, values in slabs:
                volume[:, :, part, channel] = values
    return volume, header


def read_labels(path: Path, label_map: Mapping[int, int], like: Header, *, trust: bool = False) -> Label:
    """A label volume as uint8 class indices through `label_map` (file's value to class), on the grid of its image.

    Args:
        path: the file.
        label_map: value to class, or to `IGNORED`.
        like: the header of its image. Labels that are stored flipped, with an affine that says so, are turned to it.
        trust: take the voxels for the image's, whatever the two headers say.

    Raises:
        DataError: as `read_volume`; another grid than the image's; values that are not whole or not in the map.
    """
    table = np.full(max(256, max(label_map, default=0) + 1), -1, np.int16)
    for value, index in label_map.items():
        table[value] = index
    kind = np.uint8 if table.size == 256 else np.uint32
    with _opened(path) as (header, slabs):
        if header.channels != 1:
            raise _several(path, header)
        turn = turn_onto(path, header, like, trust=trust)
        label = np.empty(header.shape, np.uint8, order="F")
        for _, part, values in slabs:
            with np.errstate(invalid="ignore"):  # NaN and infinity are found by the comparison
                whole = np.rint(values) if values.dtype.kind == "f" else values
                small = np.clip(whole, 0, table.size - 1).astype(kind)
                wrong = (small != whole) | (table[small] < 0)
                if whole is not values:
                    wrong |= np.abs(values - whole) > WHOLE
            if wrong.any():
                listed = ", ".join(f"{v:.9g}" for v in np.unique(np.asarray(values)[wrong])[:8])
                raise DataError(f"{path}: label values {listed} are not expected; expected {sorted(label_map)}")
            label[..., part] = table[small]
    return turned(label, turn)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Header, Slabs]]:
    """The header and the voxels of a volume, by the reader of its format."""
    with (opener_of(path) or open_nifti)(path) as opened:
        yield opened


def _several(path: Path, header: Header) -> DataError:
    shape = times((*header.shape, header.channels))
    return ChannelsError(
        f"{path}: a volume of shape {shape}; expected three axes. Store one volume per file, or set options.channels = "
        f"{header.channels} for an image that holds all its channels",
        file=path,
        found=header.channels,
    )
