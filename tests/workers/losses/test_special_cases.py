"""Fig. 1 of the paper: which settings of the unified family recover which loss, and what else must be equal or bounded.

Equalities hold to the rounding of float64; where clipping or smoothing parts two losses, the test gives both the same
smoothing and keeps the probabilities away from the clip, and says so by `inside`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers import losses

Array = NDArray[np.float64]
quick = settings(max_examples=10, deadline=None)  # of five images each: what takes time is a call, not its pixels

unit = st.floats(0.0, 1.0)
gammas = st.floats(0.0, 0.99)
deltas = st.floats(0.01, 0.99)
variants = st.sampled_from(["unified_focal_sym", "unified_focal_asym"])


@st.composite
def cases(draw: Callable[..., Any], classes: int | None = None, *, inside: bool = True) -> tuple[Array, Array]:
    """Five images of truth and prediction, 2D or 3D, each with its own classes present and absent, and its own
    certainty; `inside` keeps off the clip."""
    n = classes or draw(st.integers(2, 4))
    spatial = draw(st.sampled_from([(4, 5), (3, 4, 2)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    each = (5, *(1 for _ in spatial))
    labels = rng.integers(0, rng.integers(1, n, each, endpoint=True), (5, *spatial))
    logits = draw(st.floats(0.1, 60.0)) * rng.random((*each, 1)) * rng.standard_normal((5, *spatial, n))
    if inside:
        logits = np.clip(logits, -5.0, 5.0)
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.eye(n)[labels], p / p.sum(axis=-1, keepdims=True)


def value(name: str, case: tuple[Array, Array], **parameters: Any) -> float:
    return float(losses.get_loss(name, **parameters)(*case))


PLACES = {n for n in losses.names() if losses.definition(n).truth_map or losses.definition(n).whole}
"""Losses that depend on where a pixel lies, or on a whole batch."""

same = pytest.approx


@quick
@given(cases(inside=False), variants)
def test_unified_without_gamma_is_half_the_cross_entropy(case: Any, variant: str) -> None:
    assert value(variant, case, lambda_=1.0, gamma=0.0, delta=0.5) == same(0.5 * value("ce", case), rel=1e-12)


@quick
@given(cases(), variants)
def test_unified_without_gamma_is_dice(case: Any, variant: str) -> None:
    assert value(variant, case, lambda_=0.0, gamma=0.0, delta=0.5, smooth=1e-6) == same(value("dice", case), rel=1e-12)


@quick
@given(cases(), variants, deltas)
def test_unified_without_gamma_is_tversky(case: Any, variant: str, delta: float) -> None:
    ours = value(variant, case, lambda_=0.0, gamma=0.0, delta=delta, smooth=1e-6)
    assert ours == same(value("tversky", case, alpha=1.0 - delta, beta=delta), rel=1e-9)


@quick
@given(cases(), variants, deltas, unit)
def test_unified_without_gamma_is_a_weighted_combo_plus_a_constant(
    case: Any, variant: str, beta: float, lambda_: float
) -> None:
    """At δ = 0.5 the Tversky part is 1 − DSC, and Combo has −DSC."""
    ours = value(variant, case, lambda_=lambda_, gamma=0.0, delta=0.5, smooth=1e-6)
    assert ours == same(value("combo", case, alpha=lambda_, beta=0.5) + 1.0 - lambda_, rel=1e-9, abs=1e-12)


@quick
@given(cases(inside=False), deltas, gammas)
def test_symmetric_is_a_focal_loss_with_class_weights(case: Any, delta: float, gamma: float) -> None:
    weights = (1.0 - delta, *[delta] * (case[0].shape[-1] - 1))
    ours = value("unified_focal_sym", case, lambda_=1.0, gamma=gamma, delta=delta)
    assert ours == same(value("focal", case, alpha=weights, gamma=gamma), rel=1e-12)


@quick
@given(cases(inside=False), deltas, gammas, unit)
def test_symmetric_is_the_hybrid_focal_loss_with_grouped_parameters(
    case: Any, delta: float, gamma: float, lambda_: float
) -> None:
    """Six hyperparameters into three (section 2.8): focal Tversky's 1/γ is 1 − γ, its weights and the focal α are δ."""
    weights = (1.0 - delta, *[delta] * (case[0].shape[-1] - 1))
    hybrid = value(
        "hybrid_focal",
        case,
        lambda_=lambda_,
        alpha=weights,
        gamma=gamma,
        tversky_alpha=1.0 - delta,
        tversky_beta=delta,
        tversky_gamma=1.0 / (1.0 - gamma),
        smooth=1e-7,
    )
    assert value("unified_focal_sym", case, lambda_=lambda_, gamma=gamma, delta=delta) == same(hybrid, rel=1e-9)


@quick
@given(cases(inside=False), deltas, unit)
def test_both_variants_meet_without_gamma(case: Any, delta: float, lambda_: float) -> None:
    symmetric = value("unified_focal_sym", case, gamma=0.0, delta=delta, lambda_=lambda_)
    # The symmetric one has a floor under the background's error too.
    assert value("unified_focal_asym", case, gamma=0.0, delta=delta, lambda_=lambda_) == same(
        symmetric, rel=1e-12, abs=1e-7
    )


@quick
@given(cases(classes=2, inside=False), deltas)
def test_conventions_meet_at_gamma_one_half(case: Any, lambda_: float) -> None:
    """At γ = δ = 0.5 what is left of the published form is a sum over classes in place of a mean."""
    parts = {
        convention: [
            value("unified_focal_sym", case, gamma=0.5, delta=0.5, lambda_=weight, convention=convention)
            for weight in (0.0, 1.0)
        ]
        for convention in ("code", "published")
    }
    assert parts["published"] == same([2 * parts["code"][0], parts["code"][1]], rel=1e-12)


@quick
@given(cases(inside=False), variants, gammas, deltas, st.sampled_from(["code", "published"]))
def test_equal_vectors_are_the_scalar(case: Any, variant: str, gamma: float, delta: float, convention: str) -> None:
    n = case[0].shape[-1]
    scalar = value(variant, case, gamma=gamma, delta=delta, convention=convention)
    vectors = value(variant, case, gamma=(gamma,) * n, delta=(delta,) * n, convention=convention)
    assert vectors == same(scalar, rel=1e-12)


@quick
@given(cases(), st.floats(0.1, 0.9))
def test_focal_tversky_at_gamma_one_is_tversky(case: Any, alpha: float) -> None:
    ours = value("focal_tversky", case, alpha=alpha, beta=1.0 - alpha, gamma=1.0)
    assert ours == same(value("tversky", case, alpha=alpha, beta=1.0 - alpha), rel=1e-9)


@quick
@given(cases(inside=False), st.permutations(range(20)), st.sampled_from(losses.names()))
def test_pixels_may_be_permuted(case: Any, order: list[int], name: str) -> None:
    g, p = case
    if name in PLACES or g.ndim == 5:  # 3D permutes as 2D of the same pixels
        return
    shuffled = tuple(x.reshape(len(g), 20, -1)[:, order].reshape(x.shape) for x in (g, p))
    assert value(name, shuffled) == same(value(name, case), rel=1e-12)


@pytest.mark.slow
@quick
@given(cases(), st.sampled_from([n for n in losses.names() if n not in PLACES]))
def test_a_volume_is_its_pixels(case: Any, name: str) -> None:
    """2D and 3D are one formula: a volume's value is that of its voxels laid out as an image."""
    g, p = case
    flat = tuple(x.reshape(len(g), 1, -1, x.shape[-1]) for x in (g, p))
    assert value(name, flat) == same(value(name, case), rel=1e-12)


@pytest.mark.slow
@quick
@given(cases(inside=False), st.sampled_from([n for n in losses.names() if n != "batch_dice"]))
def test_the_batch_value_is_the_mean_of_the_images(case: Any, name: str) -> None:
    g, p = case
    apart = [value(name, (g[i : i + 1], p[i : i + 1])) for i in range(len(g))]
    assert value(name, case) == same(np.mean(apart), rel=1e-12)


@pytest.mark.slow
@quick
@given(cases(inside=False), variants, gammas, deltas, unit)
def test_bounds(case: Any, variant: str, gamma: float, delta: float, lambda_: float) -> None:
    ceiling = -np.log(1e-7)
    assert 0.0 <= value("ce", case) <= ceiling + 1e-9
    for name in ("dice", "tversky", "focal_tversky", "asymmetric_similarity", "generalised_dice"):
        assert 0.0 <= value(name, case) <= 1.0
    assert 0.0 <= value("log_cosh_dice", case) <= np.log(np.cosh(1.0)) + 1e-12
    assert -1.0 <= value("combo", case) <= 0.5 * ceiling
    assert 0.0 <= value(variant, case, gamma=gamma, delta=delta, lambda_=0.0) <= 1.0
    focal = value(variant, case, gamma=gamma, delta=delta, lambda_=1.0)
    assert 0.0 <= focal <= max(delta, 1.0 - delta) * value("ce", case) + 1e-12
    region = value(variant, case, gamma=gamma, delta=delta, lambda_=0.0)
    mixed = value(variant, case, gamma=gamma, delta=delta, lambda_=lambda_)
    assert mixed == same(lambda_ * focal + (1.0 - lambda_) * region, rel=1e-9)


@pytest.mark.slow
@quick
@given(cases(), variants)
def test_gamma_suppresses_and_enhances(case: Any, variant: str) -> None:
    """Fig. 2: with γ the focal part can only fall, and the Tversky part, whose errors are below 1, only rise."""
    focal = [value(variant, case, gamma=g, lambda_=1.0) for g in (0.0, 0.3, 0.6, 0.9)]
    region = [value(variant, case, gamma=g, lambda_=0.0) for g in (0.0, 0.3, 0.6, 0.9)]
    assert focal == sorted(focal, reverse=True)
    assert region == sorted(region)


def test_delta_weighs_misses_and_beta_rare_classes() -> None:
    """δ > 0.5 makes a missed pixel dearer than a false alarm, the stated purpose; Combo's β falls on rare classes."""
    g = np.eye(2)[np.array([0] * 12 + [1] * 4).reshape(1, 4, 4)]
    missed, alarm = g.copy(), g.copy()
    missed[0, 3, 3] = alarm[0, 0, 0] = (0.5, 0.5)
    for variant in ("unified_focal_sym", "unified_focal_asym"):
        dear = {"delta": 0.9, "gamma": 0.2}
        assert value(variant, (g, missed[:, ::1]), **dear) > value(variant, (g, alarm), **dear)
    assert value("combo", (g, missed), beta=0.9, alpha=1.0) == same(
        9 * value("combo", (g, alarm), beta=0.9, alpha=1.0), rel=1e-5
    )


def test_a_variable_is_read_at_each_call() -> None:
    gamma = tf.Variable(0.2)
    loss = tf.function(losses.get_loss("unified_focal_asym", gamma=gamma))
    rng = np.random.default_rng(0)
    g = np.eye(2, dtype=np.float32)[rng.integers(0, 2, (2, 4, 5))]
    p = tf.nn.softmax(rng.standard_normal((2, 4, 5, 2)).astype(np.float32))
    for setting in (0.2, 0.7):
        gamma.assign(setting)
        assert float(loss(g, p)) == same(float(losses.get_loss("unified_focal_asym", gamma=setting)(g, p)), rel=1e-6)
    assert loss.experimental_get_tracing_count() == 1
