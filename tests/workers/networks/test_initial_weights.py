"""The start of a trial follows from its seed alone."""

import keras
import numpy as np
import pytest

from trials.spec import ModelSpec
from workers import networks
from workers.errors import ParameterError

SMALL = ModelSpec("unet", base_filters=4, depth=2)


def small():
    return networks.build(SMALL, input_shape=(16, 16, 3), classes=2)


def test_the_same_seed_gives_the_same_weights_whatever_was_built_and_trained_before():
    keras.utils.set_random_seed(1)
    cold = networks.initial_weights(small(), 5)
    keras.utils.set_random_seed(2)
    warm_model = small()
    warm_model.set_weights([w + 1 for w in warm_model.get_weights()])
    warm = networks.initial_weights(warm_model, 5)
    assert all(np.array_equal(a, b) for a, b in zip(cold, warm, strict=True))
    other = networks.initial_weights(warm_model, 6)
    assert not np.array_equal(cold[0], other[0])


def test_weights_are_glorot_uniform_drawn_by_numpy_and_constants_elsewhere():
    model = small()
    for index, (variable, drawn) in enumerate(zip(model.weights, networks.initial_weights(model, 7), strict=True)):
        if variable.name != "kernel":
            assert (drawn == (1 if variable.name == "gamma" else 0)).all(), variable.path
            continue
        receptive = int(np.prod(variable.shape[:-2]))
        limit = np.sqrt(6 / (receptive * variable.shape[-2] + receptive * variable.shape[-1]))
        uniform = np.random.Generator(np.random.PCG64(np.random.SeedSequence([7, index]))).random(
            variable.shape, dtype=np.float32
        )
        np.testing.assert_allclose(drawn, (2 * uniform - 1) * limit, rtol=1e-4, atol=1e-6)
        assert drawn.dtype == np.float32


def test_batch_statistics_start_at_zero_and_one():
    model = networks.build(ModelSpec("unet", 2, 1, "batch"), input_shape=(8, 8, 1), classes=2)
    drawn = dict(zip([v.path for v in model.weights], networks.initial_weights(model, 0), strict=True))
    assert {float(v.mean()) for p, v in drawn.items() if p.endswith("moving_mean")} == {0.0}
    assert {float(v.mean()) for p, v in drawn.items() if p.endswith("moving_variance")} == {1.0}


def test_a_negative_seed_is_refused():
    with pytest.raises(ParameterError, match="seed is -1"):
        networks.initial_weights(small(), -1)


def plugin(name, builder):
    networks.register(networks.NetworkDefinition(name, builder, "A user's network."))
    return networks.build(ModelSpec(name), input_shape=(8, 8, 1), classes=2)


def test_a_users_network_builds_and_starts_from_its_seed():
    def own(spec, input_shape, classes):
        inputs = keras.Input(input_shape)
        head = keras.Sequential([keras.layers.Conv2D(4, 3, padding="same", kernel_initializer="he_normal")])
        x = keras.layers.Dropout(0.5)(head(inputs))
        x = keras.layers.Conv2D(classes, 1, bias_initializer=keras.initializers.Constant(0.25))(x)
        return keras.Model(inputs, keras.layers.Softmax(dtype="float32")(x))

    model = plugin("own", own)
    first, second = networks.initial_weights(model, 3), networks.initial_weights(model, 3)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], networks.initial_weights(model, 4)[0])
    assert (first[3] == 0.25).all()


def test_a_users_network_that_breaks_the_contract_is_refused():
    def own(spec, input_shape, classes):
        inputs = keras.Input(input_shape)
        return keras.Model(inputs, keras.layers.Conv2D(classes, 3)(inputs))

    with pytest.raises(ParameterError, match=r"'broken' returns float32 of shape \(None, 6, 6, 2\)"):
        plugin("broken", own)
