"""Which losses there are, what parameters they take, and how one becomes a function. Imports TensorFlow only in
`get_loss`, so that a coordinator can name, list and check losses without it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trials.registry import Registry, imported
from trials.spec import ParameterValue
from workers.errors import InputError, ParameterError, nearest
from workers.losses.parameters import Parameter
from workers.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Loss = Callable[[Tensor, Tensor], Tensor]
"""f(y_true, y_pred) -> scalar tensor; both of shape (batch, spatial..., classes)."""

TruthMap = Callable[..., "NDArray[np.float32]"]
"""f(labels, classes, **parameters) -> (spatial..., n); see `LossDefinition.truth_map`."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A weight that moves over the first epochs: from `start` in the first one, in equal steps, to its own value.

    The value of the parameter `ramp` is the number of steps; 0 is no schedule. Training alone follows it: the
    validation loss is always that of the final value, so that epochs compare.
    """

    parameter: str
    start: str
    ramp: str

    def value(self, values: Mapping[str, ParameterValue], epoch: int) -> float:
        """The parameter's value in an epoch, the first being 1."""
        final, start, ramp = (_float(values[name]) for name in (self.parameter, self.start, self.ramp))
        return final if epoch > ramp else start + (final - start) * (epoch - 1) / ramp


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
        truth_map_parameters: Parameters of the loss that the function of `truth_map` takes as keywords, too.
        whole: Whether the value depends on where pixels lie, or on the batch as a whole. Where pixels are ignored, it
            gets whole arrays, in which these are of no class: 0 in truth and prediction.
        takes_counted: Whether such a loss then also gets the keyword `counted`, boolean (batch, spatial...).
        lowest: No value is below it; -inf where there is no bound.
        schedules: Parameters that may move over the epochs.
        equation: The formula, in one line.
        reference: Where it was published.
        use: What it is for, in one sentence.
        traps: What is known to go wrong, or to differ from the source.
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
    truth_map: TruthMap | str = ""
    truth_map_parameters: tuple[str, ...] = ()
    whole: bool = False
    takes_counted: bool = False
    lowest: float = 0.0
    schedules: tuple[Schedule, ...] = ()
    equation: str = ""
    reference: str = ""
    use: str = ""
    traps: tuple[str, ...] = ()
    source: str = ""

    def load(self) -> Callable[..., Tensor]:
        """The function itself, imported where it was given by name."""
        return self.function if callable(self.function) else imported(self.function)

    def load_truth_map(self) -> TruthMap:
        """The function of `truth_map`, imported where it was given by name."""
        function: TruthMap = self.truth_map if callable(self.truth_map) else imported(self.truth_map)
        return function

    @property
    def of_schedules(self) -> frozenset[str]:
        """Parameters that say how others move, and that the function does not take."""
        return frozenset(name for schedule in self.schedules for name in (schedule.start, schedule.ramp))


PLUS = "+"
"""Between the parts of a weighted sum in its name."""

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
    """The registry line of a loss; of a name such as `dice+ce` the weighted sum of these (`workers.losses.weighted`).

    Raises:
        UnknownNameError: no loss has that name.
        ParameterError: a sum of one loss with itself.
    """
    if PLUS in name:
        from workers.losses.weighted import weighted_sum

        return weighted_sum([LOSSES[part] for part in name.split(PLUS)])
    return LOSSES[name]


def graph_parameters(name: str) -> tuple[str, ...]:
    """The parameters that may be tensors, so that one trace serves all their values.

    A number and a vector over the classes are different shapes, and need different traces.
    """
    line = definition(name)
    apart = line.of_schedules
    return tuple(p.name for p in line.parameters if p.graph and not (p.choices or p.per_pair or p.name in apart))


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
    for schedule in line.schedules:
        _check_schedule(line, schedule, values)
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

    taken = {keyword: value for keyword, value in values.items() if keyword not in line.of_schedules}
    loss: Loss = SegmentationLoss(line, taken, in_graph)
    return loss


def _check_schedule(line: LossDefinition, schedule: Schedule, values: Mapping[str, ParameterValue]) -> None:
    """Refuses a start without a number of epochs: it would change nothing but the trial's hash."""
    default = next(p.default for p in line.parameters if p.name == schedule.start)
    if values[schedule.ramp] == 0.0 and values[schedule.start] != default:
        raise ParameterError(
            f"loss {line.name!r}: {schedule.start} = {values[schedule.start]} needs {schedule.ramp}, "
            f"in how many epochs {schedule.parameter} is reached"
        )


def _float(value: ParameterValue) -> float:
    if not isinstance(value, int | float):
        raise ParameterError(f"{value!r} moves over epochs; one number is needed")
    return float(value)


def _refuse_unknown(line: LossDefinition, given: Mapping[str, object]) -> None:
    known = [p.name for p in line.parameters]
    for keyword in given:
        if keyword not in known:
            listed = f"its parameters are {', '.join(known)}" if known else "it has none"
            raise ParameterError(f"loss {line.name!r} has no parameter {keyword!r}{nearest(keyword, known)}; {listed}")


def _is_tensor(value: object) -> bool:
    """Whether a value is a TensorFlow or Keras tensor or variable, without an import of either."""
    return hasattr(value, "dtype") and not hasattr(value, "tolist")
