"""A loss as Keras' own kind of object, so that a model that was compiled with it can be saved and loaded again.

A bare function would be saved by its name alone: its parameters would be lost, and `dice` and `tversky` would come back
as Keras' losses of those names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self, TypedDict

import keras
import tensorflow as tf

from workers.errors import ParameterError
from workers.losses.counted import loss_of_counted
from workers.losses.operands import as_tensor, operands
from workers.losses.registry import LossDefinition, get_loss
from workers.tensors import Tensor


class LossConfig(TypedDict):
    """What Keras saves of a loss."""

    name: str
    parameters: dict[str, float | str | list[float]]


@keras.saving.register_keras_serializable(package="sweeper")
class SegmentationLoss(keras.losses.Loss):  # type: ignore[misc]
    """What `workers.losses.get_loss` returns: f(y_true, y_pred) -> scalar, and the settings that make it again.

    Args:
        line: The registry line.
        values: Every parameter: plain values, or tensors and variables, which are read at each call.
        in_graph: Which of them the function takes as tensors.
    """

    # What `tf.autograph.experimental.do_not_convert` sets on a function: there is no control flow over tensors to be
    # rewritten, and an error that passes through rewritten code changes its type.
    autograph_info__: ClassVar[dict[str, object]] = {}

    def __init__(self, line: LossDefinition, values: Mapping[str, Tensor], in_graph: tuple[str, ...]) -> None:
        # The function averages over the batch itself: Keras has nothing left to reduce.
        super().__init__(name=line.name, reduction="none")
        self._line, self._function, self._values, self._in_graph = line, line.load(), dict(values), in_graph

    def __call__(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor = None,
        *,
        truth_map: Tensor = None,
        counted: Tensor = None,
    ) -> Tensor:
        if sample_weight is not None:
            raise ParameterError(f"loss {self.name!r} takes no sample weights: its value is the mean over the batch")
        return self.call(y_true, y_pred, truth_map, counted)

    def call(self, y_true: Tensor, y_pred: Tensor, truth_map: Tensor = None, counted: Tensor = None) -> Tensor:
        """The loss of a batch; see `workers.losses.get_loss` for shapes and errors.

        `truth_map`, (batch, spatial..., n), is what the definition's `truth_map` makes of the labels, where the caller
        has computed it. `counted`, boolean (batch, spatial...), says which pixels have a part; without it all have.
        """
        truth, prediction = operands(self.name, y_true, y_pred)
        if truth_map is not None:
            truth_map = tf.cast(truth_map, prediction.dtype)
        if counted is not None:
            counted = tf.convert_to_tensor(counted, tf.bool)
            return loss_of_counted(self._line, self._value, truth, prediction, counted, truth_map)
        more = {} if truth_map is None else {"truth_map": truth_map}
        return self._value(truth, prediction, **more)

    def _value(self, truth: Tensor, prediction: Tensor, **more: Tensor) -> Tensor:
        """The function with its parameters, which become tensors here: within the branch of the graph that has it."""
        arguments = {
            keyword: as_tensor(self.name, keyword, value, prediction.shape[-1], prediction.dtype)
            if keyword in self._in_graph
            else value
            for keyword, value in self._values.items()
        }
        return self._function(truth, prediction, **arguments, **more)

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
        loss: Self = get_loss(config["name"], **config["parameters"])  # type: ignore[assignment]
        return loss
