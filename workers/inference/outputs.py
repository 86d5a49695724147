"""Writing what was found in an image: label map, probabilities, overlay. Each file is whole or not there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np

from workers.datasets.intake import Raw
from workers.datasets.preprocessing import Affine
from workers.files import atomic_write
from workers.inference.applying import Predicted, prepared_case
from workers.scoring.native import save_mask
from workers.scoring.overlays import labels_png


def mask_name(stem: str, *, volume: bool) -> str:
    """The file of an image's label map."""
    return stem + (".nii.gz" if volume else ".png")


def probabilities_name(stem: str, *, volume: bool) -> str:
    """The file of its probabilities."""
    return stem + (".probabilities.nii.gz" if volume else ".probabilities.npy")


def overlay_name(stem: str) -> str:
    """The picture of its label map over it."""
    return stem + ".overlay.png"


def write_outputs(
    folder: Path, stem: str, raw: Raw, found: Predicted, classes: Sequence[str], *, overlay: bool
) -> None:
    """Writes what was found. The label map comes last: where it is, all is.

    Args:
        folder: where to; made where missing.
        stem: the files' common name, which may lead into a folder below.
        raw: the image, as it was read.
        found: in it.
        classes: names by index.
        overlay: whether a picture is wanted.
    """
    volume = found.affine is not None
    if found.probabilities is not None:
        path = folder / probabilities_name(stem, volume=volume)
        if found.affine is not None:
            with _renamed(path) as beside:
                nibabel.save(_nifti(found.probabilities, found.affine), beside)
        else:
            with atomic_write(path) as file:
                np.save(file, found.probabilities)
    if overlay:
        png = labels_png(raw.image, found.labels, classes, spacing=raw.spacing, truth=raw.label)
        with atomic_write(folder / overlay_name(stem)) as file:
            file.write(png)
    shape = found.labels.shape
    with _renamed(folder / mask_name(stem, volume=volume)) as beside:
        save_mask(found.labels, beside, prepared_case(stem, shape, shape, raw.spacing, found.affine))


def _nifti(values: np.ndarray, affine: Affine) -> nibabel.Nifti1Image:
    image = nibabel.Nifti1Image(values, affine)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    return image


@contextmanager
def _renamed(path: Path) -> Iterator[Path]:
    """A path beside, with the same ending, that takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
