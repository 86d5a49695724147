"""An independent reference of the losses of `workers.losses.catalogue_further`: float64 NumPy, from the formulas."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from skimage.morphology import skeletonize

Array = NDArray[np.float64]


def entropy(g: Array, p: Array) -> Array:
    """−g log p of clipped probabilities, in the shape of the image."""
    return -g * np.log(np.clip(p, 1e-7, 1 - 1e-7))


def classes_of(g: Array, absent: str = "keep", first: int = 0) -> list[int]:
    return [c for c in range(first, g.shape[-1]) if absent == "keep" or g[..., c].any()]


def mean(values: list[float]) -> float:
    return math.fsum(values) / max(len(values), 1)


def ref_dice(g: Array, p: Array, absent: str = "keep", background: str = "keep") -> float:
    values = []
    for c in classes_of(g, absent, 1 if background == "skip" else 0):
        overlap = (g[..., c] * p[..., c]).sum()
        values.append(1 - (2 * overlap + 2e-6) / (g[..., c].sum() + p[..., c].sum() + 2e-6))
    return mean(values)


def ref_weighted_ce(g: Array, p: Array, weight: Any = 1.0, frequency: str = "inverse") -> float:
    n = g.shape[-1]
    pixels = g[..., 0].size
    weights = [float(w) for w in np.broadcast_to(weight, n)]
    total = 0.0
    for c in range(n):
        if g[..., c].any():
            share = g[..., c].sum() / pixels * len(classes_of(g, "skip")) if frequency == "inverse" else 1.0
            total += weights[c] / share * entropy(g, p)[..., c].sum() / pixels
    return total


def ref_topk(g: Array, p: Array, k: float = 10.0) -> float:
    worst = np.sort(entropy(g, p).sum(-1).ravel())[::-1]
    return float(worst[: math.ceil(worst.size * k / 100)].mean())


def ref_distance_penalised_ce(g: Array, p: Array, weight: float = 1.0) -> float:
    near = np.zeros(g.shape[:-1])
    for c in range(g.shape[-1]):
        mask = g[..., c] > 0.5
        if mask.any() and not mask.all():
            distance = distance_transform_edt(mask)
            deepest = distance.max()
            near += mask * ((deepest - distance) / (deepest - 1) if deepest > 1 else 1.0)
    return float(np.mean((1 + weight * near) * entropy(g, p).sum(-1)))


def ref_label_smoothing(g: Array, p: Array, epsilon: float = 0.1) -> float:
    smoothed = (1 - epsilon) * g + epsilon / g.shape[-1]
    return float(entropy(smoothed, p).sum(-1).mean())


def ref_iou(g: Array, p: Array, absent: str = "keep") -> float:
    values = []
    for c in classes_of(g, absent):
        overlap = (g[..., c] * p[..., c]).sum()
        values.append(1 - (overlap + 1e-6) / (g[..., c].sum() + p[..., c].sum() - overlap + 1e-6))
    return mean(values)


def ref_squared_dice(g: Array, p: Array, absent: str = "keep") -> float:
    return mean(
        [
            1 - (2 * (g[..., c] * p[..., c]).sum() + 1e-6) / ((g[..., c] ** 2).sum() + (p[..., c] ** 2).sum() + 1e-6)
            for c in classes_of(g, absent)
        ]
    )


def ref_sensitivity_specificity(g: Array, p: Array, weight: float = 0.05, absent: str = "keep") -> float:
    values = []
    for c in classes_of(g, absent):
        truth, error = g[..., c], (g[..., c] - p[..., c]) ** 2
        sensitivity = (error * truth).sum() / (truth.sum() + 1e-6)
        values.append(weight * sensitivity + (1 - weight) * (error * (1 - truth)).sum() / ((1 - truth).sum() + 1e-6))
    return mean(values)


def ref_penalised_generalised_dice(g: Array, p: Array, k: float = 2.5, absent: str = "keep") -> float:
    sizes = [g[..., c].sum() for c in range(g.shape[-1])]
    least = min(s for s in sizes if s)
    weights = [(least / s) ** 2 if s else float(absent == "keep") for s in sizes]
    overlap = sum(w * (g[..., c] * p[..., c]).sum() for c, w in enumerate(weights))
    total = sum(w * (g[..., c] + p[..., c]).sum() for c, w in enumerate(weights))
    distance = 1 - (2 * overlap + 1e-6) / (total + 1e-6)
    return float(distance / (1 + k * (1 - distance)))


def ref_lovasz(g: Array, p: Array, absent: str = "skip") -> float:
    """By the definition: the Jaccard loss of each set of the worst pixels."""
    values = []
    for c in classes_of(g, absent):
        truth, error = g[..., c].ravel(), np.abs(g[..., c] - p[..., c]).ravel()
        order = np.argsort(-error, kind="stable")
        total, before = 0.0, 0.0
        wrong = np.zeros(truth.size, bool)
        for i in order:
            wrong[i] = True
            mask = np.where(wrong, 1 - truth, truth)
            union = np.maximum(mask, truth).sum()
            jaccard = 1 - np.minimum(mask, truth).sum() / union if union else 0.0
            total += error[i] * (jaccard - before)
            before = jaccard
        values.append(total)
    return mean(values)


def ref_wasserstein(g: Array, p: Array, distances: Any = 1.0) -> float:
    n = g.shape[-1]
    matrix = np.zeros((n, n))
    pairs = list(itertools.combinations(range(n), 2))
    for (a, b), d in zip(pairs, np.broadcast_to(distances, len(pairs)), strict=True):
        matrix[a, b] = matrix[b, a] = d
    wrong = right = 0.0
    for truth, guess in zip(g.reshape(-1, n), p.reshape(-1, n), strict=True):
        label = int(truth.argmax())
        delta = sum(matrix[label, m] * guess[m] for m in range(n))
        wrong += delta
        if label:
            right += matrix[label, 0] * guess.sum() - delta
    return float(1 - (2 * right + 1e-6) / (2 * right + wrong + 1e-6))


def contour(mask: NDArray[np.bool_]) -> Array:
    if not mask.any() or mask.all():
        return np.zeros(mask.shape)
    other = [np.argwhere(~mask), np.argwhere(mask)]
    return np.array(
        [np.sqrt(((other[int(not inside)] - place) ** 2).sum(-1).min()) for place, inside in np.ndenumerate(mask)]
    ).reshape(mask.shape)


def ref_hausdorff(g: Array, p: Array, exponent: float = 2.0, sides: str = "one") -> float:
    values = []
    for c in range(1, g.shape[-1]):
        weight = contour(g[..., c] > 0.5) ** exponent
        if sides == "both":
            weight = weight + contour(p[..., c] > 0.5) ** exponent
        values.append(float(((p[..., c] - g[..., c]) ** 2 * weight).mean()))
    return mean(values)


def neighbours(place: tuple[int, ...], shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for axis in range(len(shape)):
        for step in (-1, 1):
            there = list(place)
            there[axis] += step
            if 0 <= there[axis] < shape[axis]:
                yield tuple(there)


def ref_hausdorff_erosion(g: Array, p: Array, exponent: float = 2.0, erosions: int = 10) -> float:
    values = []
    for c in range(1, g.shape[-1]):
        error = (p[..., c] - g[..., c]) ** 2
        total = error.copy()
        for k in range(1, int(erosions) + 1):
            after = np.zeros_like(error)
            for place in np.ndindex(error.shape):
                around = error[place] + sum(error[n] for n in neighbours(place, error.shape))
                after[place] = 2 * max(0.0, around / (2 * error.ndim + 1) - 0.5)
            error = after
            total += (k + 1) ** exponent * error
        values.append(float(total.mean()))
    return mean(values)


def ref_exponential_logarithmic(
    g: Array, p: Array, gamma: float = 0.3, dice_weight: float = 0.8, entropy_weight: float = 0.2, absent: str = "keep"
) -> float:
    region, cross = [], 0.0
    pixels = g[..., 0].size
    for c in range(g.shape[-1]):
        if c in classes_of(g, absent):
            wrong = ((g[..., c] + p[..., c]) / 2 - g[..., c] * p[..., c]).sum()
            right = (g[..., c] * p[..., c]).sum() + 1e-6
            region.append(max(math.log(1 + wrong / right), 1e-7) ** gamma)
        if g[..., c].any():
            weight = math.sqrt(pixels / g[..., c].sum())
            logarithm = -np.log(np.clip(p[..., c], 1e-7, 1 - 1e-7))
            cross += weight * float((g[..., c] * logarithm**gamma).sum()) / pixels
    return dice_weight * mean(region) + entropy_weight * cross


def ref_dice_ce(g: Array, p: Array, weight: float = 1.0, background: str = "skip", absent: str = "keep") -> float:
    return ref_dice(g, p, absent, background) + weight * float(entropy(g, p).sum(-1).mean())


def signed(mask: NDArray[np.bool_]) -> Array:
    if not mask.any() or mask.all():
        return np.zeros(mask.shape)
    distance = contour(mask)
    return np.where(mask, 1 - distance, distance)


def ref_dice_boundary(g: Array, p: Array, alpha: float = 0.01) -> float:
    part = mean([float((signed(g[..., c] > 0.5) * p[..., c]).mean()) for c in range(1, g.shape[-1])])
    return (1 - alpha) * ref_dice(g, p) + alpha * part


def ref_dice_hausdorff(g: Array, p: Array, weight: float = 0.01, sides: str = "one") -> float:
    return ref_dice(g, p) + weight * ref_hausdorff(g, p, sides=sides)


def extreme(values: Array, pick: Callable[[list[float]], float], *, box: bool) -> Array:
    found = np.zeros_like(values)
    for place in np.ndindex(values.shape):
        if box:
            ranges = [range(max(i - 1, 0), min(i + 2, n)) for i, n in zip(place, values.shape, strict=True)]
            around = [values[there] for there in itertools.product(*ranges)]
        else:
            around = [values[place], *(values[there] for there in neighbours(place, values.shape))]
        found[place] = pick(around)
    return found


def soft_skeleton(values: Array, iterations: int) -> Array:
    skeleton = np.zeros_like(values)
    for step in range(iterations + 1):
        if step:
            values = extreme(values, min, box=False)
        opened = extreme(extreme(values, min, box=False), max, box=True)
        lost = np.maximum(values - opened, 0)
        skeleton = skeleton + np.maximum(lost - skeleton * lost, 0)
    return skeleton


def ref_cldice_dice(g: Array, p: Array, alpha: float = 0.5, iterations: int = 3, absent: str = "keep") -> float:
    values = []
    for c in classes_of(g, absent, 1):
        guessed, true = soft_skeleton(p[..., c], int(iterations)), soft_skeleton(g[..., c], int(iterations))
        precise = ((guessed * g[..., c]).sum() + 1e-6) / (guessed.sum() + 1e-6)
        sensitive = ((true * p[..., c]).sum() + 1e-6) / (true.sum() + 1e-6)
        values.append(1 - 2 * precise * sensitive / (precise + sensitive))
    return (1 - alpha) * ref_dice(g, p, absent) + alpha * mean(values)


def ref_skeleton_recall(g: Array, p: Array, weight: float = 1.0) -> float:
    values = []
    for c in range(1, g.shape[-1]):
        mask = g[..., c] > 0.5
        if not mask.any():
            continue
        tube = np.asarray(skeletonize(mask), bool)
        for _ in range(2):
            tube = extreme(tube.astype(float), max, box=True) > 0
        tube = tube & mask if tube.any() else mask
        values.append(float((tube * (1 - p[..., c])).sum() / (tube.sum() + 1e-6)))
    return ref_dice_ce(g, p) + weight * mean(values)


FURTHER: dict[str, Callable[..., float]] = {
    "weighted_ce": ref_weighted_ce,
    "topk": ref_topk,
    "distance_penalised_ce": ref_distance_penalised_ce,
    "label_smoothing_ce": ref_label_smoothing,
    "iou": ref_iou,
    "squared_dice": ref_squared_dice,
    "sensitivity_specificity": ref_sensitivity_specificity,
    "penalised_generalised_dice": ref_penalised_generalised_dice,
    "lovasz_softmax": ref_lovasz,
    "generalised_wasserstein_dice": ref_wasserstein,
    "hausdorff": ref_hausdorff,
    "hausdorff_erosion": ref_hausdorff_erosion,
    "exponential_logarithmic": ref_exponential_logarithmic,
    "dice_ce": ref_dice_ce,
    "dice_boundary": ref_dice_boundary,
    "dice_hausdorff": ref_dice_hausdorff,
    "cldice_dice": ref_cldice_dice,
    "skeleton_recall": ref_skeleton_recall,
}


def ref_batch_dice(g: Array, p: Array, background: str = "skip", absent: str = "keep") -> float:
    """Of a whole batch, laid out as one image."""
    n = g.shape[-1]
    return ref_dice(g.reshape(1, -1, n), p.reshape(1, -1, n), absent, background)
