"""How an image of a data set is read where there is no mask, as data: for new images, outside of any data set.

A reader gives its `Intake` (`Reader.intake`). It is kept with the prepared data and travels with a trained network, so
that a new image gets exactly what the images of the training got.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from workers.datasets.grids import Header, turn_onto, turned
from workers.datasets.images import Orientation, read_image
from workers.datasets.preprocessing import (
    Affine,
    Image,
    Label,
    Preprocessing,
    canonical_affine,
    canonical_order,
    clip_of,
    to_canonical,
)
from workers.datasets.volumes import read_channels, read_volume
from workers.errors import ChannelsError, DataError, ParameterError

Plane = Literal["axial", "coronal", "sagittal"]

PLANES: Mapping[Plane, int] = {"axial": 0, "coronal": 1, "sagittal": 2}
"""Axis of the canonical volume (z, y, x) that a slice is taken across."""

WHOLE_VOLUME = (1, 1, 1)


@dataclass(frozen=True, slots=True)
class Intake:
    """How an image is read and brought to the network's grid; JSON by `to_dict`.

    Attributes:
        volumes: whether the files are volumes, also where their slices are the network's images; else pictures.
        channels: of an image, all its files together.
        preprocessing: what is done to each image.
        orientation: of pictures, see `ImageFolder`.
        trust: of volumes in several files: their voxels are the first one's, whatever the headers say.
        plane: the network's images are the slices of this plane.
        blocks: the network's images are so many parts of a volume along z, y and x.
        patterns: of the data set's image files, one for each; empty where the files are numbered as nnU-Net does.
    """

    volumes: bool
    channels: int
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    orientation: Orientation = "tag"
    trust: bool = False
    plane: Plane | None = None
    blocks: tuple[int, int, int] = WHOLE_VOLUME
    patterns: tuple[str, ...] = ()

    @property
    def in_parts(self) -> bool:
        """Whether the network sees slices or blocks of a volume."""
        return self.plane is not None or self.blocks != WHOLE_VOLUME

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`, also after JSON.

        Raises:
            ParameterError: damaged, or of a newer version.
        """
        try:
            rest = dict(values)
            steps = dict(rest.pop("preprocessing"))
            steps["clip"] = clip_of(steps["clip"])
            for name in ("size", "spacing"):
                steps[name] = None if steps[name] is None else tuple(steps[name])
            rest |= {"blocks": tuple(rest["blocks"]), "patterns": tuple(rest["patterns"])}
            return cls(preprocessing=Preprocessing(**steps), **rest)
        except (KeyError, TypeError, ValueError) as error:
            raise ParameterError(f"how its images are read is damaged, or of another version ({error!r})") from error


@dataclass(frozen=True, slots=True)
class Raw:
    """An image as its files hold it.

    Attributes:
        image: float32 (*spatial, channels), volumes in the file's own axis order.
        spacing: voxel size per axis, in mm; 1 for pictures.
        affine: voxel index to mm (RAS+) of a volume, None for a picture.
        label: its truth, where it is known, as class indices (*spatial).
        field: what the camera saw, where that is known.
        notes: what a person should know of its header.
    """

    image: Image
    spacing: tuple[float, ...]
    affine: Affine | None = None
    label: Label | None = None
    field: Label | None = None
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.image.shape[:-1])


Window = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A slice or block of a volume, or all of it, as the network's data set has it as a case.

    Attributes:
        suffix: what its id adds to the volume's; empty for the whole.
        raw: the part.
        window: where it lies on the canonical grid; None for the whole.
    """

    suffix: str
    raw: Raw
    window: Window | None = None


def read_raw(intake: Intake, paths: Sequence[Path]) -> Raw:
    """Reads an image from its file, or from its files in the order of its channels.

    Raises:
        DataError: a file is damaged, of another kind, or holds other channels; or it gives no size of a voxel where the
            network's data were resampled.
    """
    sized = intake.plane is not None or intake.preprocessing.spacing is None
    try:
        if not intake.volumes:
            return Raw(read_pictures(paths, intake.channels, intake.orientation), (1.0, 1.0))
        volumes, header = read_volumes(paths, intake.channels, trust=intake.trust, sized=sized)
    except ChannelsError as error:  # which speaks of the options of a data set
        takes = f"{intake.channels}" + (f" from {len(paths)} files" if len(paths) > 1 else "")
        raise DataError(f"{error.file}: {error.found} channels; the network takes {takes}") from error
    return Raw(joined(volumes), header.spacing, header.affine, notes=header.notes)


def from_array(intake: Intake, array: np.ndarray, affine: Affine | None = None) -> Raw:
    """An image that is in memory, as a file would hold it.

    Args:
        intake: of the network.
        array: (height, width), or with channels last; of a volume (x, y, z), as nibabel gives it, or with channels.
        affine: voxel index to mm (RAS+) of a volume. Without it, voxels are of 1 mm and slices go upwards.

    Raises:
        DataError: another number of axes or channels, no numbers, or no affine where the network's data were resampled.
    """
    axes = 3 if intake.volumes else 2
    values = np.asarray(array)
    if values.ndim == axes:
        values = values[..., np.newaxis]
    if values.ndim != axes + 1 or values.dtype.kind not in "iufb" or not values.size:
        kind = "a volume (x, y, z)" if intake.volumes else "an image (height, width)"
        raise DataError(
            f"an array of shape {np.shape(array)} and type {values.dtype}; expected {kind}, or with channels last"
        )
    if values.shape[-1] == 1 and intake.channels == 3 and not intake.volumes:
        values = np.repeat(values, 3, axis=-1)  # as a grey file is read
    if values.shape[-1] != intake.channels:
        raise DataError(f"an array with {values.shape[-1]} channels; the network takes {intake.channels}")
    image = np.array(values, np.float32)
    if not intake.volumes:
        return Raw(image, (1.0, 1.0))
    if affine is None and intake.preprocessing.spacing is not None and intake.plane is None:
        raise DataError("the array comes without an affine, so that its spacing is not known; give one, or a file")
    known = np.eye(4) if affine is None else np.asarray(affine, np.float64)
    sides = tuple(float(side) for side in np.sqrt((known[:3, :3] ** 2).sum(axis=0)))
    return Raw(image, sides, known)


def parts_of(intake: Intake, raw: Raw) -> Iterator[Part]:
    """The network's images in an image: it itself, or its slices or blocks. Each has arrays of its own."""
    if not intake.in_parts or raw.affine is None:
        yield Part("", raw)
        return
    shape = canonical_order(raw.shape, raw.affine)
    for suffix, window in windows(shape, intake.plane, 1, intake.blocks):
        yield Part(suffix, cut(raw, window, intake.plane), window)


def windows(
    shape: Sequence[int], plane: Plane | None, step: int, blocks: tuple[int, int, int]
) -> Iterator[tuple[str, Window]]:
    """Name of each slice or block, and where it lies on the canonical grid of that shape."""
    if plane is not None:
        axis = PLANES[plane]
        for i in range(0, shape[axis], step):
            limits = [(i, i + 1) if a == axis else (0, n) for a, n in enumerate(shape)]
            yield f"{plane}-{i:03d}", tuple(slice(*pair) for pair in limits)
        return
    edges = [np.linspace(0, n, count + 1).round().astype(int) for n, count in zip(shape, blocks, strict=True)]
    for index in np.ndindex(blocks):
        yield (
            "block-" + "".join(str(i) for i in index),
            tuple(slice(int(e[i]), int(e[i + 1])) for e, i in zip(edges, index, strict=True)),
        )


def cut(raw: Raw, window: Window, plane: Plane | None) -> Raw:
    """A slice or block of a volume, with arrays of its own. Slices lose their spacing, as pictures have none."""
    if raw.affine is None:
        raise DataError("a picture has no slices or blocks")
    image = to_canonical(raw.image, raw.affine)
    label = None if raw.label is None else to_canonical(raw.label, raw.affine)
    if plane is not None:
        flat = np.copy(flattened(image, window, plane))
        return Raw(
            flat, (1.0, 1.0), label=None if label is None else flattened(label, window, plane).copy(), notes=raw.notes
        )
    affine = canonical_affine(raw.shape, raw.affine).copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in window]
    spacing = canonical_order(raw.spacing, raw.affine)
    return Raw(
        image[window].copy(), spacing, affine, label=None if label is None else label[window].copy(), notes=raw.notes
    )


def flattened(canonical: np.ndarray, window: Window, plane: Plane) -> np.ndarray:
    """A view of a slice: rows run from the head down (or from front to back), as radiologists view them."""
    view: np.ndarray = np.take(canonical, window[PLANES[plane]].start, PLANES[plane])[::-1]
    return view


def put(canonical: np.ndarray, window: Window, plane: Plane | None, part: np.ndarray) -> None:
    """Writes a slice or block back to where `cut` took it from."""
    if plane is None:
        canonical[window] = part
        return
    axis = PLANES[plane]
    np.moveaxis(canonical, axis, 0)[window[axis].start] = part[::-1]


def read_pictures(paths: Sequence[Path], channels: int, orientation: Orientation) -> Image:
    """A picture of one file, or of a file for each share of its channels.

    Raises:
        DataError: a file cannot be read, or they differ in size.
    """
    images = [read_image(path, channels // len(paths), orientation) for path in paths]
    for path, image in zip(paths[1:], images[1:], strict=True):
        if image.shape != images[0].shape:
            raise DataError(
                f"{path}: {image.shape[0]}×{image.shape[1]} pixels, but {paths[0].name} has "
                f"{images[0].shape[0]}×{images[0].shape[1]}; register and resize them first, or exclude the case"
            )
    return np.concatenate(images, axis=-1) if len(images) > 1 else images[0]


def read_volumes(paths: Sequence[Path], channels: int, *, trust: bool, sized: bool) -> tuple[list[Image], Header]:
    """The files of an image as (x, y, z, channels) each, and the header of the first, whose axes all have.

    Args:
        paths: at least one file.
        channels: volumes in all of them; 0: as many as there are.
        trust: take the first image's grid for all.
        sized: whether a file may leave the size of its voxels open.

    Raises:
        DataError: a file cannot be read, lies elsewhere, or there are other channels.
    """
    volumes: list[Image] = []
    header: Header | None = None
    for path in paths:
        if channels == len(paths):
            volume, own = read_volume(path)
            volume = volume[..., None]
        else:
            volume, own = read_channels(path)
        if header is None:
            header = own
            if not (own.sized or sized):
                raise DataError(
                    f"{path}: the file gives no size of a voxel, so it cannot be resampled; save it in a format that "
                    "has sizes, or leave spacing out of the data set's options"
                )
        else:
            volume = turned(volume, turn_onto(path, own, header, trust=trust, image=str(paths[0])))
        volumes.append(volume)
    if header is None:
        raise DataError("no file of the image is named")
    found = sum(volume.shape[-1] for volume in volumes)
    if channels and found != channels:
        raise ChannelsError(
            f"{paths[0]}: the image has {found} channels, expected {channels} (options.channels)",
            file=paths[0],
            found=found,
        )
    return volumes, header


def joined(volumes: Sequence[Image]) -> Image:
    """The channels of several files in one array."""
    return volumes[0] if len(volumes) == 1 else np.concatenate(volumes, axis=-1)


def settings_without_mask(intake: Intake) -> Preprocessing:
    """The preprocessing of an image alone: a mask of which nothing is known needs no care."""
    return replace(intake.preprocessing, mask_resampling="nearest")
