"""Metrics of boundaries beside the surface distances: normalised surface Dice and boundary IoU.

Of two empty masks both are 1; where one mask alone is empty both are 0.
"""

from __future__ import annotations

import numpy as np

from workers.scoring.masks import Mask, Masks, diagonal


def nsd(masks: Masks, *, tolerance: float) -> float:
    """Normalised surface Dice, in [0, 1], larger is better; never undefined.

    The share of the area of both surfaces that lies within a tolerance of the other surface (Nikolov et al. 2021, by
    their own library). At a tolerance of 0 the surfaces must coincide.

    Args:
        masks: of one class in one image.
        tolerance: in the unit of the spacing.
    """
    if masks.distances is None:
        return float(masks.true.any() == masks.marked.any())
    import surface_distance

    return float(surface_distance.compute_surface_dice_at_tolerance(masks.distances, tolerance))


def boundary_iou(masks: Masks, *, width: float) -> float:
    """Boundary IoU, in [0, 1], larger is better; never undefined (Cheng et al. 2021).

    The IoU of two bands: the pixels of each mask that are no further than `width` from a pixel outside of it. As in the
    authors' code, what lies beyond the image's edge is outside.

    Args:
        masks: of one class in one image.
        width: of the bands, as a share of the image's diagonal; at least one pixel (the shortest edge of a voxel).
    """
    spacing = masks.steps
    reach = max(width * diagonal(masks), min(spacing))
    first, second = (_band(mask, reach, spacing) for mask in (masks.true, masks.marked))
    union = int(np.count_nonzero(first | second))
    return np.count_nonzero(first & second) / union if union else 1.0


def _band(mask: Mask, reach: float, spacing: tuple[float, ...]) -> Mask:
    from scipy.ndimage import distance_transform_edt

    inner = tuple(slice(1, -1) for _ in mask.shape)
    depth = distance_transform_edt(np.pad(mask, 1), sampling=spacing)[inner]
    # A distance is a root of a sum of squares: a band of exactly two pixels has two.
    return np.asarray(mask & (depth <= reach * (1 + 1e-9)))
