"""How much of the disk a data set takes once it is prepared, from the headers of some of its files."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

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


def _case_bytes(reader: Reader, case: CaseFiles) -> float:
    channels = len(case.images) if reader.dimensions == 3 else int(getattr(reader, "channels", 3))
    if reader.size is not None:
        return math.prod(reader.size) * (4 * channels + 1)
    try:
        if case.label.name.endswith((".nii", ".nii.gz")):
            header = read_header(case.label)
            voxels = float(math.prod(header.shape if reader.dimensions == 3 else sorted(header.shape)[1:]))
            if reader.spacing is not None:
                voxels *= math.prod(header.spacing) / math.prod(reader.spacing)
        else:
            with Image.open(case.label) as image:
                voxels = float(math.prod(image.size))
    except (DataError, OSError):
        return 0.0
    return voxels * (4 * channels + 1)
