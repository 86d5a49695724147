"""Gradients: right by central differences in float64, and finite where losses of this kind usually are not."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from workers import losses
from workers.losses.distances import signed_distances

PLACES = {n for n in losses.names() if losses.definition(n).truth_map or losses.definition(n).whole}


def case(shape: tuple[int, ...], seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, shape[-1], shape[:-1])
    labels[0] = np.minimum(labels[0], shape[-1] - 2)  # a class is absent from the first image
    return np.eye(shape[-1])[labels], tf.nn.softmax(rng.standard_normal(shape)).numpy()


def gradient(name: str, g: Any, p: Any, **parameters: Any) -> Any:
    p = tf.convert_to_tensor(p)
    with tf.GradientTape() as tape:
        tape.watch(p)
        value = losses.get_loss(name, **parameters)(g, p)
    return tape.gradient(value, p)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ce", "unified_focal_asym", "combo"])
def test_slabs_change_no_gradient(name: str) -> None:
    """A batch that is cut into slabs has the gradient of the same pixels that are not: of unknown static shape."""
    g, p = case((2, 300, 300, 3))

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float64)] * 2)
    def whole(g: Any, p: Any) -> Any:
        return gradient(name, g, p)

    np.testing.assert_allclose(gradient(name, g, p), whole(g, p), rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ce", "combo", "dice_topk", "generalised_dice", "unified_focal_asym"])
def test_xla_changes_no_number_of_large_images(name: str) -> None:
    g, p = (tf.constant(x) for x in case((2, 300, 300, 3)))
    compiled = tf.function(lambda g, p: gradient(name, g, p), jit_compile=True)
    np.testing.assert_allclose(compiled(g, p), gradient(name, g, p), rtol=1e-9, atol=1e-18)


@pytest.mark.slow
def test_xla_compiles_the_boundary_loss_as_training_calls_it() -> None:
    """With the distance map beside the batch (docs/losses.md); without it, SciPy is called within the step."""
    g, p = case((2, 8, 9, 3))
    maps = np.stack([signed_distances(np.argmax(image, axis=-1).astype(np.uint8), 3) for image in g])

    def step(g: Any, p: Any, maps: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(p)
            value = losses.get_loss("boundary", alpha=0.5)(g, p, truth_map=maps)  # type: ignore[call-arg]
        return value, tape.gradient(value, p)

    arguments = tf.constant(g), tf.constant(p), tf.constant(maps)
    for compiled, plain in zip(tf.function(step, jit_compile=True)(*arguments), step(*arguments), strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-6, atol=1e-12)
    assert losses.definition("boundary").xla


@pytest.mark.parametrize("gamma", [0.5, (0.3, 0.5, 0.7)])
def test_gamma_has_a_gradient_too(gamma: Any) -> None:
    """A written-out gradient must not drop that of another input: γ could be learned."""
    g, p = case((2, 3, 2, 3))
    for name in ("focal", "unified_focal_sym", "unified_focal_asym"):
        if name == "focal" and isinstance(gamma, tuple):
            continue
        at = tf.constant(gamma, tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(at)
            value = losses.get_loss(name, gamma=at)(g, p)
        found = np.atleast_1d(tape.gradient(value, at).numpy())
        for i in range(found.size):
            shift = np.zeros_like(np.atleast_1d(gamma))
            shift[i] = 1e-6
            above, below = (
                float(losses.get_loss(name, gamma=at + sign * tf.reshape(shift, at.shape))(g, p)) for sign in (1, -1)
            )
            assert found[i] == pytest.approx((above - below) / 2e-6, rel=1e-5, abs=1e-9)


def test_second_derivatives_exist() -> None:
    g, p = case((1, 2, 2, 3))
    p = tf.constant(p)
    for name in ("ce", "focal", "dice", "unified_focal_asym"):
        with tf.GradientTape() as outer:
            outer.watch(p)
            with tf.GradientTape() as inner:
                inner.watch(p)
                value = losses.get_loss(name)(g, p)
            first = inner.gradient(value, p)
        second = outer.gradient(first, p).numpy().ravel()  # row sums of the Hessian
        expected = (gradient(name, g, p + 1e-6) - gradient(name, g, p - 1e-6)).numpy().ravel() / 2e-6
        np.testing.assert_allclose(second, expected, rtol=1e-4, atol=1e-6, err_msg=name)


def extreme(kind: str) -> tuple[Any, Any]:
    shape = (2, 8, 9)
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, shape)
    if kind == "all background":
        labels[:] = 0
    g = np.eye(2, dtype=np.float32)[labels]
    if kind == "perfect":
        return g, g
    if kind == "all wrong":
        return g, 1 - g
    if kind == "all background":
        return g, tf.nn.softmax(rng.standard_normal((*shape, 2)).astype(np.float32)).numpy()
    return g, np.eye(2, dtype=np.float32)[np.zeros(shape, int)]  # everything predicted as background, exactly


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["perfect", "all wrong", "all background", "predicted empty"])
@pytest.mark.parametrize("name", losses.names())
def test_finite_at_extremes(name: str, kind: str) -> None:
    """Of halves; `check_loss` asks for the same of float32 and float64."""
    g, p = extreme(kind)
    assert np.isfinite(gradient(name, g, p.astype(np.float16))).all()
    if name.startswith("unified"):
        for parameters in ({"gamma": 0.0}, {"gamma": 0.99}, {"absent": "skip"}, {"convention": "published"}):
            assert np.isfinite(gradient(name, g, p, **parameters)).all(), parameters
        assert np.isfinite(gradient(name, g, p, gamma=0.0, convention="published")).all()


def test_the_clip_stops_the_gradient_of_what_it_clips_alone() -> None:
    """As in the released code: p of exactly 0 or 1 has no gradient, except in the losses that don't clip."""
    g, p = extreme("predicted empty")
    for name in ("ce", "focal", "focal_tversky", "hybrid_focal", "unified_focal_sym", "unified_focal_asym"):
        assert (gradient(name, g, p).numpy() == 0).all(), name
    for name in ("dice", "tversky", "combo"):
        assert (gradient(name, g, p).numpy() != 0).all(), name


@pytest.mark.slow
@pytest.mark.parametrize("name", losses.names())
def test_finite_for_one_foreground_pixel_in_a_volume(name: str) -> None:
    """64³ voxels, one of them foreground, predicted as background with certainty and with doubt."""
    side = 24 if name in PLACES else 64  # maps and erosions of the full size take seconds each
    g = np.zeros((1, side, side, side, 2), np.float32)
    g[..., 0] = 1
    g[0, 5, 6, 7] = (0, 1)
    step = tf.function(lambda g, p: gradient(name, g, p))
    for foreground in (0.0, 1e-3):
        p = np.empty_like(g)
        p[..., 0], p[..., 1] = 1 - foreground, foreground
        found = step(g, p).numpy()
        assert np.isfinite(found).all()
        if foreground and name != "log_cosh_dice":
            assert found[0, 5, 6, 7, 1] < 0  # its probability is pushed up


@pytest.mark.slow
def test_mixed_float16_trains_a_layer() -> None:
    """Through Keras' compile with the mixed policy: finite loss, moving weights."""
    g, _ = extreme("random")
    image = np.random.default_rng(0).standard_normal((2, 8, 9, 3)).astype(np.float32)
    for name in ("ce", "unified_focal_asym", "dice"):
        policy = keras.DTypePolicy("mixed_float16")
        model = keras.Sequential(
            [keras.Input((8, 9, 3)), keras.layers.Conv2D(2, 3, padding="same", activation="softmax", dtype=policy)]
        )
        model.compile(keras.optimizers.SGD(0.1), loss=losses.get_loss(name))
        before = [w.copy() for w in model.get_weights()]
        assert np.isfinite(model.train_on_batch(image, g))
        assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


def test_an_absent_class_has_hardly_any_gradient_when_kept_and_none_when_skipped() -> None:
    g, p = case((1, 6, 7, 2))
    g[..., 0], g[..., 1] = 1.0, 0.0
    part = {"lambda_": 0.0, "gamma": 0.0}
    kept = gradient("unified_focal_asym", g, p, **part).numpy()
    skipped = gradient("unified_focal_asym", g, p, absent="skip", **part).numpy()
    assert np.abs(kept[..., 0]).min() > 1e-3
    assert 0 < np.abs(kept[..., 1]).max() < 1e-6
    assert (skipped[..., 1] == 0).all()
    assert (np.abs(skipped[..., 0]) > np.abs(kept[..., 0])).all()
    single = gradient("unified_focal_asym", g.astype(np.float32), p.astype(np.float32), **part).numpy()
    np.testing.assert_allclose(single, kept, rtol=1e-5)  # small, but not rounding noise
