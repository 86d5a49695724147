"""From a case as its files hold it to the grid that networks see: orientation, clipping, resampling, z-score.

Pure functions on arrays. Yeung et al. (2022), section 3.1: 2D images are resized; KiTS19 is clipped to [−79, 304] HU
and resampled to 3.22 × 1.62 × 1.62 mm; every image is normalised by its own z-score. Volumes become (z, y, x) here,
slices first, pointing to superior, anterior and right: a spacing or patch such as 80×160×160 means the same axes for
every file. `workers.scoring.native` brings predictions back.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, cast, get_args

import numpy as np
import numpy.typing as npt
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from workers.errors import DataError, ParameterError

Image = npt.NDArray[np.float32]
Label = npt.NDArray[np.uint8]
"""Class indices; `IGNORED` where a pixel counts for nothing."""
Affine = npt.NDArray[np.float64]
Scalar = TypeVar("Scalar", bound=np.generic)
Value = TypeVar("Value")

MaskResampling = Literal["nearest", "area"]

IGNORED = 255
"""In a label, a pixel that enters neither loss nor score. No class has this index: there are at most 255 classes."""

Window = tuple[float, float]
"""Lowest and highest intensity."""

Clip = Window | tuple[Window | tuple[()], ...]
"""A window for the whole image, or one for each channel; an empty one leaves its channel as it is."""

WHOLE = 1e-3
"""So far from a whole number a mask's value may be stored, as 0.9999999 is by programs that scale."""

CANONICAL_AXES = ("S", "A", "R")
"""Direction in which each axis of a prepared volume grows; slices come first."""

_SLAB_VALUES = 1 << 24
"""Values worked on at once while resampling and normalising: 64 MiB of float32."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What is done to each image of a data set; JSON by `to_dict`, and part of the prepared data's key.

    Attributes:
        size: height and width in pixels to which 2D images are resized, None to keep them.
        spacing: voxel size in mm (z, y, x) to which volumes are resampled, None to keep it.
        clip: lowest and highest intensity (Hounsfield units in CT), applied before resampling, or such a pair for each
            channel; None for none.
        order: spline order of intensity interpolation, 3 cubic or 1 linear.
        mask_resampling: how masks follow: "nearest" neighbour, or by "area", so that small structures survive.
        channelwise: the channels are images of their own, such as MR sequences, and each has its own z-score.

    Raises:
        ParameterError: a value outside its range.
    """

    size: tuple[int, int] | None = None
    spacing: tuple[float, float, float] | None = None
    clip: Clip | None = None
    order: Literal[1, 3] = 3
    mask_resampling: MaskResampling = "nearest"
    channelwise: bool = False

    def __post_init__(self) -> None:
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ParameterError(f"size = {list(self.size)}: give height and width in pixels, such as [128, 128]")
        if self.spacing is not None and (len(self.spacing) != 3 or not all(0 < step < np.inf for step in self.spacing)):
            raise ParameterError(f"spacing = {list(self.spacing)}: give three voxel sizes in mm (z, y, x), all above 0")
        if self.clip is not None and not all(len(w) == 2 and w[0] < w[1] for w in _windows(self.clip) if w):
            raise ParameterError(
                f"clip = {json.dumps(self.clip)}: give [lowest, highest] with lowest below highest, or such a pair for "
                "each image"
            )
        if self.order not in (1, 3):
            raise ParameterError(f"order = {self.order}: 1 (linear) or 3 (cubic)")
        if self.mask_resampling not in get_args(MaskResampling):
            raise ParameterError(f"mask_resampling = {self.mask_resampling!r}: 'nearest' or 'area'")

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return dataclasses.asdict(self)


class ConstantImageError(DataError):
    """Every value of an image (or of one of its channels) is the same, so that it holds nothing."""

    def __init__(self, where: str, value: float) -> None:
        self.reason = f"every value of the image is {value:g}"
        super().__init__(f"{where}: {self.reason}, so it holds nothing; fix or exclude the case")


def clip_of(value: object) -> Clip | None:
    """`[lowest, highest]`, or a list with such a pair (or an empty one) for each image, as it comes from a grid.

    Raises:
        ValueError: neither.
    """
    if value is None:
        return None
    entries = list(value) if isinstance(value, list | tuple) else [value]
    pairs = [list(one) for one in entries if isinstance(one, list | tuple)]
    if pairs and len(pairs) == len(entries):
        return cast(Clip, tuple(_numbers(one) for one in pairs))
    return cast(Clip, _numbers(entries))


def single_window(clip: Clip | None) -> Window | None:
    """The window that all channels share; None where there is none, or each channel has its own."""
    return clip if clip and not isinstance(clip[0], tuple) else None


def check_clip(clip: Clip | None, channels: int) -> None:
    """Refuses one window for channels that are images of their own: what is right for CT cuts PET.

    Raises:
        ParameterError: it is one for several.
    """
    if channels > 1 and single_window(clip) is not None:
        given = json.dumps(clip)
        raise ParameterError(
            f"clip = {given} with {channels} images: give a pair for each, such as "
            f"[{given}{', []' * (channels - 1)}]; an empty one leaves its image as it is"
        )


def _windows(clip: Clip) -> tuple[Window | tuple[()], ...]:
    """The window of each channel; a single one where all channels share it."""
    single = single_window(clip)
    return cast(tuple[Window | tuple[()], ...], clip) if single is None else (single,)


def _numbers(values: Sequence[object]) -> tuple[float, ...]:
    numbers = [float(one) for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) != len(values):
        raise ValueError("give [lowest, highest], or such a pair for each image")
    return tuple(numbers)


@dataclass(frozen=True, slots=True)
class Preprocessed:
    """A case on the network's grid: `image` float32 (*spatial, channels), `label` uint8 (*spatial), `spacing` per
    axis."""

    image: Image
    label: Label
    spacing: tuple[float, ...]


def preprocess(
    image: Image,
    label: Label,
    spacing: Sequence[float],
    affine: Affine | None,
    settings: Preprocessing,
    *,
    where: str = "image",
    channels: Sequence[str] = (),
    part: bool = False,
) -> Preprocessed:
    """Orients, clips, resamples and normalises one case.

    Args:
        image: (*spatial, channels), overwritten where that saves a copy.
        label: class indices (*spatial).
        spacing: size of a voxel along each axis of `image`, in mm (1 for plain images).
        affine: voxel index to mm (RAS+), or None for images without one, which keep their axes.
        settings: what to do.
        where: the file, for messages.
        channels: the file of each channel, where channels have files of their own.
        part: it is a slice or block. A channel in which nothing is to be seen becomes 0 there, as long as another one
            shows something.

    Raises:
        ConstantImageError: all values are the same, those of a channel too where channels are normalised apart.
        DataError: shapes differ, a value is not finite, or `clip` is for another number of channels.
    """
    if image.shape[:-1] != label.shape:
        raise DataError(
            f"{where}: the image has shape {times(image.shape[:-1])} and its mask {times(label.shape)}; "
            "they must cover the same pixels. Fix or exclude the case"
        )
    if affine is not None:
        image, label = to_canonical(image, affine), to_canonical(label, affine)
        spacing = canonical_order(spacing, affine)
    spacing = tuple(float(s) for s in spacing)
    _check_finite(image, where)
    if settings.clip is not None:
        _clip(image, settings.clip, where)
    if label.ndim == 2 and settings.size is not None:
        image, label = resize(image, label, settings.size, settings.order, settings.mask_resampling)
    elif label.ndim == 3 and settings.spacing is not None:
        shape = resampled_shape(label.shape, spacing, settings.spacing)
        steps = tuple(t / s for t, s in zip(settings.spacing, spacing, strict=True))
        resampled = [resample(image[..., c], shape, steps, settings.order) for c in range(image.shape[-1])]
        label = resample_mask(label, shape, steps, settings.mask_resampling)
        image, spacing = np.stack(resampled, axis=-1), settings.spacing
    if settings.channelwise and image.shape[-1] > 1:
        names = channels or [f"{where} (channel {c + 1})" for c in range(image.shape[-1])]
        image = z_score_each(image, names, where if part else None)
    else:
        image = z_score(image, where)
    return Preprocessed(image, np.ascontiguousarray(label), spacing)


def _clip(image: Image, clip: Clip, where: str) -> None:
    """Limits the values of an image to the window, or each channel to its own."""
    single = single_window(clip)
    if single is not None:
        np.clip(image, *single, out=image)
        return
    windows = _windows(clip)
    if len(windows) != image.shape[-1]:
        raise DataError(
            f"{where}: the image has {image.shape[-1]} channels, and clip has {len(windows)} pairs; give one for each"
        )
    for channel, window in enumerate(windows):
        if window:
            np.clip(image[..., channel], *window, out=image[..., channel])


def z_score_each(image: Image, names: Sequence[str], whole: str | None = None) -> Image:
    """The `z_score` of each channel by itself; C-contiguous float32.

    Args:
        image: (*spatial, channels).
        names: of the channels, for messages.
        whole: the name of the whole image where constant channels become 0, unless all are; None: none may be.

    Raises:
        ConstantImageError: a channel (or all of them) has one value alone.
    """
    image = np.ascontiguousarray(image)
    constant: list[ConstantImageError] = []
    for channel, name in enumerate(names):
        try:
            image[..., channel] = z_score(image[..., channel], name)
        except ConstantImageError as error:
            if whole is None:
                raise
            constant.append(error)
            image[..., channel] = 0
    if constant and len(constant) == len(names):
        raise constant[0]
    return image


def z_score(image: Image, where: str = "image") -> Image:
    """(image − mean) / standard deviation, both over all voxels and channels; C-contiguous float32.

    Raises:
        ConstantImageError: every value is the same; the standard deviation would be 0.
    """
    image = np.ascontiguousarray(image)
    flat = image.reshape(-1)
    slabs = [flat[i : i + _SLAB_VALUES] for i in range(0, flat.size, _SLAB_VALUES)]
    mean = sum(float(s.sum(dtype=np.float64)) for s in slabs) / flat.size
    room = np.empty(min(flat.size, _SLAB_VALUES))  # one for all slabs: fresh memory costs more than the arithmetic
    variance = sum(_squares(s, mean, room[: s.size]) for s in slabs) / flat.size
    # A constant image leaves rounding noise of the size of a float32's last digit of its mean.
    if variance <= (abs(mean) * 1e-6) ** 2:
        raise ConstantImageError(where, mean)
    deviation = variance**0.5
    for slab in slabs:
        slab -= np.float32(mean)
        slab /= np.float32(deviation)
    return image


def _squares(values: Image, mean: float, room: npt.NDArray[np.float64]) -> float:
    """The sum of the squared differences from the mean; `room` is overwritten."""
    np.subtract(values, mean, out=room, dtype=np.float64)
    return float(np.square(room, out=room).sum())


def resize(
    image: Image, label: Label, size: tuple[int, int], order: int, mask_resampling: MaskResampling = "nearest"
) -> tuple[Image, Label]:
    """Resize a 2D image (h, w, c) with anti-aliasing and its label (h, w) as `mask_resampling` says to `size`."""
    if label.shape == size:
        return image, label
    from skimage.transform import resize as skimage_resize  # 0.3 s to import, only needed while preparing

    resized: Image = skimage_resize(image, size, order=order, mode="symmetric", anti_aliasing=True, preserve_range=True)
    steps = tuple(n / m for n, m in zip(label.shape, size, strict=True))
    return resized.astype(np.float32), resample_mask(label, size, steps, mask_resampling)


def resampled_shape(shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]) -> tuple[int, ...]:
    """Number of voxels of size `target` that cover the extent, rounded half up, at least 1."""
    return tuple(max(1, int(n * s / t + 0.5)) for n, s, t in zip(shape, spacing, target, strict=True))


def sample_positions(n: int, m: int, step: float) -> npt.NDArray[np.float64]:
    """Where m new samples, `step` old voxels apart, lie among n old ones when both grids share their centre.

    With step = n / m this is the usual pixel-edge alignment of image resizing.
    """
    positions: npt.NDArray[np.float64] = (np.arange(m, dtype=np.float64) - (m - 1) / 2) * step + (n - 1) / 2
    return positions


def resample(volume: Image, shape: Sequence[int], steps: Sequence[float], order: int) -> Image:
    """Interpolate a volume by splines onto `shape`, new voxels `steps` old ones apart (see `sample_positions`).

    The interpolation is separable, so that it is one matrix product per axis; work goes in slabs, with less than 200
    MiB beside input and output. The cubic spline has zero slope at the border, as SciPy's `mode="mirror"` has.
    """
    # The axis that shrinks most goes first: the others then have less to do.
    for axis in sorted(range(volume.ndim), key=lambda a: shape[a] / volume.shape[a]):
        n, m, step = volume.shape[axis], shape[axis], steps[axis]
        if n == m and step == 1:
            continue
        matrix = _interpolation_matrix(n, m, step, order)
        other = 0 if axis else 1
        out = np.empty((*volume.shape[:axis], m, *volume.shape[axis + 1 :]), np.float32)
        chunk = max(1, _SLAB_VALUES * volume.shape[other] // volume.size)
        source, target = np.moveaxis(volume, (axis, other), (0, 1)), np.moveaxis(out, (axis, other), (0, 1))
        for i in range(0, volume.shape[other], chunk):
            slab = np.ascontiguousarray(source[:, i : i + chunk])
            target[:, i : i + chunk] = (matrix @ slab.reshape(n, -1)).reshape(m, *slab.shape[1:])
        volume = out
    return volume


def resample_label(label: Label, shape: Sequence[int], steps: Sequence[float]) -> Label:
    """Nearest-neighbour counterpart of `resample` for class indices, in any number of dimensions."""
    indices = []
    for n, m, step in zip(label.shape, shape, steps, strict=True):
        nearest = np.floor(sample_positions(n, m, step) + 0.5)
        indices.append(np.clip(nearest, 0, n - 1).astype(np.intp))
    return label[np.ix_(*indices)]


def resample_mask(label: Label, shape: Sequence[int], steps: Sequence[float], how: MaskResampling) -> Label:
    """Class indices on another grid, by nearest neighbour or by area."""
    return resample_label(label, shape, steps) if how == "nearest" else resample_label_by_area(label, shape, steps)


def resample_label_by_area(label: Label, shape: Sequence[int], steps: Sequence[float]) -> Label:
    """`resample_label`, but a new voxel gets the class that covers most of it, and no structure vanishes.

    Of equal shares the lower class wins. A connected structure (diagonals connect) of which no new voxel would be left
    gets the one that it covers most; one that another such structure got is not taken from it.
    """
    from scipy import ndimage  # only needed while preparing

    weights = [_area_matrix(n, m, step) for n, m, step in zip(label.shape, shape, steps, strict=True)]
    classes = [int(index) for index in np.unique(label)]
    most = _shares(label == classes[0], weights)
    result = np.full(tuple(shape), classes[0], np.uint8)
    for index in classes[1:]:
        share = _shares(label == index, weights)
        larger = share > most
        result[larger], most[larger] = index, share[larger]
    kept = np.zeros(result.shape, np.bool_)
    for index in (one for one in classes if 0 < one < IGNORED):
        parts, _ = ndimage.label(label == index, structure=np.ones((3,) * label.ndim))
        for number, box in enumerate(ndimage.find_objects(parts), start=1):
            touched = [np.flatnonzero(matrix[:, part].any(axis=1)) for matrix, part in zip(weights, box, strict=True)]
            place = np.ix_(*touched)
            own = [matrix[rows][:, part] for matrix, rows, part in zip(weights, touched, box, strict=True)]
            share = _shares(parts[box] == number, own)
            if ((result[place] == index) & (share > 0)).any():
                continue
            free = np.where(kept[place], 0, share)
            if free.size and free.max() > 0:
                best = np.unravel_index(int(free.argmax()), free.shape)
                voxel = tuple(int(rows[i]) for rows, i in zip(touched, best, strict=True))
                result[voxel], kept[voxel] = index, True
    return result


def _area_matrix(n: int, m: int, step: float) -> npt.NDArray[np.float32]:
    """(m, n) matrix: the share of each new voxel along an axis that each old one covers (see `sample_positions`)."""
    centre, old = sample_positions(n, m, step)[:, np.newaxis], np.arange(n)
    covered = np.minimum(centre + step / 2, old + 0.5) - np.maximum(centre - step / 2, old - 0.5)
    return np.asarray(np.clip(covered, 0, None) / step, np.float32)


def _shares(mask: npt.NDArray[np.bool_], weights: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """The share of each new voxel that a mask covers."""
    shares: npt.NDArray[np.float32] = mask.astype(np.float32)
    for axis, matrix in enumerate(weights):
        shares = np.moveaxis(np.tensordot(matrix, shares, axes=(1, axis)), 0, axis)
    return shares


def to_canonical(array: npt.NDArray[Scalar], affine: Affine) -> npt.NDArray[Scalar]:
    """A view of `array` with its three first axes turned to `CANONICAL_AXES`."""
    turned: npt.NDArray[Scalar] = apply_orientation(array, _to_canonical(affine))
    return turned


def from_canonical(array: npt.NDArray[Scalar], affine: Affine) -> npt.NDArray[Scalar]:
    """The inverse of `to_canonical`, given the original affine."""
    there = io_orientation(affine)
    back = ornt_transform(axcodes2ornt(CANONICAL_AXES), there)
    turned: npt.NDArray[Scalar] = apply_orientation(array, back)
    return turned


def canonical_order(values: Sequence[Value], affine: Affine) -> tuple[Value, ...]:
    """Per-axis values (shape, spacing) of the original array in the order of `CANONICAL_AXES`."""
    placed = {int(target): value for value, target in zip(values, _to_canonical(affine)[:, 0], strict=True)}
    return tuple(placed[axis] for axis in range(3))


def canonical_affine(shape: Sequence[int], affine: Affine) -> Affine:
    """Affine of `to_canonical(array, affine)` for an array of `shape`."""
    turned: Affine = affine @ inv_ornt_aff(_to_canonical(affine), shape)
    return turned


def _to_canonical(affine: Affine) -> npt.NDArray[np.float64]:
    canonical = axcodes2ornt(CANONICAL_AXES)
    turn: npt.NDArray[np.float64] = ornt_transform(io_orientation(affine), canonical)
    return turn


def _interpolation_matrix(n: int, m: int, step: float, order: int) -> npt.NDArray[np.float32]:
    """(m, n) matrix that takes n samples to the m of `sample_positions`; beyond the border the last sample repeats."""
    if n == 1:
        return np.ones((m, 1), np.float32)
    from scipy.interpolate import make_interp_spline  # 0.25 s to import, only needed while preparing

    positions = np.clip(sample_positions(n, m, step), 0, n - 1)
    if order == 1 or n < 4:  # a cubic needs four samples
        spline = make_interp_spline(np.arange(n), np.eye(n), k=1)
    else:
        spline = make_interp_spline(np.arange(n), np.eye(n), k=3, bc_type="clamped")
    return np.asarray(spline(positions), np.float32)


def _check_finite(image: Image, where: str) -> None:
    # Extremes carry NaN and infinity, and need no second array of the size of a CT.
    if not (np.isfinite(image.min()) and np.isfinite(image.max())):
        bad = int(np.count_nonzero(~np.isfinite(image)))
        raise DataError(f"{where}: {bad} of {image.size} values are NaN or infinite; fix or exclude the case")


def times(shape: Sequence[int]) -> str:
    """A shape in words: 512×512."""
    return "×".join(str(n) for n in shape)
