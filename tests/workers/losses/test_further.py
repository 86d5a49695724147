"""The losses beyond the paper's against an independent reference in NumPy; their maps; what a person gets wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.workers.losses.further import FURTHER, ref_batch_dice
from workers import losses
from workers.errors import ParameterError

Case = tuple[Any, Any]


def blob_case(shape: tuple[int, ...], seed: int, *, sharp: bool = False) -> Case:
    """Truth of blobs, whose contours and skeletons mean something; the last class is absent from the first image."""
    rng = np.random.default_rng(seed)
    places = np.indices(shape[1:-1])
    labels = np.zeros(shape[:-1], int)
    for image, label in np.ndindex(shape[0], shape[-1] - 1):
        if (image, label) != (0, shape[-1] - 2) or shape[-1] == 2:
            centre = rng.integers(2, 6, len(shape) - 2)
            distance = sum((axis - middle) ** 2 for axis, middle in zip(places, centre, strict=True))
            labels[image][distance <= rng.integers(2, 7)] = label + 1
    g = np.eye(shape[-1])[labels]
    logits = rng.standard_normal(shape) * (4 if sharp else 1) + 2 * g
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return g, p.astype(np.float32).astype(np.float64)


CASES = [blob_case((2, 9, 8, 2), 0), blob_case((2, 8, 9, 3), 1, sharp=True), blob_case((2, 7, 6, 5, 3), 2)]

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("weighted_ce", {"frequency": "none", "weight": 0.3}),
    ("topk", {"k": 40.0}),
    ("distance_penalised_ce", {"weight": 3.0}),
    ("label_smoothing_ce", {"epsilon": 0.0}),
    ("iou", {"absent": "skip"}),
    ("squared_dice", {"absent": "skip"}),
    ("sensitivity_specificity", {"weight": 0.4, "absent": "skip"}),
    ("penalised_generalised_dice", {"k": 0.5, "absent": "skip"}),
    ("lovasz_softmax", {"absent": "keep"}),
    ("hausdorff", {"exponent": 1.0, "sides": "both"}),
    ("hausdorff_erosion", {"exponent": 1.0, "erosions": 2}),
    ("exponential_logarithmic", {"gamma": 1.3, "dice_weight": 0.3, "absent": "skip"}),
    ("dice_ce", {"weight": 0.2, "background": "keep"}),
    ("dice_boundary", {"alpha": 0.4}),
    ("dice_hausdorff", {"weight": 0.4, "sides": "both"}),
    ("cldice_dice", {"alpha": 0.9, "iterations": 1, "absent": "skip"}),
    ("skeleton_recall", {"weight": 2.0}),
]


def value(name: str, case: Case, dtype: str = "float64", **parameters: Any) -> float:
    return float(losses.get_loss(name, **parameters)(*(tf.constant(x, dtype) for x in case)))


@pytest.mark.parametrize("name", FURTHER)
def test_the_value_is_that_of_the_formula(name: str) -> None:
    """Of one image; 3D and all settings are slower."""
    g, p = (x[1:] for x in CASES[1])
    assert value(name, (g, p)) == pytest.approx(FURTHER[name](g[0], p[0]), rel=1e-9, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "parameters"), [*((name, {}) for name in FURTHER), *SETTINGS])
def test_so_it_is_in_2d_and_3d_with_any_setting(name: str, parameters: dict[str, Any]) -> None:
    for case in CASES:
        expected = np.mean([FURTHER[name](g, p, **parameters) for g, p in zip(*case, strict=True)])
        assert value(name, case, **parameters) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert value(name, case, "float32", **parameters) == pytest.approx(expected, rel=1e-5)


def test_vectors_of_classes_and_of_pairs() -> None:
    g, p = (x[1] for x in CASES[1])
    one = g[None], p[None]
    weights, pairs = (0.5, 1.0, 4.0), (1.0, 0.9, 0.4)
    assert value("weighted_ce", one, weight=weights) == pytest.approx(FURTHER["weighted_ce"](g, p, weight=weights))
    expected = FURTHER["generalised_wasserstein_dice"](g, p, distances=pairs)
    assert value("generalised_wasserstein_dice", one, distances=pairs) == pytest.approx(expected, rel=1e-9)
    rows = [[0, 1, 0.9], [1, 0, 0.4], [0.9, 0.4, 0]]
    assert losses.resolve_parameters("generalised_wasserstein_dice", {"distances": rows})["distances"] == pairs


@pytest.mark.parametrize("settings", [{}, {"background": "keep"}, {"absent": "skip", "background": "keep"}])
def test_dice_over_the_batch_is_that_of_all_its_pixels(settings: dict[str, str]) -> None:
    for g, p in CASES:
        assert value("batch_dice", (g, p), **settings) == pytest.approx(ref_batch_dice(g, p, **settings), rel=1e-9)


@pytest.mark.parametrize("name", ["distance_penalised_ce", "hausdorff", "cldice_dice", "skeleton_recall"])
def test_a_map_that_comes_with_the_batch_changes_no_number(name: str) -> None:
    g, p = CASES[1]
    line = losses.definition(name)
    values = losses.resolve_parameters(name)
    keywords = {keyword: values[keyword] for keyword in line.truth_map_parameters}
    maps = np.stack([line.load_truth_map()(x.argmax(-1).astype(np.uint8), 3, **keywords) for x in g])
    assert maps.dtype == np.float32
    loss = losses.get_loss(name)
    assert float(loss(g, tf.constant(p), truth_map=maps)) == pytest.approx(value(name, (g, p)), rel=1e-6)  # type: ignore[call-arg]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"distances": (1.0, 1.0)}, "has 2 entries; one per pair of classes"),
    ({"distances": (1.0, 1.0, -0.5)}, "distances = -0.5 is outside"),
    ({"distances": (3.0, 1.0, 1.0)}, "no metric: classes 0 and 1 are 3 apart, but only 2 over class 2"),
    ({"distances": (1.0, 1.0, 1.5)}, "farther than from the background"),
    ({"distances": [[0.5, 1], [1, 0]]}, "a class has the distance 0.5 to itself, in row 0; give 0"),
    ({"distances": [[0, 1], [2, 0]]}, "classes 0 and 1 have the distances 1 and 2; a distance is the same both ways"),
]


@pytest.mark.parametrize(("parameters", "message"), WRONG)
def test_distances_that_are_none_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        losses.resolve_parameters("generalised_wasserstein_dice", parameters)


def test_a_number_of_times_is_whole() -> None:
    with pytest.raises(ParameterError, match=r"erosions = 2.5 is a number of times; give a whole one"):
        losses.resolve_parameters("hausdorff_erosion", {"erosions": 2.5})
