"""Which losses there are, what parameters they take, and how one becomes a function. Imports TensorFlow only in
`get_loss`, so that a coordinator can name, list and check losses without it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from trials.registry import Registry, imported
from trials.spec import ParameterValue
from workers.errors import InputError, ParameterError, nearest
from workers.losses.parameters import Parameter
from workers.tensors import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
"""f(y_true, y_pred) -> scalar tensor; both of shape (batch, spatial..., classes)."""


@dataclass(frozen=True, slots=True)
class LossDefinition:
    """One registry line.

    Attributes:
        name: What a grid calls it.
        function: `f(truth, prediction, **parameters) -> scalar`, or where it is, as `"package.module:function"`,
            which is imported when the loss is first made. Truth and prediction come in with equal shape and dtype
            (float32 or float64); parameters that may be tensors come in as tensors of that dtype, scalar or per class.
        parameters: Every parameter with default and range.
        kind: The paper's family (section 2): from distributions, from regions, or compounds of both.
        doc: One line: the formula or its source.
        paper: Whether the paper compares it.
        check: For what the ranges of single parameters can't say; raises `ParameterError`.
        xla: Whether XLA can compile it in training: not where it computes on the host.
        truth_map: For a loss that needs more of the truth than its one-hot form, such as a distance map: where
            `f(labels, classes) -> float32 (spatial..., n)` is, pure NumPy, as `"package.module:function"`, with labels
            uint8 (spatial...). Training computes it where a batch is made, off the device, and `function` gets the
            keyword `truth_map`, (batch, spatial..., n). Elsewhere (a plain Keras model) `function` has to do without.
        source: Content hash of the plug-in's source; empty for a built-in loss.
    """

    name: str
    function: Callable[..., Tensor] | str
    parameters: tuple[Parameter, ...] = ()
    kind: Literal["distribution", "region", "compound"] = "compound"
    doc: str = ""
    paper: bool = False
    check: Callable[[Mapping[str, ParameterValue]], None] | None = None
    xla: bool = True
    truth_map: str = ""
    source: str = ""

    def load(self) -> Callable[..., Tensor]:
        """The function itself, imported where it was given by name."""
        return self.function if callable(self.function) else imported(self.function)


LOSSES: Registry[LossDefinition] = Registry("loss", "sweeper.losses")
"""Every loss by name: the built-in ones first, in the order of the paper's table."""


def register(definition: LossDefinition) -> None:
    """Adds a loss; the same definition again is no error.

    Raises:
        InputError: another loss has that name, or two of its parameters have one name.
    """
    keywords = [p.name for p in definition.parameters]
    if len(set(keywords)) != len(keywords):
        raise InputError(f"loss {definition.name!r}: two parameters have one name among {', '.join(keywords)}")
    LOSSES.register(definition.name, definition)


def names() -> tuple[str, ...]:
    """Every registered loss, built-in ones first, in the order of the paper's table."""
    return LOSSES.names()


def definition(name: str) -> LossDefinition:
    """The registry line of a loss.

    Raises:
        UnknownNameError: no loss has that name.
    """
    return LOSSES[name]


def graph_parameters(name: str) -> tuple[str, ...]:
    """The parameters that may be tensors, so that one trace serves all their values.

    A number and a vector over the classes are different shapes, and need different traces.
    """
    return tuple(p.name for p in definition(name).parameters if p.graph and not p.choices)


def resolve_parameters(
    name: str, overrides: Mapping[str, object] | None = None, classes: int | None = None
) -> dict[str, ParameterValue]:
    """Every parameter of a loss with an explicit value in range.

    Args:
        name: A registered loss.
        overrides: Values in place of defaults: numbers, words, or sequences with one number per class.
        classes: The number of classes including background; where given, vectors must have as many entries.

    Raises:
        UnknownNameError: no loss has that name.
        ParameterError: a parameter that the loss does not have, or a value outside its range.
    """
    line = definition(name)
    overrides = overrides or {}
    _refuse_unknown(line, overrides)
    where = f"loss {name!r}"
    values = {p.name: p.check(where, overrides.get(p.name, p.default), classes) for p in line.parameters}
    if line.check is not None:
        line.check(values)
    return values


def spec_parameters(
    name: str, values: Mapping[str, ParameterValue], searched: Collection[str] = ()
) -> dict[str, ParameterValue]:
    """What a `LossSpec` holds of `resolve_parameters`: all but added parameters that have their default.

    Args:
        name: A registered loss.
        values: Every parameter.
        searched: Parameters that a search chooses; they are always kept.
    """
    defaults = {p.name: p.default for p in definition(name).parameters if p.added and p.name not in searched}
    return {key: value for key, value in values.items() if key not in defaults or value != defaults[key]}


def get_loss(name: str, **parameters: Tensor) -> Loss:
    """A loss as a Keras-compatible function; imports TensorFlow.

    Args:
        name: A registered loss.
        **parameters: Numbers, sequences with one number per class, words; those in `graph_parameters` may also be
            tensors or variables, whose ranges are not checked here but where the spec is made.

    Returns:
        f(y_true, y_pred) -> scalar. `y_true` one-hot and `y_pred` softmax probabilities, both of shape
        (batch, h, w, classes) or (batch, d, h, w, classes), class 0 the background. It computes in float64 when
        `y_pred` is float64, in float32 otherwise. It raises `ShapeError` or `ParameterError` when it is traced with
        shapes that don't fit each other or the parameters. It is a `keras.losses.Loss`, which Keras saves and loads
        with a compiled model; import `workers.losses.keras_loss` before loading one.

    Raises:
        UnknownNameError: no loss has that name.
        ParameterError: a parameter that the loss does not have, or a value outside its range.
    """
    line = definition(name)
    _refuse_unknown(line, parameters)
    in_graph = graph_parameters(name)
    tensors = {k: v for k, v in parameters.items() if _is_tensor(v)}
    for keyword in tensors:
        if keyword not in in_graph:
            raise ParameterError(f"loss {name!r}: {keyword} can't be a tensor; give a plain value")
    plain = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in parameters.items() if k not in tensors}
    values: dict[str, Tensor] = {**resolve_parameters(name, plain), **tensors}

    from workers.losses.keras_loss import SegmentationLoss

    loss: Loss = SegmentationLoss(name, line.load(), values, in_graph)
    return loss


def _refuse_unknown(line: LossDefinition, given: Mapping[str, object]) -> None:
    known = [p.name for p in line.parameters]
    for keyword in given:
        if keyword not in known:
            listed = f"its parameters are {', '.join(known)}" if known else "it has none"
            raise ParameterError(f"loss {line.name!r} has no parameter {keyword!r}{nearest(keyword, known)}; {listed}")


def _is_tensor(value: object) -> bool:
    """Whether a value is a TensorFlow or Keras tensor or variable, without an import of either."""
    return hasattr(value, "dtype") and not hasattr(value, "tolist")
