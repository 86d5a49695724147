"""What a loss needs of the truth besides: as it came with the batch, or made within the step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from workers.tensors import Tensor


def map_of_truth(
    make: Callable[[NDArray[np.floating]], NDArray[np.floating]], truth: Tensor, truth_map: Tensor, *, channels: int
) -> Tensor:
    """`truth_map`, (batch, spatial..., channels), or where it is missing what `make` gives for the truth.

    That runs within the step, on the host: many times slower, and not with XLA.
    """
    if truth_map is None:
        truth_map = tf.numpy_function(make, [truth], truth.dtype, stateful=False)
    return tf.stop_gradient(tf.ensure_shape(truth_map, [*truth.shape[:-1], channels]))
