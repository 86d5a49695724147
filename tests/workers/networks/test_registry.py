"""The table of networks: names, checks, plug-ins; and that the coordinator can read it without TensorFlow."""

import subprocess
import sys

import pytest

from trials.spec import ModelSpec
from workers import networks
from workers.errors import InputError, ParameterError, UnknownNameError


@pytest.mark.slow
def test_the_registry_and_what_the_coordinator_needs_import_no_tensorflow():
    program = (
        "import sys, workers.networks, workers.scoring.masks, workers.scoring.inference\n"
        "import workers.training.augmentation, workers.training.batches\n"
        "from trials.spec import ModelSpec\n"
        "workers.networks.check(ModelSpec(), 2)\n"
        "print(sorted({'tensorflow', 'keras', 'ray', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_and_defaults_are_the_papers():
    assert {"attention_unet", "residual_unet", "unet"} <= set(networks.names())
    assert networks.default_model(2) == ModelSpec("unet", 64, 4, "instance") == ModelSpec()
    assert networks.default_model(3) == ModelSpec("unet", 32, 3, "instance")


def test_an_unknown_name_is_met_with_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown network 'unett', did you mean 'unet'"):
        networks.check(ModelSpec("unett"), 2)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ModelSpec(base_filters=0), "base_filters of network 'unet' is 0"),
        (ModelSpec(base_filters=True), "base_filters of network 'unet' is True"),
        (ModelSpec(depth=-1), "depth of network 'unet' is -1"),
        (ModelSpec(depth=2.0), "depth of network 'unet' is 2.0"),  # type: ignore[arg-type]
        (ModelSpec(normalisation="layer"), "'layer'; known: instance, batch, none"),  # type: ignore[arg-type]
    ],
)
def test_settings_out_of_range_are_named(spec, words):
    with pytest.raises(ParameterError, match=words):
        networks.check(spec, 2)


def test_a_network_of_other_dimensions_is_refused():
    networks.register(networks.NetworkDefinition("flat", "nowhere:flat", "2D alone.", dimensions=(2,)))
    with pytest.raises(ParameterError, match="'flat' takes 2D images, not 3D"):
        networks.check(ModelSpec("flat"), 3)


def test_a_name_can_be_registered_again_only_as_the_same_network():
    own = networks.NetworkDefinition("ours", "nowhere:own", "Mine.", source="abc")
    networks.register(own)
    networks.register(own)
    assert "ours" in networks.names()
    with pytest.raises(InputError, match="a network named 'unet' is registered already"):
        networks.register(networks.NetworkDefinition("unet", "nowhere:own", "Mine."))
