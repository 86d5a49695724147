"""A loss as Keras' own kind of object, so that a model that was compiled with it can be saved and loaded again.

A bare function would be saved by its name alone: its parameters would be lost, and `dice` and `tversky` would come back
as Keras' losses of those names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Self, TypedDict

import keras
import tensorflow as tf

from workers.errors import ParameterError
from workers.losses.operands import as_tensor, operands
from workers.tensors import Tensor


class LossConfig(TypedDict):
    """What Keras saves of a loss."""

    name: str
    parameters: dict[str, float | str | list[float]]


@keras.saving.register_keras_serializable(package="sweeper")
class SegmentationLoss(keras.losses.Loss):  # type: ignore[misc]
    """What `workers.losses.get_loss` returns: f(y_true, y_pred) -> scalar, and the settings that make it again.

    Args:
        name: The registered name.
        function: `f(truth, prediction, **parameters) -> scalar` on tensors of one shape and dtype.
        values: Every parameter: plain values, or tensors and variables, which are read at each call.
        in_graph: Which of them the function takes as tensors.
    """

    # What `tf.autograph.experimental.do_not_convert` sets on a function: there is no control flow over tensors to be
    # rewritten, and an error that passes through rewritten code changes its type.
    autograph_info__: ClassVar[dict[str, object]] = {}

    def __init__(
        self, name: str, function: Callable[..., Tensor], values: Mapping[str, Tensor], in_graph: tuple[str, ...]
    ) -> None:
        # The function averages over the batch itself: Keras has nothing left to reduce.
        super().__init__(name=name, reduction="none")
        self._function, self._values, self._in_graph = function, dict(values), in_graph

    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None, *, truth_map: Tensor = None
    ) -> Tensor:
        if sample_weight is not None:
            raise ParameterError(f"loss {self.name!r} takes no sample weights: its value is the mean over the batch")
        return self.call(y_true, y_pred, truth_map)

    def call(self, y_true: Tensor, y_pred: Tensor, truth_map: Tensor = None) -> Tensor:
        """The loss of a batch; see `workers.losses.get_loss` for shapes and errors.

        `truth_map`, (batch, spatial..., n), is what the definition's `truth_map` makes of the labels, where the caller
        has computed it.
        """
        truth, prediction = operands(self.name, y_true, y_pred)
        arguments = {
            keyword: as_tensor(self.name, keyword, value, prediction.shape[-1], prediction.dtype)
            if keyword in self._in_graph
            else value
            for keyword, value in self._values.items()
        }
        if truth_map is not None:
            arguments["truth_map"] = tf.cast(truth_map, prediction.dtype)
        return self._function(truth, prediction, **arguments)

    def get_config(self) -> LossConfig:
        """The name and every parameter as JSON values; of a variable the value that it has now."""
        parameters = {
            keyword: value
            if isinstance(value, float | str)
            else list(value)
            if isinstance(value, tuple)
            else keras.ops.convert_to_numpy(value).tolist()
            for keyword, value in self._values.items()
        }
        return {"name": self.name, "parameters": parameters}

    @classmethod
    def from_config(cls, config: LossConfig) -> Self:
        """The same loss again.

        Raises:
            UnknownNameError: the loss is a plug-in's that is not loaded in this process.
        """
        from workers.losses.registry import get_loss

        loss: Self = get_loss(config["name"], **config["parameters"])  # type: ignore[assignment]
        return loss
