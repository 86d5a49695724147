"""How much of the disk a data set takes once it is prepared, from the headers of some of its files."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

from workers.datasets.formats import tag_in_header
from workers.datasets.nifti_folder import NiftiFolder
from workers.datasets.picture_headers import ON_ITS_SIDE
from workers.datasets.reader import CaseFiles, Reader
from workers.datasets.volumes import read_header
from workers.errors import DataError

SAMPLE = 20
"""Headers that are read, evenly over the cases."""


def prepared_bytes(reader: Reader, cases: Sequence[CaseFiles]) -> int:
    """About how many bytes the cases take: float32 images and uint8 labels on the network's grid.

    A file that cannot be read counts as the others do: the preparation reports it.
    """
    sizes = [size for case in cases[:: max(len(cases) // SAMPLE, 1)] if (size := _case_bytes(reader, case))]
    return round(len(cases) * sum(sizes) / len(sizes)) if sizes else 0


def known_shape(reader: Reader, case: CaseFiles) -> tuple[int, ...] | None:
    """Height and width of a picture as it will be prepared, by its header; None where a header does not tell."""
    if reader.dimensions == 3 or reader.size is not None or case.part:
        return None
    try:
        with Image.open(case.images[0]) as image:
            on_its_side = reader.turns and tag_in_header(image) >= ON_ITS_SIDE
            return image.size if on_its_side else image.size[::-1]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # the reader says what is wrong with it


def _case_bytes(reader: Reader, case: CaseFiles) -> float:
    try:
        if reader.dimensions == 3 or isinstance(reader, NiftiFolder):
            channels = sum(read_header(path).channels for path in case.images)
        else:
            channels = int(getattr(reader, "channels", 3))
        voxels = float(math.prod(reader.size)) if reader.size is not None else _voxels(reader, case)
    except (DataError, OSError):
        return 0.0
    return voxels * (4 * channels + 1)


def _voxels(reader: Reader, case: CaseFiles) -> float:
    if reader.dimensions == 3 or isinstance(reader, NiftiFolder):
        header = read_header(case.label)
        voxels = float(math.prod(header.shape if reader.dimensions == 3 else sorted(header.shape)[1:]))
        return voxels if reader.spacing is None else voxels * math.prod(header.spacing) / math.prod(reader.spacing)
    with Image.open(case.label) as image:
        return float(math.prod(image.size))
