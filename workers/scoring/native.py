"""Between the prepared grid and the grid of the source file: predictions back, and masks from elsewhere in.

A prediction is made on the prepared grid (canonical axes, resampled). `to_original` brings it to the source file's
own voxels and axis order, and `save_mask` writes it with the source's affine, so that any viewer shows it on the
image. `read_mask` and `to_prepared` go the other way, so that masks made elsewhere get the same scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from nibabel.affines import voxel_sizes
from PIL import Image as PillowImage

from workers.datasets.folder import PreparedCase, PreparedDataset
from workers.datasets.grids import OtherGridError, make_header
from workers.datasets.images import read_binary_mask, read_class_mask
from workers.datasets.preprocessing import (
    Affine,
    Label,
    MaskResampling,
    canonical_order,
    from_canonical,
    resample_label,
    resample_mask,
    to_canonical,
)
from workers.datasets.regions import belongs
from workers.datasets.volumes import read_header, read_labels
from workers.errors import DataError


def to_original(prediction: Label, case: PreparedCase) -> Label:
    """Class indices on the prepared grid brought to the case's original grid by nearest neighbour.

    Args:
        prediction: uint8 of `case.shape`.
        case: from `PreparedDataset.case`.

    Returns:
        uint8 of `case.original_shape`, in the source file's own axis order.

    Raises:
        DataError: the prediction has another shape.
    """
    _check_shape("the prediction", prediction.shape, case.shape, case)
    label = resample_label(prediction, _canonical_shape(case), tuple(1 / step for step in steps_of(case)))
    return label if case.affine is None else np.ascontiguousarray(from_canonical(label, _affine(case)))


def to_prepared(mask: Label, case: PreparedCase, how: MaskResampling = "nearest") -> Label:
    """Class indices on the original grid brought to the prepared grid, exactly as the truth was.

    Args:
        mask: uint8 of `case.original_shape`.
        case: from `PreparedDataset.case`.
        how: `PreparedDataset.mask_resampling`, unless it is no mask of classes.

    Raises:
        DataError: the mask has another shape than the original.
    """
    _check_shape("the mask", mask.shape, case.original_shape, case)
    if case.affine is not None:
        mask = to_canonical(mask, _affine(case))
    return np.ascontiguousarray(resample_mask(mask, case.shape, steps_of(case), how))


def save_mask(mask: Label, path: Path, case: PreparedCase) -> None:
    """Write class indices on the original grid: NIfTI for volumes (.nii, .nii.gz), PNG for images.

    The NIfTI header holds shape, type and the original affine (as sform and qform), and no text.

    Raises:
        DataError: another shape than the original, or a file name that does not fit.
    """
    _check_shape("the mask", mask.shape, case.original_shape, case)
    volume = path.name.endswith((".nii", ".nii.gz"))
    if volume != (case.affine is not None) or not (volume or path.suffix == ".png"):
        raise DataError(f"{path}: volumes are saved as .nii or .nii.gz, images as .png")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not volume:
        PillowImage.fromarray(mask).save(path)
        return
    image = nibabel.Nifti1Image(mask, _affine(case))
    image.set_sform(_affine(case), code="scanner")
    image.set_qform(_affine(case), code="scanner")
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def save_regions(mask: Label, folder: Path, case: PreparedCase, prepared: PreparedDataset) -> list[Path]:
    """Writes each nested region as a binary mask of its own, 0 and 1: `CASE.REGION.nii.gz`, or `.png` for images.

    Args:
        mask: class indices on the original grid, as `save_mask` takes them.
        folder: where to.
        case: from `PreparedDataset.case`.
        prepared: the data set with the regions.

    Returns:
        The files, in the order of the classes.

    Raises:
        DataError: the data set has no regions, or the mask another shape than the original.
    """
    if not prepared.members:
        raise DataError(f"data set {prepared.name!r} has no nested regions; save_mask writes its classes")
    ending = ".png" if case.affine is None else ".nii.gz"
    paths = []
    for index, region in enumerate(prepared.classes[1:], start=1):
        paths.append(folder / f"{case.id}.{region}{ending}")
        save_mask(belongs(mask, index, prepared.members).astype(np.uint8), paths[-1], case)
    return paths


def read_mask(path: Path, like: PreparedCase, classes: Sequence[str]) -> Label:
    """A mask made elsewhere, as class indices on the case's original grid.

    A NIfTI mask may have its axes in another order or direction, as long as its voxels are the image's.

    Args:
        path: NIfTI with class indices; or an image with class indices, or 0 and 255 for two classes.
        like: the case that it belongs to.
        classes: class names by index.

    Raises:
        DataError: unreadable, another grid, or a value that is no class.
    """
    indices = {index: index for index in range(len(classes))}
    if like.affine is None:
        mask = read_binary_mask(path) if len(classes) == 2 else read_class_mask(path, indices)
        _check_shape(str(path), mask.shape, like.original_shape, like)
        return mask
    try:
        return np.ascontiguousarray(read_labels(path, indices, make_header(like.original_shape, _affine(like))))
    except OtherGridError as error:
        raise DataError(
            f"{path}: its voxels (shape {read_header(path).shape}) are not those of case {like.id!r} "
            f"(shape {like.original_shape}); bring it to the grid of the source image"
        ) from error


def _affine(case: PreparedCase) -> Affine:
    return np.asarray(case.affine, np.float64)


def _canonical_shape(case: PreparedCase) -> tuple[int, ...]:
    """The original shape in the prepared axes' order."""
    return case.original_shape if case.affine is None else canonical_order(case.original_shape, _affine(case))


def steps_of(case: PreparedCase) -> tuple[float, ...]:
    """Size of a prepared voxel in original ones, per prepared axis."""
    if case.affine is None:
        return tuple(n / m for n, m in zip(case.original_shape, case.shape, strict=True))
    original = canonical_order(voxel_sizes(_affine(case)), _affine(case))
    return tuple(prepared / size for prepared, size in zip(case.spacing, original, strict=True))


def _check_shape(what: str, shape: tuple[int, ...], expected: tuple[int, ...], case: PreparedCase) -> None:
    if shape != expected:
        raise DataError(f"{what} of case {case.id!r} has shape {shape}, expected {expected}")
