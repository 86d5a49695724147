"""The opt-in fast spatial transform: the distribution of batchgenerators' SpatialTransform at a fraction of its cost.

Scaling, rotation and elastic deformation are drawn as there and composed into one map. Two things differ. The elastic
field, white noise under a Gaussian filter, is made from noise on a grid of a third of the filter's σ; smoothing and
interpolation to the voxels are one small matrix product per axis, in float32. It has the same variance, covariance and
decay towards the border. And images are then interpolated linearly, not by cubic splines, which need a filter over the
whole input first. So a trial with this setting gives other numbers, and the setting is part of its hash.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy.sparse
from batchgenerators.augmentations.utils import rotate_coords_2d, rotate_coords_3d

_NODES_PER_SIGMA = 3
_TRUNCATE = 4.0  # in σ


def coordinates(
    size: Sequence[int],
    generator: np.random.Generator,
    *,
    scale: float = 1.0,
    angles: Sequence[float] | None = None,
    elastic: tuple[float, float] | None = None,
) -> np.ndarray:
    """Where each voxel of the result comes from, in voxels from the middle of the image: one composed map.

    Args:
        size: spatial size of the result.
        generator: draws the noise of the elastic field.
        scale: factor of the coordinates; above 1 the content shrinks, as in batchgenerators.
        angles: three angles in radians, about each axis in 3D, the first alone in 2D; None for none.
        elastic: (α, σ) of the elastic field in voxels; None for none.

    Returns:
        float32 (dimensions, *size).
    """
    dimensions = len(size)
    mesh = np.zeros((dimensions, *size), dtype=np.float32)
    for axis, n in enumerate(size):
        if elastic is not None:
            mesh[axis] = elastic_field(size, *elastic, generator)
        line = np.arange(n, dtype=np.float32) - np.float32((n - 1) / 2)
        mesh[axis] += line.reshape([-1 if a == axis else 1 for a in range(dimensions)])
    matrix = (scale * rotation_matrix(dimensions, angles)).astype(np.float32)
    # Neither here nor in the field a BLAS product: its threads fight with the trainer's and with each other for cores,
    # and the order of its sums depends on their number.
    turned: np.ndarray = np.einsum("ij,j...->i...", matrix, mesh)
    return turned


def elastic_field(size: Sequence[int], alpha: float, sigma: float, generator: np.random.Generator) -> np.ndarray:
    """One component of the displacement, in voxels, float32 of `size`.

    Uniform noise on ±1 under a Gaussian of σ, times α: away from the border its covariance at distance d is
    α²/3 · (2σ√π)^(−dimensions) · exp(−d²/4σ²), and there is no noise from outside.
    """
    weights = [_smoothing(n, sigma) for n in size]
    field = generator.random([w.shape[1] for w in weights], dtype=np.float32)
    field = (2 * field - 1) * np.float32(alpha)
    for weight in weights:
        # Contracts the first axis and appends the fine one: after all axes their order is the former one.
        fine = weight @ field.reshape(field.shape[0], -1)
        field = np.moveaxis(fine.reshape(-1, *field.shape[1:]), 0, -1)
    return np.ascontiguousarray(field)


@lru_cache(maxsize=3)  # the components of a field share them
def _smoothing(size: int, sigma: float) -> scipy.sparse.csr_array:
    """Float32 (size, nodes): Gaussian weights of the noise at the nodes for each voxel along one axis.

    The factor √step keeps the variance of noise at every voxel. Cut where SciPy's filter cuts.
    """
    nodes = max(1, math.ceil(size * _NODES_PER_SIGMA / sigma))
    step = size / nodes
    positions = (np.arange(nodes) + 0.5) * step - 0.5
    distance = np.abs(np.arange(size)[:, np.newaxis] - positions) / sigma
    weights = np.exp(-0.5 * distance**2) * (math.sqrt(step) / (sigma * math.sqrt(2 * math.pi)))
    near = distance <= _TRUNCATE
    ends = np.concatenate([[0], np.cumsum(near.sum(axis=1))])
    return scipy.sparse.csr_array((weights[near].astype(np.float32), np.nonzero(near)[1], ends), shape=near.shape)


def rotation_matrix(dimensions: int, angles: Sequence[float] | None) -> np.ndarray:
    """The matrix by which batchgenerators turns coordinates: by the first angle in 2D, by all three in 3D; radians."""
    turned: np.ndarray = np.eye(dimensions)
    if angles is not None:
        turned = rotate_coords_2d(turned, angles[0]) if dimensions == 2 else rotate_coords_3d(turned, *angles)
    return turned
