"""Shapes on textured noise, and writing them: what synthetic data sets are made of."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from scipy.ndimage import gaussian_filter

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def texture(shape: tuple[int, ...], rng: np.random.Generator, *, level: float, spread: float, smooth: float) -> Floats:
    """Smoothed noise of standard deviation `spread` around `level`."""
    noise = gaussian_filter(rng.standard_normal(shape), smooth)
    values: Floats = level + spread * noise / noise.std()
    return values


def ellipse(shape: tuple[int, ...], rng: np.random.Generator, *, share: float) -> Mask:
    """A turned ellipse of about `share` of the area (half to one and a half times it)."""
    area = share * rng.uniform(0.5, 1.5) * shape[0] * shape[1]
    aspect = rng.uniform(0.6, 1.0)
    major, minor = np.sqrt(area / np.pi / aspect), np.sqrt(area / np.pi * aspect)
    centre = rng.uniform(0.3, 0.7, 2) * shape
    angle = rng.uniform(0, np.pi)
    y, x = np.indices(shape)
    v, u = y - centre[0], x - centre[1]
    along, across = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
    inside: Mask = (along / major) ** 2 + (across / minor) ** 2 <= 1
    return inside


def vessels(shape: tuple[int, ...], rng: np.random.Generator, *, share: float) -> Mask:
    """Winding lines of about `share` of the area: places where a smooth random field is near 0."""
    field = gaussian_filter(rng.standard_normal(shape), 0.05 * min(shape))
    lines: Mask = np.abs(field) <= np.quantile(np.abs(field), share)
    return lines


def ball(shape: tuple[int, ...], centre: Floats, radius: float) -> Mask:
    """An ellipsoid; centre and radius as shares of the axes."""
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    distance = sum((((axis + 0.5) / n - c) / radius) ** 2 for axis, n, c in zip(axes, shape, centre, strict=True))
    inside: Mask = np.asarray(distance) <= 1
    return inside


def save_image(path: Path, values: Floats) -> None:
    """An 8-bit image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(path)


def save_mask(path: Path, mask: Mask) -> None:
    """A mask of 0 and 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(mask.astype(np.uint8) * 255).save(path)


def save_volume(path: Path, values: npt.NDArray[np.generic], affine: Floats) -> None:
    """A packed NIfTI volume."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # mtime 0: the same seed gives the same bytes, and a prepared rehearsal is found again.
    content = nibabel.Nifti1Image(values, affine).to_bytes()
    path.write_bytes(gzip.compress(content, compresslevel=1, mtime=0))
