"""Max pooling with its gradient written out: the same values and slopes, which XLA compiles under determinism."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from workers import networks


def pooled(shape, **options):
    layer = keras.layers.MaxPooling2D if len(shape) == 4 else keras.layers.MaxPooling3D
    inputs = keras.Input(shape[1:])
    return keras.Model(inputs, layer(**options)(inputs))


def slopes(model, images):
    images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        values = model(images)
        weights = np.random.default_rng(1).normal(size=values.shape).astype(np.float32)
        total = tf.reduce_sum(values * weights)
    return values.numpy(), tape.gradient(total, images).numpy()


def equals(shape):
    """Few values, so that most windows hold their largest one several times."""
    return np.random.default_rng(0).integers(0, 3, shape).astype(np.float32)


def distinct(shape):
    return np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("images", "options"),
    [
        (equals((2, 8, 6, 3)), {"pool_size": 2}),
        (equals((2, 7, 9, 3)), {"pool_size": (2, 3)}),
        (distinct((1, 6, 5, 7, 2)), {"pool_size": 2}),
        (equals((2, 7, 9, 3)), {"pool_size": 3, "strides": 2}),  # overlapping windows keep TensorFlow's
    ],
)
def test_values_and_slopes_are_tensorflows(images, options):
    model = pooled(images.shape, **options)
    before, configuration = slopes(model, images), model.get_config()
    networks.prepare_for_xla(model)
    for ours, theirs in zip(slopes(model, images), before, strict=True):
        assert np.array_equal(ours, theirs)
    assert model.get_config() == configuration


@pytest.mark.parametrize("shape", [(2, 8, 6, 3), (1, 6, 4, 4, 2)])
def test_each_window_gives_its_slope_to_one_voxel_also_compiled(shape):
    tf.config.experimental.enable_op_determinism()
    model = pooled(shape, pool_size=2)
    networks.prepare_for_xla(model)

    @tf.function(jit_compile=True, autograph=False)
    def gradient(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            total = tf.reduce_sum(model(images))
        return tape.gradient(total, images)

    found = gradient(tf.constant(equals(shape))).numpy()
    assert set(np.unique(found)) == {0, 1}
    assert found.sum() == np.prod(shape) / 2 ** (len(shape) - 2)
