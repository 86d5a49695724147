"""Pixel-wise work on images that are cut into slabs, with the class axis folded into the one before it.

A dozen arrays of a batch of volumes cost time and memory; a dozen of a slab that fits into the processor's cache cost
little of either. The class axis, the innermost, has few entries, so that operations along it run element by element;
folded with the last spatial axis, all run over long rows. And sums that go axis by axis keep float32 within 1e-6 over
96³ voxels, where one running sum over all of them does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from workers.tensors import Tensor

SLAB = 1 << 17
"""Most elements of a slab: a handful of arrays of that size stays within a core's cache."""


class Slabs:
    """The slabs of arrays that are shaped as `like`, (batch, spatial..., classes).

    A slab is (1, part of the first spatial axis, ..., width·classes). Where the spatial shape is unknown when the graph
    is traced, or small, the whole batch is one slab, (batch, first spatial axis, ..., width·classes).
    """

    def __init__(self, like: Tensor) -> None:
        self._shape = tf.shape(like)
        self._classes = like.shape[-1]
        self._dtype = like.dtype
        self._per_image = _per_image(like.shape)
        if self._per_image > 1:
            first, *middle, width, classes = like.shape[1:]
            self._slab_shape = (1, first // self._per_image, *middle, width * classes)

    def cut(self, values: Tensor) -> Tensor:
        """An array shaped as `like`, folded and cut: (slabs, ..., width·classes)."""
        if self._per_image > 1:
            return tf.reshape(values, (-1, *self._slab_shape[1:]))
        return tf.reshape(values, tf.concat([self._shape[:-2], [self._shape[-2] * self._classes]], axis=0))

    def rows(self, per_class: Tensor) -> Tensor:
        """An array (batch, classes) laid out for the slabs: (slabs, 1, ..., width·classes)."""
        row = tf.repeat(tf.tile(per_class, (1, self._shape[-2])), self._per_image, axis=0)
        for _ in range(self._shape.shape[0] - 3):
            row = tf.expand_dims(row, 1)
        return row

    def map(self, function: Callable[..., Tensor], arrays: Sequence[Tensor]) -> Tensor:
        """`function` of the slabs of `arrays`, which returns one array of a slab's shape: shaped as `like`."""
        if self._per_image == 1:
            return tf.reshape(function(*arrays), self._shape)
        return tf.reshape(self._each(function, arrays, tf.TensorSpec(self._slab_shape, self._dtype)), self._shape)

    def sums(
        self, function: Callable[..., Sequence[Tensor]], arrays: Sequence[Tensor], *, kept: int = 0
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Sums over the pixels, each (batch, classes), of the arrays that `function` makes of a slab; of the last
        `kept` of them no sums, but the arrays, `cut`."""

        def parted(slab: Sequence[Tensor]) -> tuple[list[Tensor], tuple[Tensor, ...]]:
            made = list(function(*slab))
            summed = made[: len(made) - kept]
            return [self._class_sums(values) for values in summed], tuple(made[len(summed) :])

        if self._per_image == 1:
            sums, rest = parted(arrays)
            return tuple(sums), rest

        def of_slab(*slab: Tensor) -> Tensor:
            sums, rest = parted(slab)
            # Without the leading 1, unlike what `map` makes: of two equal shapes XLA would fill one array with zeros
            # for both loops and copy it, and continue after so large a copy in another thread, whose cache is cold.
            return tf.stack([values[0] for values in sums]), tuple(tf.squeeze(values, 0) for values in rest)

        like_slab = tf.TensorSpec(self._slab_shape[1:], self._dtype)
        spec = tf.TensorSpec((None, self._classes), self._dtype), (like_slab,) * kept
        found, rest = self._each(of_slab, arrays, spec)
        found = tf.reshape(found, (-1, self._per_image, tf.shape(found)[1], self._classes))
        return tuple(tf.unstack(tf.reduce_sum(found, axis=1), axis=1)), rest

    def _each(self, function: Callable[..., Tensor], arrays: Sequence[Tensor], spec: tf.TypeSpec) -> Tensor:
        return tf.map_fn(
            # Not array[i : i + 1], whose length XLA can't know.
            lambda i: function(*(array[i][tf.newaxis] for array in arrays)),
            tf.range(self._shape[0] * self._per_image),
            fn_output_signature=spec,
            parallel_iterations=1,
        )

    def _class_sums(self, folded: Tensor) -> Tensor:
        for axis in range(folded.shape.rank - 2, 0, -1):
            folded = tf.reduce_sum(folded, axis=axis)
        return tf.reduce_sum(tf.reshape(folded, (tf.shape(folded)[0], -1, self._classes)), axis=1)


def _per_image(shape: tf.TensorShape) -> int:
    """Into how many equal slabs of at most `SLAB` elements an image is cut along its first spatial axis."""
    elements = shape[1:].num_elements()
    if elements is None or elements <= SLAB:
        return 1
    length = shape[1]
    count: int = next(n for n in range(1, length + 1) if length % n == 0 and (elements // n <= SLAB or n == length))
    # A length without a divisor that fits: many slabs of next to nothing would cost more than they save.
    return count if elements // count >= SLAB // 8 else 1
