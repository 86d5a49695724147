"""The table of networks by name. Imports no TensorFlow: the coordinator reads it to check a grid.

A new network is one function and one line here, or one `register` call in a plug-in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

from trials.registry import Registry, imported
from trials.spec import ModelSpec
from workers.errors import ParameterError

if TYPE_CHECKING:
    import keras

NetworkBuilder = Callable[[ModelSpec, tuple[int, ...], int], "keras.Model"]
"""`builder(spec, input_shape, classes)`: a model from `(batch, *input_shape)` to `(batch, *spatial, classes)`."""

Normalisation = Literal["instance", "batch", "none"]
NORMALISATIONS: tuple[str, ...] = get_args(Normalisation)


@dataclass(frozen=True, slots=True)
class NetworkDefinition:
    """What the registry knows of a network.

    `builder` is a function, or `"module:function"`, which is imported when the network is first built, so that
    listing networks stays free of TensorFlow. Its model ends in a softmax in float32 whatever the precision.
    `dimensions` says which images it takes; `doc` is one sentence with the source; `source` is the source hash of a
    plug-in, empty for a built-in network.
    """

    name: str
    builder: NetworkBuilder | str
    doc: str
    dimensions: tuple[int, ...] = (2, 3)
    source: str = ""

    def load(self) -> NetworkBuilder:
        """The builder itself; imports its module where it is given by name."""
        return cast(NetworkBuilder, imported(self.builder)) if isinstance(self.builder, str) else self.builder


NETWORKS: Registry[NetworkDefinition] = Registry("network", "sweeper.networks")


def register(definition: NetworkDefinition) -> None:
    """Adds a network; the same definition again is no error.

    Raises:
        InputError: another network has this name.
    """
    NETWORKS.register(definition.name, definition)


def names() -> tuple[str, ...]:
    """Names of all registered networks, sorted."""
    return tuple(sorted(NETWORKS))


def definition(name: str) -> NetworkDefinition:
    """The network registered under `name`.

    Raises:
        UnknownNameError: no network has this name.
    """
    return NETWORKS[name]


def check(spec: ModelSpec, dimensions: int) -> None:
    """Check a model's settings for images of 2 or 3 `dimensions`, without building it.

    Raises:
        UnknownNameError: no network has this name.
        ParameterError: a setting is out of its range, or the network does not take such images.
    """
    network = definition(spec.name)
    if dimensions not in network.dimensions:
        takes = " or ".join(f"{d}D" for d in network.dimensions)
        raise ParameterError(f"network {spec.name!r} takes {takes} images, not {dimensions}D")
    for parameter, value in (("base_filters", spec.base_filters), ("depth", spec.depth)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ParameterError(f"{parameter} of network {spec.name!r} is {value!r}; it must be a whole number ≥ 1")
    if spec.normalisation not in NORMALISATIONS:
        raise ParameterError(
            f"normalisation of network {spec.name!r} is {spec.normalisation!r}; known: {', '.join(NORMALISATIONS)}"
        )


def default_model(dimensions: int) -> ModelSpec:
    """The paper's network for 2D or 3D images: the original U-Net, or the original 3D U-Net (section 3.2)."""
    if dimensions == 2:
        return ModelSpec(name="unet", base_filters=64, depth=4, normalisation="instance")
    return ModelSpec(name="unet", base_filters=32, depth=3, normalisation="instance")


for _definition in (
    NetworkDefinition("unet", "workers.networks._unet:unet", "U-Net (Ronneberger 2015), in 3D that of Çiçek 2016."),
    NetworkDefinition(
        "attention_unet", "workers.networks._unet:attention_unet", "U-Net with additive attention gates (Oktay 2018)."
    ),
    NetworkDefinition(
        "residual_unet", "workers.networks._unet:residual_unet", "U-Net of residual units (He 2016, Zhang 2018)."
    ),
):
    register(_definition)
