"""Max pooling whose gradient XLA can compile where results must be reproducible: TensorFlow has none of its own there.

TensorFlow refuses to compile its gradient of max pooling under `enable_op_determinism`, on every device. This one gives
a window's slope to the first of its largest values, as TensorFlow's does in 2D.
"""

from __future__ import annotations

import math

import keras
import tensorflow as tf
from keras import layers

from workers.tensors import Tensor


def write_out_gradients(model: keras.Model) -> None:
    """Gives the model's max pooling layers a written-out gradient; values, weights and what is saved stay as they are.

    Layers whose windows overlap or are padded keep TensorFlow's.
    """
    for layer in model.layers:
        if isinstance(layer, layers.MaxPooling2D | layers.MaxPooling3D):
            windows, steps = tuple(layer.pool_size), tuple(layer.strides)
            if windows == steps and layer.padding == "valid" and layer.data_format == "channels_last":
                layer.call = _with_gradient(layer.call, windows)


def _with_gradient(pool: Tensor, window: tuple[int, ...]) -> Tensor:
    dimensions, size = len(window), math.prod(window)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def call(inputs: Tensor) -> Tensor:
        pooled = pool(inputs)

        def gradient(upstream: Tensor) -> Tensor:
            counts = [n // w for n, w in zip(inputs.shape[1:-1], window, strict=True)]
            whole = [n * w for n, w in zip(counts, window, strict=True)]
            channels = inputs.shape[-1]
            # (batch, count, window, …, channels) to (batch, counts…, windows…, channels), and back.
            axes = [0, *range(1, 2 * dimensions, 2), *range(2, 2 * dimensions + 1, 2), 2 * dimensions + 1]
            pairs = [n for pair in zip(counts, window, strict=True) for n in pair]
            inside = tf.strided_slice(inputs, [0] * (dimensions + 2), [tf.shape(inputs)[0], *whole, channels])
            windows = tf.transpose(tf.reshape(inside, (-1, *pairs, channels)), axes)
            windows = tf.reshape(windows, (-1, *counts, size, channels))
            first = tf.one_hot(tf.argmax(windows, axis=-2), size, axis=dimensions + 1, dtype=upstream.dtype)
            slopes = first * tf.expand_dims(upstream, -2)
            slopes = tf.reshape(slopes, (-1, *counts, *window, channels))
            back = [axes.index(axis) for axis in range(len(axes))]
            slopes = tf.reshape(tf.transpose(slopes, back), (-1, *whole, channels))
            rest = [(0, n - m) for n, m in zip(inputs.shape[1:-1], whole, strict=True)]
            return tf.pad(slopes, [(0, 0), *rest, (0, 0)])

        return pooled, gradient

    return call
