"""Scores of hard label maps. Imports no TensorFlow.

The rules for empty masks are the project's (the paper does not give any): truth and prediction both empty, all four
metrics are 1; truth alone empty, DSC, IoU and precision are 0 and recall is undefined; prediction alone empty, all 0.
Undefined values are left out of means and intervals, and counted (`sweeper.analysis`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np

from trials.results import CaseScore
from workers.errors import InputError


def score_case(
    truth: np.ndarray,
    prediction: np.ndarray,
    classes: Sequence[str],
    *,
    partition: Literal["validation", "test"],
    case: str,
    spacing: Sequence[float] | None = None,
    surface_distances: bool = False,
) -> list[CaseScore]:
    """Scores of one image for every foreground class.

    Args:
        truth: label map, integers in [0, len(classes)), of any shape (2D or 3D for surface distances).
        prediction: label map of the same shape.
        classes: names of all classes; the first is the background, which is not scored.
        partition: which part of the data the case belongs to.
        case: identifier of the image.
        spacing: voxel size along each axis, in the unit in which surface distances are wanted; 1 when None.
        surface_distances: whether to compute the 95% Hausdorff and the average surface distance.

    Raises:
        InputError: shapes differ, the maps are no integers, or a label is no class.
    """
    counts = confusion(truth, prediction, len(classes), case=case)
    scores = []
    for index, label in enumerate(classes[1:], start=1):
        tp = int(counts[index, index])
        fn = int(counts[index].sum()) - tp
        fp = int(counts[:, index].sum()) - tp
        dsc, iou, precision, recall = overlap_scores(tp, fp, fn)
        hd95 = asd = None
        if surface_distances:
            hd95, asd = surface_scores(truth == index, prediction == index, spacing)
        scores.append(CaseScore(partition, case, label, dsc, iou, precision, recall, hd95, asd))
    return scores


def confusion(truth: np.ndarray, prediction: np.ndarray, classes: int, *, case: str = "") -> np.ndarray:
    """Number of pixels of each true class (row) by predicted class (column), int64 (classes, classes).

    Raises:
        InputError: shapes differ, the maps are no integers, or a label is no class.
    """
    where = f" of case {case!r}" if case else ""
    if truth.shape != prediction.shape:
        raise InputError(f"truth{where} has shape {truth.shape}, but its prediction {prediction.shape}")
    for name, labels in (("truth", truth), ("prediction", prediction)):
        if labels.dtype.kind not in "iu":
            raise InputError(f"{name}{where} is {labels.dtype}; a label map of integers is needed")
        if labels.size and not (labels.min() >= 0 and labels.max() < classes):
            raise InputError(
                f"{name}{where} has labels {labels.min()} to {labels.max()}; they must be 0 to {classes - 1}"
            )
    pairs = truth.ravel().astype(np.int64) * classes + prediction.ravel()
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def overlap_scores(tp: int, fp: int, fn: int) -> tuple[float, float, float, float | None]:
    """DSC, IoU, precision and recall (section 3.1.6) from counts of pixels; None is an undefined recall."""
    if tp + fn == 0:
        return (1.0, 1.0, 1.0, 1.0) if fp == 0 else (0.0, 0.0, 0.0, None)
    precision = tp / (tp + fp) if tp + fp else 0.0
    return 2 * tp / (2 * tp + fp + fn), tp / (tp + fp + fn), precision, tp / (tp + fn)


def surface_scores(
    truth: np.ndarray, prediction: np.ndarray, spacing: Sequence[float] | None = None
) -> tuple[float, float]:
    """95% Hausdorff distance and average symmetric surface distance of two masks, bool 2D or 3D, in units of `spacing`.

    By DeepMind's surface-distance, which weights each surface element by its area (Nikolov et al. 2021). The Hausdorff
    distance is the larger of the two directed 95th percentiles, the average the mean of the two directed averages.
    Both are 0 for two empty masks and infinite when one mask is empty.
    """
    if not truth.any() or not prediction.any():
        distance = 0.0 if truth.any() == prediction.any() else math.inf
        return distance, distance
    # Imported here: it is an option, and its import costs a quarter of a second.
    import surface_distance

    with warnings.catch_warnings():
        # surface-distance 0.1 calls scipy.ndimage by its former module names.
        warnings.simplefilter("ignore", DeprecationWarning)
        distances = surface_distance.compute_surface_distances(
            np.ascontiguousarray(truth), np.ascontiguousarray(prediction), tuple(spacing or (1.0,) * truth.ndim)
        )
    directed = surface_distance.compute_average_surface_distance(distances)
    return float(surface_distance.compute_robust_hausdorff(distances, 95.0)), float(sum(directed) / 2)
