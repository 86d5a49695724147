"""Metrics of structures: centre lines of thin ones, lesions as connected components, volumes.

Components are joined across corners (8 neighbours in images, 26 in volumes).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from workers.scoring.masks import Mask, Masks


def cldice(masks: Masks) -> float:
    """Centre line Dice, in [0, 1], larger is better; never undefined (Shit et al. 2021).

    The harmonic mean of the share of the prediction's skeleton that lies in the truth, and of the truth's skeleton that
    lies in the prediction. 1 where both masks are empty, 0 where one alone is.
    """
    true, marked = masks.true, masks.marked
    if not true.any() or not marked.any():
        return float(true.any() == marked.any())
    precise = _share(_skeleton(marked), true)
    sensitive = _share(_skeleton(true), marked)
    return 2 * precise * sensitive / (precise + sensitive) if precise + sensitive else 0.0


def lesion_f1(masks: Masks, *, iou: float) -> float:
    """F1 over lesions, in [0, 1], larger is better; never undefined (Maier-Hein et al. 2024, per-image F1).

    2 matched / (true lesions + marked lesions). A lesion is a connected component. Each matches at most one of the
    other mask, with an IoU of at least `iou`; the pairs are chosen so that as many as possible match. 1 where both
    masks are empty, 0 where one alone is.

    Args:
        masks: of one class in one image.
        iou: the smallest IoU of a match. 0.1 is that of nnDetection (Baumgartner et al. 2021). At 0 any common pixel
            is a match.
    """
    true, trues = _components(masks.true)
    marked, marks = _components(masks.marked)
    if trues + marks == 0:
        return 1.0
    return 2 * _matches(true, trues, marked, marks, iou) / (trues + marks)


def lesion_detection(masks: Masks, *, share: float) -> float | None:
    """The share of the true lesions that were found, in [0, 1], larger is better; None where there is no true lesion.

    The sensitivity over connected components (Maier-Hein et al. 2024). A lesion is found where more than `share` of its
    pixels are marked. What is marked beside lesions does not count against it: see `lesion_f1`.

    Args:
        masks: of one class in one image.
        share: at 0 one marked pixel is enough.
    """
    true, lesions = _components(masks.true)
    if lesions == 0:
        return None
    sizes = np.bincount(true.ravel(), minlength=lesions + 1)[1:]
    found = np.bincount(true[masks.marked], minlength=lesions + 1)[1:]
    # At a share of 1 a lesion counts that is marked completely.
    return float(np.mean(found == sizes if share == 1 else found > share * sizes))


def volume_difference(masks: Masks) -> float:
    """|marked − true| volume, at least 0, smaller is better; never undefined.

    In the unit of the spacing to the power of the dimensions: pixels for images, mm³ for volumes.
    """
    return abs(masks.fp - masks.fn) * math.prod(masks.steps)


def relative_volume_difference(masks: Masks) -> float | None:
    """|marked − true| volume as a share of the true one, at least 0, smaller is better (Maier-Hein et al. 2024).

    0 where both masks are empty; None where the truth alone is. A class that is missed completely has 1.
    """
    true = masks.tp + masks.fn
    if true == 0:
        return 0.0 if masks.fp == 0 else None
    return abs(masks.fp - masks.fn) / true


def _skeleton(mask: Mask) -> Mask:
    from skimage.morphology import skeletonize

    skeleton = np.asarray(skeletonize(mask), dtype=bool)
    # Thinning can erase a structure of a few pixels, which then is its own centre line.
    return skeleton if skeleton.any() else mask


def _share(part: Mask, whole: Mask) -> float:
    return np.count_nonzero(part & whole) / np.count_nonzero(part)


def _components(mask: Mask) -> tuple[npt.NDArray[np.int32], int]:
    """Each component's pixels with its number from 1, and how many there are."""
    from scipy.ndimage import generate_binary_structure, label

    labels, count = label(mask, generate_binary_structure(mask.ndim, mask.ndim))
    return np.asarray(labels, np.int32), int(count)


def _matches(true: npt.NDArray[np.int32], trues: int, marked: npt.NDArray[np.int32], marks: int, iou: float) -> int:
    """How many components of both maps can be paired, each with an IoU of at least `iou`."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching

    both = (true > 0) & (marked > 0)
    if not both.any():
        return 0
    pairs, common = np.unique(np.stack([true[both], marked[both]]), axis=1, return_counts=True)
    first, second = pairs - 1
    sizes = np.bincount(true.ravel(), minlength=trues + 1)[1:][first]
    others = np.bincount(marked.ravel(), minlength=marks + 1)[1:][second]
    fits = common / (sizes + others - common) >= iou
    graph = csr_matrix((np.ones(int(fits.sum()), np.int8), (first[fits], second[fits])), shape=(trues, marks))
    return int(np.count_nonzero(maximum_bipartite_matching(graph, perm_type="column") >= 0))
