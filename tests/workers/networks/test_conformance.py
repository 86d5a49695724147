"""Every network of ours, and the documented plug-in, passes the checks; and each check finds what it is there for."""

from pathlib import Path

import keras
import pytest

from trials.spec import ModelSpec
from workers import networks, plugins
from workers.conformance import ConformanceError
from workers.networks._registry import NETWORKS
from workers.networks.conformance import check_network, network_checks

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "dilated_network.py"


@pytest.fixture(autouse=True)
def _nothing_stays():
    before = dict(NETWORKS)
    yield
    plugins.load_plugin_texts(())
    NETWORKS.replace(before)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "attention_unet", "residual_unet"])
def test_ours(name):
    check_network(name)


def test_every_network_of_ours_is_checked():
    assert set(NETWORKS.built_in()) == {"unet", "attention_unet", "residual_unet"}


@pytest.mark.slow
def test_the_documented_plugin():
    plugins.load_plugin(EXAMPLE)
    check_network("dilated", settings=ModelSpec("dilated", base_filters=2, depth=2, normalisation="none"))


def no_softmax(spec, input_shape, classes):
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, keras.layers.Conv2D(classes, 3, padding="same", dtype="float32")(inputs))


def half(spec, input_shape, classes):
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, keras.layers.Conv2D(classes, 3, padding="same", activation="softmax")(inputs))


def unused(spec, input_shape, classes):
    inputs = keras.Input(input_shape)
    values = keras.layers.Conv2D(classes, 1)(inputs)
    values = values + 0.0 * keras.layers.Conv2D(classes, 1)(inputs)
    return keras.Model(inputs, keras.layers.Softmax(dtype="float32")(values))


@pytest.mark.parametrize(
    ("builder", "check", "words"),
    [
        (no_softmax, "gives_probabilities_of_the_images_size", "expected probabilities that add up to 1"),
        (half, "float32_under_mixed_precision", "must return float32"),
        (unused, "every_weight_has_a_gradient", "expected a gradient that is not 0 everywhere of conv2d"),
    ],
)
def test_a_wrong_network_fails_the_check_that_is_meant_for_it(builder, check, words):
    networks.register(networks.NetworkDefinition("wrong", builder, "Wrong.", dimensions=(2,)))
    with pytest.raises(ConformanceError, match=f"network 'wrong' fails the check {check}: .*{words}"):
        network_checks("wrong")[check]()
