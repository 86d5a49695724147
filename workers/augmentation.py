"""The paper's on-the-fly augmentation, by batchgenerators: a pure function of sample, seed and settings.

Scaling 0.85–1.25, rotation ±15°, elastic deformation (α 0–900, σ 9–13), mirroring on the vertical and on the horizontal
axis, brightness ×0.5–2: six transforms, each applied with its own probability (section 3.2). What the paper leaves
open follows MIScnn, the library that it used: cubic interpolation of images, nearest of masks; outside the image there
is 0 (after z-score the image's mean) and background; one scale for all axes; one brightness factor per channel, applied
to the z-scored values; in 3D a rotation about every axis.

Our choices: the vertical and the horizontal axis are the last two, so that volumes, too, are mirrored within their
slices and never along the slice axis; each of the two has its own dice. (batchgenerators' MirrorTransform tosses a
second coin per axis, which would halve the paper's probability.)
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from batchgenerators.transforms.color_transforms import BrightnessMultiplicativeTransform
from batchgenerators.transforms.spatial_transforms import SpatialTransform

from workers.errors import ParameterError
from workers.spec import TrainingSpec

SCALE = (0.85, 1.25)
ANGLE = (-math.radians(15), math.radians(15))
ELASTIC_ALPHA = (0.0, 900.0)
ELASTIC_SIGMA = (9.0, 13.0)
BRIGHTNESS = (0.5, 2.0)

_ELASTIC_DEVIATIONS = 5  # a displacement beyond five standard deviations is not worth a wider margin
_SPLINE_MARGIN = 6  # voxels: a cubic spline reaches 2, and its prefilter forgets by 0.27 a voxel

_GLOBAL_GENERATOR = threading.Lock()


@dataclass(frozen=True, slots=True)
class Transforms:
    """Which of the six transforms a sample gets."""

    scaling: bool
    rotation: bool
    elastic: bool
    mirror_vertical: bool
    mirror_horizontal: bool
    brightness: bool

    @property
    def spatial(self) -> bool:
        """Whether the sample is interpolated, so that it needs a margin around its patch."""
        return self.scaling or self.rotation or self.elastic


def choose(sequence: np.random.SeedSequence, settings: TrainingSpec) -> Transforms:
    """The transforms that `augment` applies for this seed: one dice each, at `settings.augmentation_probability`.

    Raises:
        ParameterError: the probability is not in [0, 1].
    """
    probability = settings.augmentation_probability
    if not 0 <= probability <= 1:
        raise ParameterError(f"augmentation_probability is {probability}; it must be from 0 to 1")
    return Transforms(*(bool(dice < probability) for dice in _generator(sequence).random(6)))


def margin(transforms: Transforms, size: Sequence[int]) -> tuple[int, ...]:
    """Voxels around a patch of `size` (2D or 3D) which the strongest spatial transform of the chosen kinds reaches.

    Zero for each axis where no spatial transform is chosen.
    """
    dimensions = len(size)
    if not transforms.spatial:
        return (0,) * dimensions
    half = (np.asarray(size, dtype=np.float64) - 1) / 2
    reach = half.copy()
    if transforms.elastic:
        # Uniform noise on ±1 after a Gaussian filter: variance 1/3 times the filter's squared norm.
        deviation = math.sqrt(1 / 3) * (2 * ELASTIC_SIGMA[0] * math.sqrt(math.pi)) ** (-dimensions / 2)
        reach += _ELASTIC_DEVIATIONS * ELASTIC_ALPHA[1] * deviation
    if transforms.rotation:
        reach = _rotation_reach(dimensions) @ reach
    if transforms.scaling:
        reach *= SCALE[1]
    return tuple(int(m) for m in np.ceil(reach - half) + _SPLINE_MARGIN)


def augment(
    image: np.ndarray,
    label: np.ndarray,
    sequence: np.random.SeedSequence,
    settings: TrainingSpec,
    *,
    size: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """One sample after the transforms that its seed chooses.

    Args:
        image: float32 (*spatial, channels), z-scored; not changed.
        label: uint8 (*spatial); not changed. It gets the image's spatial transforms.
        sequence: the only source of randomness.
        settings: gives the probability and the kind of the spatial transform.
        size: spatial size of the result, taken from the middle; None keeps the image's. To get a patch as it would come
            from the middle of the whole volume, give the patch with its `margin` and the patch's size here.

    Returns:
        New arrays: image float32 (*size, channels) and label uint8 (*size).

    Raises:
        ParameterError: the probability is out of range, or the spatial transform is unknown.
    """
    if settings.spatial_transform != "batchgenerators":
        raise ParameterError(f"spatial_transform is {settings.spatial_transform!r}; known: batchgenerators")
    transforms = choose(sequence, settings)
    target = tuple(size) if size is not None else label.shape
    if not (transforms.spatial or transforms.brightness):
        return _mirrored(_middle(image, target), _middle(label, target), transforms)
    # batchgenerators' layout is (batch, channel, *spatial), and it wants a float mask.
    sample = {"data": np.moveaxis(image, -1, 0)[np.newaxis].astype(np.float32)}
    with _seeded(sequence):
        if transforms.spatial:
            sample["seg"] = label[np.newaxis, np.newaxis].astype(np.float32)
            sample = _spatial(transforms, target)(**sample)
            label = sample["seg"][0, 0].astype(np.uint8)
        if transforms.brightness:
            sample = BrightnessMultiplicativeTransform(BRIGHTNESS, per_channel=True, p_per_sample=1)(**sample)
    image = np.moveaxis(sample["data"][0], 0, -1)
    return _mirrored(_middle(image, target), _middle(label, target), transforms)


def _spatial(transforms: Transforms, size: tuple[int, ...]) -> SpatialTransform:
    return SpatialTransform(
        size,
        do_elastic_deform=transforms.elastic,
        alpha=ELASTIC_ALPHA,
        sigma=ELASTIC_SIGMA,
        do_rotation=transforms.rotation,
        angle_x=ANGLE,
        angle_y=ANGLE,
        angle_z=ANGLE,
        do_scale=transforms.scaling,
        scale=SCALE,
        border_mode_data="constant",
        border_cval_data=0,
        order_data=3,
        border_mode_seg="constant",
        border_cval_seg=0,
        order_seg=0,
        random_crop=False,
        p_el_per_sample=1,
        p_rot_per_sample=1,
        p_scale_per_sample=1,
        independent_scale_for_each_axis=False,
    )


def _rotation_reach(dimensions: int) -> np.ndarray:
    """Matrix that bounds the reach along each axis after a rotation by at most 15° about every axis."""
    cosine, sine = 1.0, math.sin(ANGLE[1])  # cos φ ≤ 1 and sin φ ≤ sin 15° over the whole range
    planes = [(0, 1)] if dimensions == 2 else [(1, 2), (0, 2), (0, 1)]
    bound = np.eye(dimensions)
    for first, second in planes:
        turn = np.eye(dimensions)
        turn[first, first] = turn[second, second] = cosine
        turn[first, second] = turn[second, first] = sine
        bound = turn @ bound
    return bound


def _middle(array: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    starts = [(n - s) // 2 for n, s in zip(array.shape, size, strict=False)]
    part: np.ndarray = np.asarray(array)[tuple(slice(a, a + s) for a, s in zip(starts, size, strict=True))]
    return part


def _mirrored(image: np.ndarray, label: np.ndarray, transforms: Transforms) -> tuple[np.ndarray, np.ndarray]:
    """Copies, flipped along the last two spatial axes as chosen."""
    vertical, horizontal = label.ndim - 2, label.ndim - 1
    chosen = ((vertical, transforms.mirror_vertical), (horizontal, transforms.mirror_horizontal))
    axes = tuple(axis for axis, on in chosen if on)
    return np.flip(image, axes).astype(np.float32, order="C"), np.flip(label, axes).astype(np.uint8, order="C")


def _generator(sequence: np.random.SeedSequence) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(sequence))


@contextmanager
def _seeded(sequence: np.random.SeedSequence) -> Iterator[None]:
    """numpy's global generator, which batchgenerators draws from, seeded by `sequence`; restored afterwards.

    The lock keeps threads that augment apart. Nothing else in a worker may draw from the global generator meanwhile.
    """
    with _GLOBAL_GENERATOR:
        state = np.random.get_state()
        np.random.seed(sequence.generate_state(8))
        try:
            yield
        finally:
            np.random.set_state(state)
