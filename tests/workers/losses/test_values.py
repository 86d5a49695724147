"""Values against an independent reference: plain loops over images and classes in float64 numpy, from the formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from tests.workers.losses.further import FURTHER
from workers import losses
from workers.losses.distances import signed_distance, signed_distances

Array = NDArray[np.float64]
EPS = 1e-7


# ---- the reference ---------------------------------------------------------------------------------------------------


def images(g: Array, p: Array) -> list[tuple[Array, Array]]:
    """(pixels, classes) of each image."""
    classes = g.shape[-1]
    return [(g[b].reshape(-1, classes), p[b].reshape(-1, classes)) for b in range(len(g))]


def clipped(p: Array) -> Array:
    return np.clip(p, EPS, 1 - EPS)


def weighted_focal(g: Array, p: Array, weights: list[float], gammas: list[float]) -> float:
    p = clipped(p)
    total = 0.0
    for c in range(g.shape[1]):
        total += weights[c] * math.fsum((1 - p[:, c]) ** gammas[c] * -g[:, c] * np.log(p[:, c])) / len(g)
    return total


def index(g: Array, p: Array, c: int, alpha: float, beta: float, s: float) -> tuple[float, float]:
    """(TI, 1 − TI) of a class; alpha on false positives."""
    tp = math.fsum(p[:, c] * g[:, c])
    fp = math.fsum(p[:, c] * (1 - g[:, c]))
    fn = math.fsum((1 - p[:, c]) * g[:, c])
    below = tp + alpha * fp + beta * fn + s
    return (tp + s) / below, (alpha * fp + beta * fn) / below


def classes_in_mean(g: Array, absent: str) -> list[int]:
    return [c for c in range(g.shape[1]) if absent == "keep" or g[:, c].any()]


def ref_ce(g: Array, p: Array) -> float:
    n = g.shape[1]
    return weighted_focal(g, p, [1.0] * n, [0.0] * n)


def ref_focal(g: Array, p: Array, alpha: Any = 0.25, gamma: float = 2.0) -> float:
    n = g.shape[1]
    return weighted_focal(g, p, list(np.broadcast_to(alpha, n)), [gamma] * n)


def ref_tversky(
    g: Array, p: Array, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1e-6, absent: str = "keep"
) -> float:
    return float(np.mean([1 - index(g, p, c, alpha, beta, smooth)[0] for c in classes_in_mean(g, absent)]))


def ref_dice(g: Array, p: Array, smooth: float = 1e-6, absent: str = "keep") -> float:
    return ref_tversky(g, p, 0.5, 0.5, smooth, absent)


def ref_focal_tversky(
    g: Array,
    p: Array,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 4 / 3,
    smooth: float = 1e-6,
    absent: str = "keep",
) -> float:
    p = clipped(p)
    return float(
        np.mean([max(index(g, p, c, alpha, beta, smooth)[1], 1e-7) ** (1 / gamma) for c in classes_in_mean(g, absent)])
    )


def ref_combo(
    g: Array, p: Array, alpha: float = 0.5, beta: float = 0.5, smooth: float = 1e-6, absent: str = "keep"
) -> float:
    n = g.shape[1]
    mce = weighted_focal(g, p, [1 - beta] + [beta] * (n - 1), [0.0] * n)
    return alpha * mce - (1 - alpha) * float(
        np.mean([index(g, p, c, 0.5, 0.5, smooth)[0] for c in classes_in_mean(g, absent)])
    )


def ref_hybrid_focal(g: Array, p: Array, lambda_: float = 0.5) -> float:
    return lambda_ * ref_focal(g, p) + (1 - lambda_) * ref_focal_tversky(g, p)


def ref_unified(asymmetric: bool) -> Callable[..., float]:
    def reference(
        g: Array,
        p: Array,
        lambda_: float = 0.5,
        delta: Any = 0.6,
        gamma: Any = 0.5,
        smooth: float = 1e-7,
        convention: str = "code",
        absent: str = "keep",
    ) -> float:
        n = g.shape[1]
        d, y = [float(x) for x in np.broadcast_to(delta, n)], [float(x) for x in np.broadcast_to(gamma, n)]
        published = convention == "published"
        weights = [1 - d[0], *d[1:]]
        if asymmetric:
            suppress, enhance = [y[0]] + [0.0] * (n - 1), [1.0] + [1 - x for x in y[1:]]
        elif published:
            suppress, enhance = [1 - x for x in y], y
        else:
            suppress, enhance = y, [1 - x for x in y]
        focal = weighted_focal(g, p, weights, suppress)
        terms = []
        for c in classes_in_mean(g, absent):
            alpha, beta = (d[c], 1 - d[c]) if published else (1 - d[c], d[c])
            terms.append(max(index(g, clipped(p), c, alpha, beta, smooth)[1], 1e-7) ** enhance[c])
        region = math.fsum(terms) if published else float(np.mean(terms))
        return lambda_ * focal + (1 - lambda_) * region

    return reference


def ref_dice_focal(g: Array, p: Array) -> float:
    return ref_dice(g, p) + 0.5 * ref_focal(g, p, alpha=1.0)


def ref_asymmetric_similarity(g: Array, p: Array, beta: float = 1.5) -> float:
    similarities = []
    for c in range(g.shape[1]):
        tp, fp, fn = (p * g)[:, c].sum(), (p * (1 - g))[:, c].sum(), ((1 - p) * g)[:, c].sum()
        s = 1e-6 * (1 + beta**2)
        similarities.append(((1 + beta**2) * tp + s) / ((1 + beta**2) * tp + beta**2 * fn + fp + s))
    return 1 - float(np.mean(similarities))


def ref_generalised_dice(g: Array, p: Array, absent: str = "keep") -> float:
    sizes = g.sum(axis=0)
    least = min(s for s in sizes if s)
    weights = [(least / s) ** 2 if s else (1.0 if absent == "keep" else 0.0) for s in sizes]
    overlap = sum(w * (p * g)[:, c].sum() for c, w in enumerate(weights))
    total = sum(w * (p + g)[:, c].sum() for c, w in enumerate(weights))
    return float(1 - (2 * overlap + 1e-6) / (total + 1e-6))


def ref_log_cosh_dice(g: Array, p: Array) -> float:
    return math.log(math.cosh(ref_dice(g, p)))


def ref_dice_topk(g: Array, p: Array, k: float = 10.0) -> float:
    entropy = np.sort(-np.log(np.sum(g * clipped(p), axis=1)))[::-1]
    return ref_dice(g, p) + float(np.mean(entropy[: math.ceil(len(entropy) * k / 100)]))


REFERENCES: dict[str, Callable[..., float]] = {
    "ce": ref_ce,
    "focal": ref_focal,
    "dice": ref_dice,
    "tversky": ref_tversky,
    "focal_tversky": ref_focal_tversky,
    "combo": ref_combo,
    "hybrid_focal": ref_hybrid_focal,
    "unified_focal_sym": ref_unified(asymmetric=False),
    "unified_focal_asym": ref_unified(asymmetric=True),
    "dice_focal": ref_dice_focal,
    "asymmetric_similarity": ref_asymmetric_similarity,
    "generalised_dice": ref_generalised_dice,
    "log_cosh_dice": ref_log_cosh_dice,
    "dice_topk": ref_dice_topk,
}


def reference(name: str, g: Array, p: Array, **parameters: Any) -> float:
    return float(np.mean([REFERENCES[name](*pair, **parameters) for pair in images(g, p)]))


# ---- the inputs ------------------------------------------------------------------------------------------------------


def random_case(shape: tuple[int, ...], seed: int, sharpness: float = 1.0) -> tuple[Array, Array]:
    """One-hot truth with a rare foreground and softmax probabilities that float32 holds exactly."""
    rng = np.random.default_rng(seed)
    classes = shape[-1]
    odds = np.array([0.8] + [0.2 / (classes - 1)] * (classes - 1))
    truth = np.eye(classes)[rng.choice(classes, size=shape[:-1], p=odds)]
    logits = sharpness * rng.standard_normal(shape)
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return truth, p.astype(np.float32).astype(np.float64)


def saturated_case(shape: tuple[int, ...], seed: int) -> tuple[Array, Array]:
    """Predictions of exactly 0 and 1, right for most pixels and wrong for some."""
    truth, _ = random_case(shape, seed)
    rng = np.random.default_rng(seed + 1)
    wrong = rng.random(shape[:-1]) < 0.2
    return truth, np.where(wrong[..., None], np.roll(truth, 1, axis=-1), truth)


def absent_case(shape: tuple[int, ...], seed: int) -> tuple[Array, Array]:
    """The last class is in no image; the first image is background alone."""
    truth, p = random_case(shape, seed)
    labels = np.minimum(truth.argmax(-1), shape[-1] - 2)
    labels[0] = 0
    return np.eye(shape[-1])[labels], p


SHAPES = [(2, 12, 9, 2), (3, 8, 10, 3), (2, 6, 8, 5, 2), (2, 5, 6, 7, 4)]
CASES = {
    "random": random_case,
    "sharp": lambda shape, seed: random_case(shape, seed, sharpness=8.0),
    "saturated": saturated_case,
    "absent": absent_case,
}


def ours(name: str, g: Array, p: Array, dtype: str, **parameters: Any) -> float:
    value = losses.get_loss(name, **parameters)(tf.constant(g, dtype), tf.constant(p, dtype))
    assert value.dtype == dtype
    assert value.shape == ()
    return float(value)


# ---- the tests -------------------------------------------------------------------------------------------------------


def test_every_loss_has_a_reference() -> None:
    assert {*REFERENCES, "boundary", *FURTHER, "batch_dice"} == set(losses.names())


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", REFERENCES)
def test_defaults(name: str, case: str) -> None:
    for seed, shape in enumerate(SHAPES):
        g, p = CASES[case](shape, seed)
        expected = reference(name, g, p)
        assert ours(name, g, p, "float64") == pytest.approx(expected, rel=1e-9, abs=1e-12), shape
        assert ours(name, g, p, "float32") == pytest.approx(expected, rel=1e-5), shape


PARAMETERS: list[tuple[str, dict[str, Any]]] = [
    ("focal", {"alpha": (0.2, 0.8, 1.5), "gamma": 0.0}),
    ("focal", {"alpha": 1.0, "gamma": 3.7}),
    ("tversky", {"alpha": 0.9, "beta": 0.05, "smooth": 0.5, "absent": "skip"}),
    ("dice", {"absent": "skip", "smooth": 1e-3}),
    ("focal_tversky", {"alpha": 0.5, "beta": 1.4, "gamma": 0.7, "absent": "skip"}),
    ("combo", {"alpha": 0.8, "beta": 0.9}),
    ("combo", {"alpha": 0.2, "beta": 0.1, "absent": "skip"}),
    ("hybrid_focal", {"lambda_": 0.9}),
    ("asymmetric_similarity", {"beta": 0.4}),
    ("generalised_dice", {"absent": "skip"}),
    ("dice_topk", {"k": 33.0}),
    ("dice_topk", {"k": 1e-3}),
    ("dice_topk", {"k": 100.0}),
    *(
        (f"unified_focal_{variant}", parameters)
        for variant in ("sym", "asym")
        for parameters in (
            {"gamma": 0.1, "delta": 0.9, "lambda_": 0.3},
            {"gamma": 0.9, "delta": 0.2, "lambda_": 0.8, "absent": "skip"},
            {"gamma": 0.2, "delta": 0.7, "convention": "published"},
            {"gamma": 0.8, "delta": 0.3, "convention": "published", "absent": "skip"},
            {"gamma": (0.3, 0.6, 0.9), "delta": (0.6, 0.7, 0.8)},
            {"gamma": (0.3, 0.6, 0.9), "delta": 0.4, "convention": "published"},
        )
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("name", "parameters"), PARAMETERS)
def test_parameters(name: str, parameters: dict[str, Any], case: str) -> None:
    for seed, shape in enumerate([(3, 8, 10, 3), (2, 5, 6, 7, 3)]):
        g, p = CASES[case](shape, seed)
        expected = reference(name, g, p, **parameters)
        assert ours(name, g, p, "float64", **parameters) == pytest.approx(expected, rel=1e-9), shape
        assert ours(name, g, p, "float32", **parameters) == pytest.approx(expected, rel=1e-5), shape


def test_a_perfect_prediction_has_the_floors_value_and_no_nan() -> None:
    g, _ = random_case((2, 12, 9, 2), 0)
    # In float32 the clip's 1 − 1e-7 is 1 − 2⁻²³, as in the released code.
    g32 = np.clip(g.astype(np.float32), np.float32(EPS), np.float32(1 - EPS)).astype(np.float64)
    for name in ("focal_tversky", "unified_focal_sym", "unified_focal_asym"):
        assert ours(name, g, g, "float64") == pytest.approx(reference(name, g, g), rel=1e-9)
        assert ours(name, g, g, "float32") == pytest.approx(reference(name, g, g32), rel=1e-5)
    assert ours("dice", g, g, "float32") == 0.0


def test_an_absent_class_is_near_one_for_a_perfect_prediction_unless_skipped() -> None:
    g = np.zeros((1, 16, 16, 2))
    g[..., 0] = 1.0
    for name in ("focal_tversky", "unified_focal_asym"):
        part = {} if name == "focal_tversky" else {"lambda_": 0.0}
        assert ours(name, g, g, "float64", **part) > 0.45  # the mean of nearly 1 for the absent class and nearly 0
        assert ours(name, g, g, "float64", absent="skip", **part) < 1e-4


SUMS_OF_THEIR_OWN = (
    "squared_dice",
    "exponential_logarithmic",
    "generalised_wasserstein_dice",
    "lovasz_softmax",
    "weighted_ce",
)
"""Of the losses of `further.py`; the others' are those of Dice and cross entropy."""


@pytest.fixture(scope="module")
def large_volume() -> tuple[Array, Array]:
    return random_case((1, 96, 96, 96, 2), 0, sharpness=3.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*REFERENCES, "boundary", *SUMS_OF_THEIR_OWN])
def test_float32_sums_of_a_large_volume(name: str, large_volume: tuple[Array, Array]) -> None:
    """One slab after another, 2×96³ voxels: within 1e-5 of float64 where a running sum in float32 is not."""
    g, p = large_volume
    value = tf.function(losses.get_loss(name))
    if name == "boundary":
        g, p = g[:, :40, :40, :40], p[:, :40, :40, :40]
    wide = float(value(tf.constant(g), tf.constant(p)))
    assert float(value(tf.constant(g, "float32"), tf.constant(p, "float32"))) == pytest.approx(wide, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 300, 300, 2), (2, 40, 50, 60, 3), (1, 397, 397, 2), (1, 5, 400, 200, 2)])
def test_slabs_change_no_number(shape: tuple[int, ...]) -> None:
    """Images large enough to be cut, also where the length has no fitting divisor."""
    g, p = random_case(shape, 3)
    for name in ("ce", "unified_focal_asym", "combo"):
        assert ours(name, g, p, "float64") == pytest.approx(reference(name, g, p), rel=1e-10)


@pytest.mark.slow
def test_mixed_float16_computes_in_float32() -> None:
    g, p = random_case((2, 12, 9, 2), 0)
    half = p.astype(np.float16)
    for name in losses.names():
        value = losses.get_loss(name)(tf.constant(g, "float16"), tf.constant(half))
        assert value.dtype == tf.float32
        assert float(value) == pytest.approx(ours(name, g, half.astype(np.float64), "float32"), rel=1e-6)


def test_integer_truth_is_taken() -> None:
    g, p = random_case((2, 12, 9, 2), 0)
    value = losses.get_loss("ce")(tf.constant(g.astype(np.uint8)), tf.constant(p))
    assert float(value) == pytest.approx(reference("ce", g, p), rel=1e-9)


def test_the_boundary_part_is_the_signed_distance_weighed_with_the_prediction() -> None:
    g, p = random_case((2, 12, 9, 3), 5)
    g[1, ..., 0] += g[1, ..., 2]
    g[1, ..., 2] = 0.0  # absent: its distances are 0
    total = 0.0
    for b, c in ((0, 1), (0, 2), (1, 1)):
        inside = g[b, ..., c] == 1
        distance = np.where(inside, 1 - distance_transform_edt(inside), distance_transform_edt(~inside))
        total += math.fsum((distance * p[b, ..., c]).ravel())
    expected = total / (2 * 2 * 12 * 9)
    assert ours("boundary", g, p, "float64", alpha=1.0) == pytest.approx(expected, rel=1e-9)
    region = ours("generalised_dice", g, p, "float64")
    assert ours("boundary", g, p, "float64", alpha=0.25) == pytest.approx(0.75 * region + 0.25 * expected, rel=1e-9)


def test_a_distance_map_that_comes_with_the_batch_changes_no_bit() -> None:
    g, p = random_case((2, 12, 9, 3), 5)
    truth, prediction = tf.constant(g, tf.float32), tf.constant(p, tf.float32)
    maps = np.stack([signed_distances(label, 3) for label in g.argmax(-1).astype(np.uint8)])
    loss = losses.get_loss("boundary", alpha=0.5)
    assert maps.dtype == np.float32
    assert float(loss(truth, prediction, truth_map=maps)) == float(loss(truth, prediction))
    compiled = tf.function(loss, jit_compile=True)
    assert float(compiled(truth, prediction, truth_map=maps)) == pytest.approx(float(loss(truth, prediction)), rel=1e-6)


def test_signed_distances_of_a_square() -> None:
    mask = np.zeros((7, 7), bool)
    mask[2:5, 2:5] = True
    found = signed_distance(mask)
    assert found[3].tolist() == [2, 1, 0, -1, 0, 1, 2]
    assert found[0, 0] == pytest.approx(math.sqrt(8))
    assert not signed_distance(np.ones((3, 3), bool)).any()
    assert not signed_distance(np.zeros((3, 3), bool)).any()


@settings(max_examples=30, deadline=None)
@given(masks=arrays(np.bool_, array_shapes(min_dims=2, max_dims=3, max_side=9)))
def test_distances_within_the_box_of_a_mask_are_those_of_the_whole_image(masks: np.ndarray) -> None:
    expected = np.zeros(masks.shape)
    if masks.any() and not masks.all():
        expected = np.where(masks, 1 - distance_transform_edt(masks), distance_transform_edt(~masks))
    assert np.array_equal(signed_distance(masks), expected)
