"""Pixels beside their neighbours, on the device: erosion, dilation and exact distances. Arrays (batch, spatial..., n).

Made of shifts along one axis after another, so that images and volumes are one code and XLA compiles it. What lies
outside an image is left out of a smallest and a largest, and is 0 in a mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from workers.tensors import Tensor


def cross_mean(values: Tensor) -> Tensor:
    """Mean of each pixel and its next neighbours along each axis: of 5 in images, of 7 in volumes."""
    axes = _spatial(values)
    shifted = [shift for axis in axes for shift in _both_sides(values, axis, 0.0)]
    return tf.add_n([values, *shifted]) / (2.0 * len(axes) + 1.0)


def eroded(values: Tensor, counted: Tensor = None) -> Tensor:
    """Least of each pixel and its next neighbours along each axis (a cross).

    Where `counted`, boolean of the values' shape, is false, a pixel is left out, as what lies outside an image is, and
    gets 0.
    """
    least = values = _but_counted(values, counted, values.dtype.max)
    for axis in _spatial(values):
        for shifted in _both_sides(values, axis, values.dtype.max):
            least = tf.minimum(least, shifted)
    return _but_counted(least, counted, 0.0)


def dilated(values: Tensor, counted: Tensor = None) -> Tensor:
    """Largest of each pixel and all its neighbours, also the oblique ones (a box); `counted` as in `eroded`."""
    values = _but_counted(values, counted, values.dtype.min)
    for axis in _spatial(values):
        before, after = _both_sides(values, axis, values.dtype.min)
        values = tf.maximum(tf.maximum(values, before), after)
    return _but_counted(values, counted, 0.0)


def _but_counted(values: Tensor, counted: Tensor, others: float) -> Tensor:
    return values if counted is None else tf.where(counted, values, tf.constant(others, values.dtype))


def contour_distance(inside: Tensor) -> Tensor:
    """What `workers.losses.distances.contour_distance` gives for each image and channel of a boolean array.

    The square of a distance is the least of (x − y)² + what the axes before gave for y: a pass for each pixel of each
    axis, which a GPU does in no time and a processor does not.
    """
    both = tf.stack([inside, tf.logical_not(inside)])
    far = tf.constant(1e12, tf.float32)
    square = tf.where(both, far, 0.0)
    for axis in range(2, square.shape.rank - 1):
        square = _nearest_along(square, axis)
    # Beside a mask without pixels, or without others, every distance is far.
    distance = tf.reduce_sum(tf.sqrt(square), axis=0)
    none = tf.reduce_any(square > 0.5 * far, axis=[0, *range(2, square.shape.rank - 1)], keepdims=True)
    return tf.where(none[0], 0.0, distance)


def _nearest_along(square: Tensor, axis: int) -> Tensor:
    length = tf.shape(square)[axis]
    shape = [-1 if place == axis else 1 for place in range(square.shape.rank)]
    places = tf.reshape(tf.cast(tf.range(length), square.dtype), shape)

    def nearer(place: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
        there = tf.gather(square, place[tf.newaxis], axis=axis)
        return place + 1, tf.minimum(least, there + (places - tf.cast(place, square.dtype)) ** 2)

    _, least = tf.while_loop(lambda place, _: place < length, nearer, (tf.constant(0), square), parallel_iterations=1)
    return tf.ensure_shape(least, square.shape)


def _spatial(values: Tensor) -> Sequence[int]:
    return range(1, values.shape.rank - 1)


def _both_sides(values: Tensor, axis: int, outside: float) -> tuple[Tensor, Tensor]:
    """The neighbour before and the one after each pixel along an axis."""
    rank = values.shape.rank
    all_of = [slice(None)] * rank
    first, last = list(all_of), list(all_of)
    first[axis], last[axis] = slice(1, None), slice(None, -1)
    edge = [[0, 0] for _ in range(rank)]
    before, after = [list(pair) for pair in edge], [list(pair) for pair in edge]
    before[axis], after[axis] = [1, 0], [0, 1]
    return (
        tf.pad(values[tuple(last)], before, constant_values=outside),
        tf.pad(values[tuple(first)], after, constant_values=outside),
    )
