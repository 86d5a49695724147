"""From what Keras hands a loss to what it works on: shapes checked, types raised, parameters as tensors."""

from __future__ import annotations

import tensorflow as tf

from workers.errors import InputError, ParameterError
from workers.tensors import Tensor


class ShapeError(InputError):
    """Truth and prediction whose shapes don't fit each other, or are no images with classes."""


def operands(name: str, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Truth and prediction as tensors of one shape and one dtype, float64 or float32.

    Raises:
        ShapeError: ranks other than 4 or 5, fewer than two classes, or shapes that differ, as far as they are known
            when the graph is traced.
    """
    prediction = tf.convert_to_tensor(y_pred)
    if not prediction.dtype.is_floating:
        raise ShapeError(f"loss {name!r}: y_pred has dtype {prediction.dtype.name}; softmax probabilities are floats")
    if prediction.dtype != tf.float64:
        prediction = tf.cast(prediction, tf.float32)
    truth = tf.cast(y_true, prediction.dtype)
    rank = prediction.shape.rank
    if rank not in (4, 5):
        raise ShapeError(
            f"loss {name!r}: y_pred has shape {_text(prediction)}; expected (batch, h, w, classes) or "
            "(batch, d, h, w, classes)"
        )
    if prediction.shape[-1] is None or prediction.shape[-1] < 2:
        raise ShapeError(
            f"loss {name!r}: y_pred has {prediction.shape[-1]} class channels in {_text(prediction)}; expected at "
            "least two, the background first"
        )
    if not truth.shape.is_compatible_with(prediction.shape):
        raise ShapeError(
            f"loss {name!r}: y_true has shape {_text(truth)} but y_pred {_text(prediction)}; give one-hot truth with "
            "one channel per class"
        )
    return truth, prediction


def as_tensor(name: str, keyword: str, value: Tensor, classes: int, dtype: tf.DType) -> Tensor:
    """A parameter as a tensor of the prediction's dtype, a scalar or one value per class.

    Raises:
        ParameterError: it has another shape.
    """
    if isinstance(value, tuple | float):
        tensor = tf.constant(value, dtype)
    else:
        tensor = tf.cast(tf.convert_to_tensor(value), dtype)
    if tensor.shape.rank not in (0, 1) or (tensor.shape.rank == 1 and tensor.shape[0] != classes):
        raise ParameterError(
            f"loss {name!r}: {keyword} has shape {_text(tensor)}; expected a number, or one per class for "
            f"{classes} classes"
        )
    return tensor


def _text(tensor: Tensor) -> str:
    return str(tuple(tensor.shape)) if tensor.shape.rank is not None else "unknown"
