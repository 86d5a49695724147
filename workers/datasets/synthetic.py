"""Small made-up data sets in exactly the layouts and file formats of the public ones.

For tests, and for a rehearsal of the paper's grid before the real data are there. The shapes can be learned: bright
ellipses, dark vessels, nested balls on textured noise. Irregularities are where the real sets have them: images of
varying size, gif masks, cases without enhancing tumour, excluded case numbers, anisotropic and turned volumes. The
folder gets a SYNTHETIC.md, which marks everything that is prepared from it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workers.datasets.sources import SYNTHETIC_MARKER
from workers.datasets.synthetic_public import PUBLIC_WRITERS, Writer
from workers.datasets.synthetic_shapes import ball, ellipse, save_image, save_mask, save_volume, texture, vessels
from workers.errors import InputError, ParameterError, UnknownNameError

_MARKER_TEXT = """\
# Synthetic images

Made by `sweeper data synth {name}` with seed {seed}. They look like {name} to a program and like nothing to a
physician: no number that was computed from them says anything about medicine.
"""

_KITS_NUMBERS = (15, 23, 37, 68, 125, 133)
"""Case numbers that the KiTS19 reader excludes."""


def synthetic_names() -> tuple[str, ...]:
    """The readers that have a synthetic form: the public data sets."""
    return tuple(_WRITERS)


def synthesise(name: str, cases: int, directory: Path, seed: int, size: Sequence[int] | None = None) -> Path:
    """Writes a synthetic data set and returns its folder.

    Args:
        name: a public data set.
        cases: usable cases. BraTS20 and KiTS19 get one more that their readers exclude; half of DRIVE's are tests.
        directory: folder to fill; must be empty or not exist.
        seed: of everything random; the same seed writes the same pixels.
        size: height and width, or slices, height and width of a volume; None for the distribution's own.

    Raises:
        UnknownNameError: a data set that has no synthetic form.
        ParameterError: fewer than three cases, or a size of the wrong length or too small for the shapes.
        InputError: the folder is not empty.
    """
    if name not in _WRITERS:
        raise UnknownNameError("synthetic data set", name, _WRITERS)
    write, default = _WRITERS[name]
    shape = tuple(int(n) for n in (size if size is not None else default))
    if cases < 3:
        raise ParameterError(f"cases = {cases}: at least 3, to fill train, validation and test")
    if len(shape) != len(default) or min(shape) < 16:
        raise ParameterError(f"size = {list(shape)}: give {len(default)} numbers of at least 16 for {name}")
    if directory.exists() and any(directory.iterdir()):
        raise InputError(f"{directory} is not empty; choose a new folder")
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Written beside and renamed: a half-written folder must not look like a whole one, nor like a real one.
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as beside:
        folder = Path(beside) / directory.name
        folder.mkdir()
        (folder / SYNTHETIC_MARKER).write_text(_MARKER_TEXT.format(name=name, seed=seed), encoding="utf-8")
        for index in range(cases):
            write(folder, index, cases, shape, _generator(seed, index), size is None)
        folder.replace(directory)
    return directory


def _generator(seed: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))


def _cvc_clinicdb(
    folder: Path, index: int, cases: int, shape: tuple[int, ...], rng: np.random.Generator, _native: bool
) -> None:
    mask = ellipse(shape, rng, share=0.09)
    image = texture(shape, rng, level=120, spread=12, smooth=3.0)
    colour = np.stack([image + 70 * mask, 0.6 * image + 20 * mask, 0.5 * image], axis=-1)
    save_image(folder / "Original" / f"{index + 1}.tif", colour)
    save_mask(folder / "Ground Truth" / f"{index + 1}.tif", mask)


def _drive(
    folder: Path, index: int, cases: int, shape: tuple[int, ...], rng: np.random.Generator, _native: bool
) -> None:
    testing = cases // 2
    part = "test" if index < testing else "training"
    tree = vessels(shape, rng, share=0.087)
    y, x = np.indices(shape)
    field = ((y / shape[0] - 0.5) ** 2 + (x / shape[1] - 0.5) ** 2) < 0.23
    image = texture(shape, rng, level=140, spread=8, smooth=6.0)
    colour = np.stack([image + 40, 0.7 * image - 55 * tree, 0.4 * image - 25 * tree], axis=-1) * field[..., None]
    number = f"{index + 1 if part == 'test' else index - testing + 21:02d}"
    save_image(folder / part / "images" / f"{number}_{part}.tif", colour)
    save_mask(folder / part / "1st_manual" / f"{number}_manual1.gif", tree & field)
    save_mask(folder / part / "mask" / f"{number}_{part}_mask.gif", field)


def _bus2017(
    folder: Path, index: int, cases: int, shape: tuple[int, ...], rng: np.random.Generator, _native: bool
) -> None:
    shape = tuple(int(n * rng.uniform(0.85, 1.15)) for n in shape)  # the real ones vary in size, too
    mask = ellipse(shape, rng, share=0.048)
    image = texture(shape, rng, level=110, spread=40, smooth=1.0) - 75 * mask
    save_image(folder / "original" / f"{index + 1:06d}.png", image)
    save_mask(folder / "GT" / f"{index + 1:06d}.png", mask)


def _brats20(
    folder: Path, index: int, cases: int, shape: tuple[int, ...], rng: np.random.Generator, _native: bool
) -> None:
    _brats20_case(folder, index + 1, shape, rng, enhancing=True)
    if index == 0:  # one more, without enhancing tumour
        _brats20_case(folder, cases + 1, shape, rng, enhancing=False)


def _brats20_case(
    folder: Path, number: int, shape: tuple[int, ...], rng: np.random.Generator, *, enhancing: bool
) -> None:
    brain = ball(shape, np.full(3, 0.5), 0.42)
    centre = rng.uniform(0.4, 0.6, 3)
    radius = rng.uniform(0.12, 0.16)
    label = np.zeros(shape, np.uint8)
    label[ball(shape, centre, 1.6 * radius)] = 2
    if enhancing:
        label[ball(shape, centre, radius)] = 4
    label[ball(shape, centre, 0.5 * radius)] = 1
    image = texture(shape, rng, level=400, spread=40, smooth=1.0)
    image += 300.0 * (label == 4) - 120.0 * (label == 1) + 40.0 * (label == 2)
    image *= brain
    # (z, y, x) to the distribution's (x, y, z), whose first two axes point to left and posterior: LPS.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[1, 3] = shape[1] - 1
    case = f"BraTS20_Training_{number:03d}"
    save_volume(folder / case / f"{case}_t1ce.nii.gz", image.astype(np.int16).T, affine)
    save_volume(folder / case / f"{case}_seg.nii.gz", (label * brain).astype(np.uint8).T, affine)


def _kits19(
    folder: Path, index: int, cases: int, shape: tuple[int, ...], rng: np.random.Generator, native: bool
) -> None:
    numbers = [n for n in range(cases + len(_KITS_NUMBERS)) if n not in _KITS_NUMBERS]
    _kits19_case(folder, numbers[index], shape, rng, native)
    if index == 0:  # one more, which the paper excludes
        _kits19_case(folder, _KITS_NUMBERS[0], shape, rng, native)


def _kits19_case(folder: Path, number: int, shape: tuple[int, ...], rng: np.random.Generator, native: bool) -> None:
    # The distribution's own sizes come with its own spacing; a small size with about the target's, to stay small.
    spacing = (
        np.array([rng.choice([1.0, 2.5, 3.0, 5.0]), *[rng.uniform(0.6, 0.95)] * 2])
        if native
        else np.array([3.22, 1.62, 1.62]) * rng.uniform(0.9, 1.1, 3)
    )
    label = np.zeros(shape, np.uint8)
    side = rng.choice([0.3, 0.7])
    for x in (0.3, 0.7):
        centre = np.array([0.5, 0.55, x]) + rng.uniform(-0.04, 0.04, 3)
        label[ball(shape, centre, 0.11)] = 1
        if x == side:
            label[ball(shape, centre + rng.uniform(-0.05, 0.05, 3), 0.065)] = 2
    body = ball(shape, np.full(3, 0.5), 0.47)
    image = np.where(body, texture(shape, rng, level=20, spread=25, smooth=1.0), -1000.0)
    image += 150.0 * (label == 1) + 90.0 * (label == 2)
    # (slices, height, width) as the distribution stores it: slices down, rows to posterior, columns to left.
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = -spacing[0], -spacing[1], -spacing[2], 1
    if number % 3 == 1:  # some are stored the usual way round
        image, label, affine = image.T, label.T, np.diag([*spacing[::-1], 1.0])
    case = folder / f"case_{number:05d}"
    save_volume(case / "imaging.nii.gz", image.astype(np.float32), affine)
    save_volume(case / "segmentation.nii.gz", label, affine)


_WRITERS: dict[str, tuple[Writer, tuple[int, ...]]] = {
    "cvc_clinicdb": (_cvc_clinicdb, (288, 384)),
    "drive": (_drive, (584, 565)),
    "bus2017": (_bus2017, (570, 760)),
    "brats20": (_brats20, (155, 240, 240)),
    "kits19": (_kits19, (100, 512, 512)),
    **PUBLIC_WRITERS,
}
