"""What a metric's function gets, the scores of one image by every metric, and the paper's metrics. No TensorFlow.

The rules for empty masks are the project's (the paper does not give any): truth and prediction both empty, all four
overlap metrics are 1; truth alone empty, DSC, IoU and precision are 0 and recall is undefined; prediction alone empty,
all 0. `trials.metrics` holds the metrics' names, ranges and headings; further functions are in
`workers.scoring.boundaries`, `structures` and `calibration`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from trials import metrics
from trials.metrics import Metric
from trials.results import Partition, Score
from workers.datasets.regions import Members, belongs
from workers.errors import InputError

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Softmax:
    """What a network gave for an image on the prepared grid, and the truth there.

    Attributes:
        truth: label map.
        probabilities: float (*spatial, classes).
        inside: the pixels that count; None for all.
        members: the classes of each nested region; empty without regions.
    """

    truth: npt.NDArray[np.integer]
    probabilities: npt.NDArray[np.floating]
    inside: Mask | None = None
    members: Members = ()

    def of(self, index: int) -> tuple[npt.NDArray[np.float64], Mask]:
        """The probability of a class, and whether it is the true one, for each pixel that counts."""
        probability, true = self.probabilities[..., index], belongs(self.truth, index, self.members)
        if self.members:
            # Rounding of several may add a hair to 1.
            probability = np.minimum(self.probabilities[..., list(self.members[index])].sum(axis=-1), 1)
        if self.inside is not None:
            probability, true = probability[self.inside], true[self.inside]
        return probability.ravel().astype(np.float64), np.asarray(true).ravel()


@dataclass(frozen=True)
class Masks:
    """Truth and prediction of one class in one image: what a metric's function gets.

    Attributes:
        truth, prediction: label maps of equal shape, integers.
        index: the class's label in both.
        spacing: voxel size along each axis, in the unit in which distances are wanted; None for 1.
        tp, fp, fn: pixels that are rightly marked, wrongly marked, and missed.
        softmax: None where only masks are known.
    """

    truth: npt.NDArray[np.integer]
    prediction: npt.NDArray[np.integer]
    index: int
    spacing: tuple[float, ...] | None
    tp: int
    fp: int
    fn: int
    softmax: Softmax | None = None

    @property
    def steps(self) -> tuple[float, ...]:
        """The spacing, with its default."""
        return self.spacing or (1.0,) * self.truth.ndim

    @cached_property
    def true(self) -> Mask:
        """Where the class is."""
        return np.asarray(self.truth == self.index)

    @cached_property
    def marked(self) -> Mask:
        """Where the class was predicted."""
        return np.asarray(self.prediction == self.index)

    @cached_property
    def distances(self) -> Mapping[str, Any] | None:
        """`surface_distances` of both masks."""
        return surface_distances(self.true, self.marked, self.spacing)

    @cached_property
    def surface(self) -> tuple[float, float]:
        """`surface_scores` of both masks."""
        return _summary(self.true, self.marked, self.distances)


def dsc(masks: Masks) -> float:
    """Dice similarity coefficient (section 3.1.6), in [0, 1]."""
    return overlap_scores(masks.tp, masks.fp, masks.fn)[0]


def iou(masks: Masks) -> float:
    """Intersection over union (section 3.1.6), in [0, 1]."""
    return overlap_scores(masks.tp, masks.fp, masks.fn)[1]


def precision(masks: Masks) -> float:
    """The share of the marked pixels that are right (section 3.1.6), in [0, 1]."""
    return overlap_scores(masks.tp, masks.fp, masks.fn)[2]


def recall(masks: Masks) -> float | None:
    """The share of the class's pixels that are marked (section 3.1.6), in [0, 1]; None where it is undefined."""
    return overlap_scores(masks.tp, masks.fp, masks.fn)[3]


def hd95(masks: Masks) -> float:
    """95% Hausdorff distance, in the unit of the spacing; infinite where one mask alone is empty."""
    return masks.surface[0]


def asd(masks: Masks) -> float:
    """Average symmetric surface distance, in the unit of the spacing; infinite where one mask alone is empty."""
    return masks.surface[1]


def size(masks: Masks) -> float:
    """Pixels of the class in the truth: describes the image, and compares nothing."""
    return float(masks.tp + masks.fn)


def diagonal(masks: Masks) -> float:
    """The image's diagonal in the unit of the spacing: no distance within it is longer."""
    return math.hypot(*(count * step for count, step in zip(masks.truth.shape, masks.steps, strict=True)))


def wanted_metrics(
    chosen: Iterable[str] = (), *, surface_distances: bool = False, softmax: bool = True
) -> list[Metric]:
    """The metrics that an image is scored by: those that always are, the surface distances, and what was chosen.

    Args:
        chosen: names as they are stored (`trials.metrics`).
        surface_distances: whether the surface distances are wanted.
        softmax: whether metrics that need it can be computed; else they are left out.

    Raises:
        InputError: nothing is registered under a name.
    """
    groups = (metrics.OVERLAP, metrics.DESCRIPTION, *((metrics.SURFACE_DISTANCES,) if surface_distances else ()))
    wanted = {m.name: m for m in metrics.METRICS.values() if m.group in groups}
    for name in chosen:
        metric = metrics.find(name)
        if metric is None:
            raise InputError(f"metric {name!r} is not known here; a plug-in may be missing")
        wanted[metric.name] = metric
    return [metric for metric in wanted.values() if softmax or metric.group != metrics.CALIBRATION]


def needs_softmax(chosen: Iterable[str]) -> bool:
    """Whether one of the chosen metrics is computed from the softmax."""
    return any(m.group == metrics.CALIBRATION for name in chosen if (m := metrics.find(name)) is not None)


def score_case(
    truth: npt.NDArray[np.integer],
    prediction: npt.NDArray[np.integer],
    classes: Sequence[str],
    *,
    partition: Partition,
    case: str,
    spacing: Sequence[float] | None = None,
    surface_distances: bool = False,
    group: str = "",
    chosen: Iterable[str] = (),
    softmax: Softmax | None = None,
    members: Members = (),
) -> list[Score]:
    """Scores of one image for every foreground class, by every requested metric.

    Args:
        truth: label map, integers in [0, len(classes)), of any shape (2D or 3D for surface distances).
        prediction: label map of the same shape.
        classes: names of all classes; the first is the background, which is not scored.
        partition: which part of the data the case belongs to.
        case: identifier of the image.
        spacing: voxel size along each axis, in the unit in which surface distances are wanted; 1 when None.
        surface_distances: whether the surface distances are computed, too.
        group: the patient, or another group, that the image belongs to; empty where it is not known.
        chosen: further metrics, by the names under which they are stored.
        softmax: what metrics of calibration are computed from; without it they are left out.
        members: the classes of each nested region: what is scored under a name is the whole region.

    Raises:
        InputError: shapes differ, the maps are no integers, a label is no class, a chosen metric is not known, or a
            metric gives a value outside its range.
    """
    counts = confusion(truth, prediction, len(classes), case=case)
    wanted = wanted_metrics(chosen, surface_distances=surface_distances, softmax=softmax is not None)
    sizes = None if spacing is None else tuple(spacing)
    scores = []
    for index, label in enumerate(classes[1:], start=1):
        own = list(members[index]) if members else [index]
        tp = int(counts[np.ix_(own, own)].sum())
        fn = int(counts[own].sum()) - tp
        fp = int(counts[:, own].sum()) - tp
        there, marked = truth, prediction
        if members:
            there, marked = _region(truth, index, members), _region(prediction, index, members)
        masks = Masks(there, marked, index, sizes, tp, fp, fn, softmax)
        values = {metric.name: metric.compute(masks) for metric in wanted}
        for metric in wanted:
            if fault := metric.fault(values[metric.name]):
                raise InputError(f"metric {metric.name!r} gives {values[metric.name]!r} for case {case!r}, {fault}")
        scores.append(Score(partition, case, label, values, group))
    return scores


def _region(labels: npt.NDArray[np.integer], index: int, members: Members) -> npt.NDArray[np.integer]:
    """A label map in which all of a region has its index, and nothing else has a label."""
    return belongs(labels, index, members) * labels.dtype.type(index)


def confusion(
    truth: npt.NDArray[np.integer], prediction: npt.NDArray[np.integer], classes: int, *, case: str = ""
) -> npt.NDArray[np.int64]:
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


def surface_scores(truth: Mask, prediction: Mask, spacing: Sequence[float] | None = None) -> tuple[float, float]:
    """95% Hausdorff distance and average symmetric surface distance of two masks, bool 2D or 3D, in units of `spacing`.

    By DeepMind's surface-distance, which weights each surface element by its area (Nikolov et al. 2021). The Hausdorff
    distance is the larger of the two directed 95th percentiles, the average the mean of the two directed averages.
    Both are 0 for two empty masks and infinite when one mask is empty.
    """
    return _summary(truth, prediction, surface_distances(truth, prediction, spacing))


def surface_distances(
    truth: Mask, prediction: Mask, spacing: Sequence[float] | None = None
) -> Mapping[str, Any] | None:
    """What surface-distance says of the surfaces of two masks, for its other functions; None where a mask is empty."""
    if not truth.any() or not prediction.any():
        return None
    # Imported here: it is an option, and its import costs a quarter of a second.
    import surface_distance

    with warnings.catch_warnings():
        # surface-distance 0.1 calls scipy.ndimage by its former module names.
        warnings.simplefilter("ignore", DeprecationWarning)
        found: Mapping[str, Any] = surface_distance.compute_surface_distances(
            np.ascontiguousarray(truth), np.ascontiguousarray(prediction), tuple(spacing or (1.0,) * truth.ndim)
        )
    return found


def _summary(truth: Mask, prediction: Mask, distances: Mapping[str, Any] | None) -> tuple[float, float]:
    if distances is None:
        distance = 0.0 if truth.any() == prediction.any() else math.inf
        return distance, distance
    import surface_distance

    directed = surface_distance.compute_average_surface_distance(distances)
    return float(surface_distance.compute_robust_hausdorff(distances, 95.0)), float(sum(directed) / 2)
