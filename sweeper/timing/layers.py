"""What the layers of a network cost, from their shapes alone: operations, and numbers read and written. Pure.

The layers are those of `workers/networks/_unet.py`; a test holds them against the built networks. A plug-in's
network is taken to be a U-Net of its settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trials.spec import ModelSpec

NORMALISATION_KERNELS = 6
"""How many kernels a normalisation starts: mean, variance, and their use."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The forward pass of one layer for one image.

    Attributes:
        operations: multiplications and additions of a convolution; 0 of other layers, which wait for the memory.
        moved: numbers read and written.
        weights: numbers of its kernel.
        kernels: programs that a device starts for it.
    """

    operations: float
    moved: float
    weights: int = 0
    kernels: int = 1


def convolution(dimensions: int, kernel: int, inputs: int, outputs: int, positions: float, stride: int = 1) -> Layer:
    """A convolution of `kernel` voxels along each axis, from `inputs` to `outputs` channels.

    Args:
        dimensions: 2 or 3.
        kernel: its size along an axis.
        inputs, outputs: channels.
        positions: voxels of the output.
        stride: along each axis.
    """
    weights = kernel**dimensions * inputs * outputs
    return Layer(2.0 * weights * positions, positions * (inputs * stride**dimensions + outputs), weights)


def up_convolution(dimensions: int, inputs: int, outputs: int, positions: float) -> Layer:
    """A transposed convolution 2×2(×2) with stride 2; `positions` are voxels of the output, each from one weight."""
    weights = 2**dimensions * inputs * outputs
    return Layer(2.0 * inputs * outputs * positions, positions * (inputs / 2**dimensions + outputs), weights)


def layers_of(model: ModelSpec, dimensions: Literal[2, 3], voxels: float, channels: int, classes: int) -> list[Layer]:
    """The layers of a network, in the order in which they run.

    Args:
        model: the network.
        dimensions: of the images.
        voxels: of one image or patch.
        channels: of an image.
        classes: with the background.
    """
    return list(_UNet(model, dimensions, voxels).layers(channels, classes))


class _UNet:
    def __init__(self, model: ModelSpec, dimensions: Literal[2, 3], voxels: float) -> None:
        self.model, self.dimensions, self.voxels = model, dimensions, voxels

    def layers(self, channels: int, classes: int) -> Iterator[Layer]:
        depth, dimensions = self.model.depth, self.dimensions
        wide = channels
        for level in range(depth + 1):
            first, second = self._widths(level)
            yield from self._block(wide, first, second, self._at(level))
            wide = second
            if level < depth:
                yield Layer(0, wide * (self._at(level) + self._at(level + 1)))
        for level in reversed(range(depth)):
            at, (_, width) = self._at(level), self._widths(level)
            up = width if dimensions == 2 else wide
            yield up_convolution(dimensions, wide, up, at)
            if self.model.name == "attention_unet":
                yield from self._gate(width, wide, level)
            yield Layer(0, 2 * at * (width + up))
            yield from self._block(width + up, width, width, at)
            wide = width
        yield convolution(dimensions, 1, wide, classes, self.voxels)
        yield Layer(0, 2 * classes * self.voxels)

    def _at(self, level: int) -> float:
        return self.voxels / 2.0 ** (self.dimensions * level)

    def _widths(self, level: int) -> tuple[int, int]:
        width = self.model.base_filters * 2**level
        return width, width if self.dimensions == 2 else 2 * width

    def _block(self, inputs: int, first: int, second: int, at: float) -> Iterator[Layer]:
        residual = self.model.name == "residual_unet"
        if residual and inputs != second:
            yield from self._normalised(inputs, second, at, kernel=1)
        yield from self._normalised(inputs, first, at)
        yield _elementwise(first * at)
        yield from self._normalised(first, second, at)
        if residual:
            yield _elementwise(second * at, reads=2)
        yield _elementwise(second * at)

    def _normalised(self, inputs: int, outputs: int, at: float, kernel: int = 3) -> Iterator[Layer]:
        yield convolution(self.dimensions, kernel, inputs, outputs, at)
        if self.model.normalisation != "none":
            yield _elementwise(outputs * at, reads=2, kernels=NORMALISATION_KERNELS)

    def _gate(self, width: int, below: int, level: int) -> Iterator[Layer]:
        at, coarse = self._at(level), self._at(level + 1)
        yield convolution(self.dimensions, 2, width, width, coarse, stride=2)
        yield convolution(self.dimensions, 1, below, width, coarse)
        yield _elementwise(width * coarse, reads=2)
        yield _elementwise(width * coarse)
        yield convolution(self.dimensions, 1, width, 1, coarse)
        yield _elementwise(coarse)
        yield Layer(0, coarse + at)
        yield Layer(0, (2 * width + 1) * at)
        yield from self._normalised(width, width, at, kernel=1)


def _elementwise(size: float, reads: int = 1, kernels: int = 1) -> Layer:
    return Layer(0, (reads + 1) * size, 0, kernels)
