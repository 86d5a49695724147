"""The U-Net in 2D and 3D, and its attention and residual variants: one encoder and decoder, two exchangeable parts.

Sources:
    Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015 (2D); Çiçek et al., "3D U-Net", MICCAI 2016 (3D);
    Oktay et al., "Attention U-Net", MIDL 2018; He et al., CVPR 2016, and Zhang, Liu, Wang, "Road extraction by deep
    residual U-Net", IEEE GRSL 15 (2018), for the residual units.
Apart from the originals: convolutions keep the size (so that the output has the input's), there is no dropout, and the
normalisation of the spec stands after each 3×3 convolution and before its ReLU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import layers

from trials.spec import ModelSpec
from workers.errors import ParameterError

NORMALISATION_EPSILON = 1e-3
BATCH_MOMENTUM = 0.99


@dataclass(frozen=True, slots=True)
class _Widths:
    """Filters of the two convolutions of one encoder level."""

    first: int
    second: int


class _Parts:
    """The layers of one network, in its dimension and with its normalisation."""

    def __init__(self, spec: ModelSpec, dimensions: int) -> None:
        self.dimensions = dimensions
        self.normalisation = spec.normalisation
        self._convolution = layers.Conv2D if dimensions == 2 else layers.Conv3D
        self._transposed = layers.Conv2DTranspose if dimensions == 2 else layers.Conv3DTranspose
        self._pooling = layers.MaxPooling2D if dimensions == 2 else layers.MaxPooling3D
        self._padding = layers.ZeroPadding2D if dimensions == 2 else layers.ZeroPadding3D
        self._cropping = layers.Cropping2D if dimensions == 2 else layers.Cropping3D

    def widths(self, base: int, level: int) -> _Widths:
        """In 3D the channels double before each pooling, against bottlenecks (Çiçek et al., section 2)."""
        width = base * 2**level
        return _Widths(width, width if self.dimensions == 2 else 2 * width)

    def convolve(
        self, x: keras.KerasTensor, filters: int, kernel: int = 3, stride: int = 1, bias: bool = True
    ) -> keras.KerasTensor:
        convolution = self._convolution(
            filters, kernel, strides=stride, padding="same", use_bias=bias, kernel_initializer="glorot_uniform"
        )
        return convolution(x)

    def normalise(self, x: keras.KerasTensor) -> keras.KerasTensor:
        if self.normalisation == "instance":
            return layers.GroupNormalization(groups=-1, epsilon=NORMALISATION_EPSILON)(x)
        if self.normalisation == "batch":
            return layers.BatchNormalization(momentum=BATCH_MOMENTUM, epsilon=NORMALISATION_EPSILON)(x)
        return x

    def normalised(self, x: keras.KerasTensor, filters: int, kernel: int = 3) -> keras.KerasTensor:
        """Convolution and normalisation. The convolution has a bias only where no normalisation removes it."""
        return self.normalise(self.convolve(x, filters, kernel, bias=self.normalisation == "none"))

    def up_convolve(self, x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
        """Up-convolution 2×2(×2); in 3D without bias, which gives the 19,069,955 parameters that Çiçek et al. count."""
        return self._transposed(
            filters, 2, strides=2, use_bias=self.dimensions == 2, kernel_initializer="glorot_uniform"
        )(x)

    def pool(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return self._pooling(2)(x)

    def pad(self, x: keras.KerasTensor, margins: tuple[tuple[int, int], ...]) -> keras.KerasTensor:
        return self._padding(margins)(x) if any(map(sum, margins)) else x

    def crop(self, x: keras.KerasTensor, margins: tuple[tuple[int, int], ...]) -> keras.KerasTensor:
        return self._cropping(margins)(x) if any(map(sum, margins)) else x


Block = Callable[[_Parts, keras.KerasTensor, _Widths], keras.KerasTensor]
Skip = Callable[[_Parts, keras.KerasTensor, keras.KerasTensor], keras.KerasTensor]


def unet(spec: ModelSpec, input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """The original U-Net; see `workers.networks.build` for arguments and result."""
    return _encoder_decoder(spec, input_shape, classes, block=_double_convolution, skip=_plain_skip)


def attention_unet(spec: ModelSpec, input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """The U-Net with an attention gate on each skip connection (Oktay et al. 2018)."""
    return _encoder_decoder(spec, input_shape, classes, block=_double_convolution, skip=_attention_gate)


def residual_unet(spec: ModelSpec, input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """The U-Net whose pairs of convolutions are residual units."""
    return _encoder_decoder(spec, input_shape, classes, block=_residual_unit, skip=_plain_skip)


def _encoder_decoder(
    spec: ModelSpec, input_shape: tuple[int, ...], classes: int, *, block: Block, skip: Skip
) -> keras.Model:
    spatial = input_shape[:-1]
    margins = _margins(spatial, spec)
    parts = _Parts(spec, len(spatial))
    inputs = keras.Input(input_shape)
    # Zero is the mean of an image after z-score, and what the convolutions pad with themselves.
    x = parts.pad(inputs, margins)
    skips = []
    for level in range(spec.depth):
        x = block(parts, x, parts.widths(spec.base_filters, level))
        skips.append(x)
        x = parts.pool(x)
    x = block(parts, x, parts.widths(spec.base_filters, spec.depth))
    for level in reversed(range(spec.depth)):
        width = parts.widths(spec.base_filters, level).second
        below = x
        # The 2D original halves the channels on the way up, the 3D original keeps them.
        x = parts.up_convolve(below, width if parts.dimensions == 2 else below.shape[-1])
        x = layers.Concatenate()([skip(parts, skips[level], below), x])
        x = block(parts, x, _Widths(width, width))
    logits = parts.crop(parts.convolve(x, classes, kernel=1), margins)
    return keras.Model(inputs, layers.Softmax(dtype="float32")(logits))


def _margins(spatial: tuple[int, ...], spec: ModelSpec) -> tuple[tuple[int, int], ...]:
    """Zeros before and after each axis which make its size a multiple of 2**depth.

    Raises:
        ParameterError: nothing but one voxel is left at the bottom, which instance normalisation turns into zero.
    """
    step = 2**spec.depth
    padded = [math.ceil(size / step) * step for size in spatial]
    if spec.normalisation == "instance" and all(size == step for size in padded):
        raise ParameterError(
            f"depth {spec.depth} leaves one voxel of {'×'.join(map(str, spatial))}, which instance normalisation turns"
            f" into zero; set depth to at most {max(1, math.ceil(math.log2(max(spatial))) - 1)}"
        )
    return tuple(((to - size) // 2, to - size - (to - size) // 2) for size, to in zip(spatial, padded, strict=True))


def _double_convolution(parts: _Parts, x: keras.KerasTensor, widths: _Widths) -> keras.KerasTensor:
    for filters in (widths.first, widths.second):
        x = layers.ReLU()(parts.normalised(x, filters))
    return x


def _residual_unit(parts: _Parts, x: keras.KerasTensor, widths: _Widths) -> keras.KerasTensor:
    """Two convolutions beside an identity, or a 1×1 projection where the channels change (He et al. 2016, fig. 2)."""
    shortcut = x if x.shape[-1] == widths.second else parts.normalised(x, widths.second, kernel=1)
    x = layers.ReLU()(parts.normalised(x, widths.first))
    x = parts.normalised(x, widths.second)
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _plain_skip(_parts: _Parts, x: keras.KerasTensor, _gating: keras.KerasTensor) -> keras.KerasTensor:
    return x


def _attention_gate(parts: _Parts, x: keras.KerasTensor, gating: keras.KerasTensor) -> keras.KerasTensor:
    """Additive attention (Oktay et al. 2018, eq. 1): sigmoid(ψ(ReLU(θ(x) + φ(g)))) scales the skip connection.

    The coefficients are found on the grid of the gating signal, one level below, and brought to the skip's grid by
    (tri)linear interpolation. θ is a strided 2×2(×2) convolution, φ and ψ are 1×1.
    """
    width = x.shape[-1]
    theta = parts.convolve(x, width, kernel=2, stride=2, bias=False)
    phi = parts.convolve(gating, width, kernel=1)
    psi = parts.convolve(layers.ReLU()(layers.Add()([theta, phi])), 1, kernel=1)
    coefficients = _upsample_map(layers.Activation("sigmoid")(psi))
    gated = layers.Multiply()([x, coefficients])
    return parts.normalised(gated, width, kernel=1)


def _upsample_map(x: keras.KerasTensor) -> keras.KerasTensor:
    """A one-channel map at twice its size, by linear interpolation.

    Keras interpolates in 2D alone. A volume has its height and width interpolated with its depth as channels, then its
    depth, in an image of (height · width) × depth.
    """
    if len(x.shape) == 4:
        return layers.UpSampling2D(2, interpolation="bilinear")(x)
    depth, height, width = x.shape[1:4]
    x = layers.Permute((2, 3, 1))(layers.Reshape((depth, height, width))(x))
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = layers.Reshape((4 * height * width, depth, 1))(x)
    x = layers.UpSampling2D((1, 2), interpolation="bilinear")(x)
    x = layers.Permute((3, 1, 2))(layers.Reshape((2 * height, 2 * width, 2 * depth))(x))
    return layers.Reshape((2 * depth, 2 * height, 2 * width, 1))(x)
