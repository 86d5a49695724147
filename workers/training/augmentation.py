"""The paper's on-the-fly augmentation, by batchgenerators: a pure function of sample, seed and settings.

Scaling 0.85–1.25, rotation ±15°, elastic deformation (α 0–900, σ 9–13), mirroring on the vertical and on the horizontal
axis, brightness ×0.5–2: six transforms, each applied with its own probability (section 3.2). What the paper leaves
open follows MIScnn, the library that it used: cubic interpolation of images, nearest of masks; outside the image there
is 0 (after z-score the image's mean) and background; one scale for all axes; one brightness factor per channel, applied
to the z-scored values; in 3D a rotation about every axis.

Our choices: the vertical and the horizontal axis are the last two, so that volumes, too, are mirrored within their
slices and never along the slice axis; each of the two has its own dice. (batchgenerators' MirrorTransform tosses a
second coin per axis, which would halve the paper's probability.) The setting `spatial_transform = "fast"` takes
`workers.training.fast_spatial` in place of batchgenerators' spatial transform.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from batchgenerators.augmentations.utils import rotate_coords_2d, rotate_coords_3d

from trials.spec import TrainingSpec
from workers.errors import ParameterError
from workers.training import fast_spatial
from workers.training.fast_spatial import rotation_matrix

SCALE = (0.85, 1.25)
ANGLE = (-math.radians(15), math.radians(15))
ELASTIC_ALPHA = (0.0, 900.0)
ELASTIC_SIGMA = (9.0, 13.0)
BRIGHTNESS = (0.5, 2.0)
SPATIAL_TRANSFORMS: tuple[str, ...] = ("batchgenerators", "fast")

_ELASTIC_DEVIATIONS = 5  # a displacement beyond five standard deviations is not worth a wider margin
_SPLINE_MARGIN = 6  # voxels: a cubic spline reaches 2, and its prefilter forgets by 0.27 a voxel

_FAST = 7  # spawn key that keeps the draws of the fast transform apart from those of the dice

_GLOBAL_GENERATOR = threading.Lock()


@dataclass(frozen=True, slots=True)
class Transforms:
    """Which of the six transforms a sample gets, and the parameters of those that decide how far they reach.

    `rotation` holds one angle per axis in radians (2D uses the first), `elastic` (α, σ); each is None where the dice
    said no.
    """

    scaling: bool
    rotation: tuple[float, float, float] | None
    elastic: tuple[float, float] | None
    mirror_vertical: bool
    mirror_horizontal: bool
    brightness: bool

    @property
    def spatial(self) -> bool:
        """Whether the sample is interpolated, so that it needs a margin around its patch."""
        return self.scaling or self.rotation is not None or self.elastic is not None


def choose(sequence: np.random.SeedSequence, settings: TrainingSpec) -> Transforms:
    """The transforms that `augment` applies for this seed: one dice each, at `settings.augmentation_probability`.

    Raises:
        ParameterError: the probability is not in [0, 1].
    """
    probability = settings.augmentation_probability
    if not 0 <= probability <= 1:
        raise ParameterError(f"augmentation_probability is {probability}; it must be from 0 to 1")
    generator = _generator(sequence)
    scaling, rotation, elastic, vertical, horizontal, brightness = (bool(d < probability) for d in generator.random(6))
    x, y, z = (float(angle) for angle in generator.uniform(*ANGLE, size=3))
    alpha, sigma = float(generator.uniform(*ELASTIC_ALPHA)), float(generator.uniform(*ELASTIC_SIGMA))
    return Transforms(
        scaling, (x, y, z) if rotation else None, (alpha, sigma) if elastic else None, vertical, horizontal, brightness
    )


def margin(transforms: Transforms, size: Sequence[int]) -> tuple[int, ...]:
    """Voxels around a patch of `size` (2D or 3D) which the chosen spatial transforms may reach.

    Zero for each axis where no spatial transform is chosen.
    """
    dimensions = len(size)
    if not transforms.spatial:
        return (0,) * dimensions
    half = (np.asarray(size, dtype=np.float64) - 1) / 2
    reach = half.copy()
    if transforms.elastic is not None:
        # Uniform noise on ±1 after a Gaussian filter: variance 1/3 times the filter's squared norm.
        alpha, sigma = transforms.elastic
        reach += _ELASTIC_DEVIATIONS * alpha * math.sqrt(1 / 3) * (2 * sigma * math.sqrt(math.pi)) ** (-dimensions / 2)
    if transforms.rotation is not None:
        reach = np.abs(rotation_matrix(dimensions, transforms.rotation)) @ reach
    if transforms.scaling:
        reach *= SCALE[1]
    return tuple(int(m) for m in np.maximum(np.ceil(reach - half), 0) + _SPLINE_MARGIN)


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
    moved, mask = augmented(image, label, sequence, settings, size=size)
    return _new(moved, image, np.float32), _new(mask, label, np.uint8)


def augmented(
    image: np.ndarray,
    label: np.ndarray,
    sequence: np.random.SeedSequence,
    settings: TrainingSpec,
    *,
    size: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """As `augment`, to be copied to where it is wanted: what no transform changes is a view of the given arrays."""
    if settings.spatial_transform not in SPATIAL_TRANSFORMS:
        known = ", ".join(SPATIAL_TRANSFORMS)
        raise ParameterError(f"spatial_transform is {settings.spatial_transform!r}; known: {known}")
    transforms = choose(sequence, settings)
    target = tuple(size) if size is not None else label.shape
    if transforms.spatial and settings.spatial_transform == "fast":
        image, label = _moved(image, label, _fast_coordinates(transforms, target, sequence), order=1)
        transforms = replace(transforms, scaling=False, rotation=None, elastic=None)
    if transforms.spatial or transforms.brightness:
        with _seeded(sequence):
            if transforms.spatial:
                image, label = _moved(image, label, _coordinates(transforms, target), order=3)
            if transforms.brightness:
                image = _brightened(image)
    return _mirrored(_middle(image, target), _middle(label, target), transforms)


def _moved(image: np.ndarray, label: np.ndarray, coordinates: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and label at coordinates (dimensions, *size) from their middle, by a spline of that order."""
    from workers.training.interpolation import at

    middle = ((np.asarray(label.shape, coordinates.dtype) - 1) / 2).reshape([-1] + [1] * label.ndim)
    # Turned coordinates are not in rows, and come into them by the way.
    out = coordinates if coordinates.flags.c_contiguous else np.empty(coordinates.shape, coordinates.dtype)
    return at(image, label, np.add(coordinates, middle, out=out), order)


def _coordinates(transforms: Transforms, size: tuple[int, ...]) -> np.ndarray:
    """Where each voxel comes from, from the middle: batchgenerators' SpatialTransform step by step and draw by draw.

    What `choose` has drawn already is skipped here, so that the rest is what SpatialTransform would draw.
    """
    coordinates = np.empty((len(size), *size))
    lines = [(np.arange(n) - (n - 1) / 2).reshape([-1] + [1] * (len(size) - 1 - a)) for a, n in enumerate(size)]
    if transforms.elastic is None:
        for component, line in zip(coordinates, lines, strict=True):
            component[...] = line
    else:
        np.random.random(3)  # dice, α, σ
        for component, line in zip(coordinates, lines, strict=True):
            _deform(component, *transforms.elastic)
            component += line
    if transforms.rotation is not None:
        turns = 1 if len(size) == 2 else 3
        np.random.random(1 + 2 * turns)  # dice, and for each axis a dice and the angle
        turn = rotate_coords_2d if turns == 1 else rotate_coords_3d
        coordinates = turn(coordinates, *transforms.rotation[:turns])
    if transforms.scaling:
        np.random.random()  # dice
        coordinates *= _scale(np.random.random(), np.random.uniform)
    return coordinates


def _deform(field: np.ndarray, alpha: float, sigma: float) -> None:
    """Fills it with a component of batchgenerators' elastic deformation: uniform noise on ±1 under a Gaussian, times α.

    In place, because new memory for a volume costs as much as a step.
    """
    from workers.training.filters import smooth

    np.multiply(np.random.random(field.shape), 2, out=field)
    field -= 1
    smooth(field, sigma)
    field *= alpha


def _fast_coordinates(transforms: Transforms, size: tuple[int, ...], sequence: np.random.SeedSequence) -> np.ndarray:
    generator = _generator(np.random.SeedSequence(sequence.entropy, spawn_key=(*sequence.spawn_key, _FAST)))
    scale = _scale(generator.random(), generator.uniform)
    return fast_spatial.coordinates(
        size,
        generator,
        scale=scale if transforms.scaling else 1.0,
        angles=transforms.rotation,
        elastic=transforms.elastic,
    )


def _scale(side: float, uniform: Callable[[float, float], float]) -> float:
    """As batchgenerators: enlarging and shrinking equally often, although the range is not symmetric."""
    return float(uniform(SCALE[0], 1.0) if side < 0.5 else uniform(1.0, SCALE[1]))


def _brightened(image: np.ndarray) -> np.ndarray:
    """A new image, as batchgenerators' BrightnessMultiplicativeTransform for each channel makes and draws it."""
    np.random.uniform(size=2)  # dice, and a factor for all channels that is not used
    factors = np.array([np.random.uniform(*BRIGHTNESS) for _ in range(image.shape[-1])], np.float32)
    # Row by row: NumPy takes many times as long over an innermost axis of a few channels.
    rows = image.reshape(*image.shape[:-2], -1) * np.tile(factors, image.shape[-2])
    brightened: np.ndarray = rows.reshape(image.shape)
    return brightened


def _middle(array: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    starts = [(n - s) // 2 for n, s in zip(array.shape, size, strict=False)]
    part: np.ndarray = np.asarray(array)[tuple(slice(a, a + s) for a, s in zip(starts, size, strict=True))]
    return part


def _mirrored(image: np.ndarray, label: np.ndarray, transforms: Transforms) -> tuple[np.ndarray, np.ndarray]:
    """Views, flipped along the last two spatial axes as chosen."""
    vertical, horizontal = label.ndim - 2, label.ndim - 1
    chosen = ((vertical, transforms.mirror_vertical), (horizontal, transforms.mirror_horizontal))
    axes = tuple(axis for axis, on in chosen if on)
    return np.flip(image, axes), np.flip(label, axes)


def _new(array: np.ndarray, given: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    """The array in rows and of the dtype: a copy only where it is another's, of another type or order."""
    return array.astype(dtype, order="C", copy=np.may_share_memory(array, given))


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
