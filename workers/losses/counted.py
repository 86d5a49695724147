"""The loss of the pixels that count, where others are ignored. Imports TensorFlow.

There are two ways. Most losses depend neither on the order of pixels nor on the other images of a batch: they get each
image's counted pixels alone. The others (`LossDefinition.whole`) get whole arrays, in which ignored pixels are of no
class.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from workers.losses.registry import LossDefinition
from workers.tensors import Tensor


def loss_of_counted(
    line: LossDefinition,
    function: Callable[..., Tensor],
    truth: Tensor,
    prediction: Tensor,
    counted: Tensor,
    truth_map: Tensor = None,
) -> Tensor:
    """The loss of the pixels that count.

    Args:
        line: Which loss it is.
        function: Its function, with its parameters.
        truth: Of the batch.
        prediction: Of the batch.
        counted: Which pixels count, boolean (batch, spatial...).
        truth_map: What the function wants of the truth besides, if it came with the batch.
    """
    more = {} if truth_map is None else {"truth_map": truth_map}
    if not line.whole:
        return _of_each_image(function, truth, prediction, counted, more)
    if line.takes_counted:
        more["counted"] = counted
    return _of_whole(function, truth, prediction, counted, more)


def _of_each_image(
    function: Callable[..., Tensor], truth: Tensor, prediction: Tensor, counted: Tensor, more: dict[str, Tensor]
) -> Tensor:
    """The mean over images of the loss of those pixels that are not ignored; an image of ignored ones has none.

    A loss does not depend on the order of pixels (`workers.losses.conformance`), nor on how many axes they have.
    """

    def one(image: int) -> Tensor:
        # (1, ..., 1, pixels, classes): as many axes as a batch of whole images has.
        axes = [1] * (prediction.shape.rank - 2)

        def kept(values: Tensor) -> Tensor:
            return tf.reshape(tf.boolean_mask(values[image], counted[image]), [*axes, -1, values.shape[-1]])

        def value() -> Tensor:
            return function(kept(truth), kept(prediction), **{name: kept(values) for name, values in more.items()})

        return tf.cond(tf.reduce_any(counted[image]), value, lambda: tf.zeros((), prediction.dtype))

    values = tf.stack([one(image) for image in range(prediction.shape[0])])
    with_pixels = tf.reduce_any(counted, axis=list(range(1, counted.shape.rank)))
    return tf.reduce_sum(values) / tf.maximum(tf.reduce_sum(tf.cast(with_pixels, prediction.dtype)), 1.0)


def _of_whole(
    function: Callable[..., Tensor], truth: Tensor, prediction: Tensor, counted: Tensor, more: dict[str, Tensor]
) -> Tensor:
    """The loss of arrays in which ignored pixels are of no class: 0 in truth and prediction.

    Sums over pixels have nothing of them. A function that takes a mean over pixels has to leave them out itself.
    """
    # Not a product: what is not a number there has no part.
    there = counted[..., tf.newaxis]
    kept = (tf.where(there, values, tf.zeros_like(values)) for values in (truth, prediction))
    return function(*kept, **more)
