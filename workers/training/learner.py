"""Networks with their compiled steps, kept warm from trial to trial.

A `Learner` owns one network, its optimiser and the compiled training and validation steps. γ and the other continuous
loss parameters and the learning rate are inputs of the compiled graph, so that trials that differ only there share one
trace. `reset` puts every variable back to what the seed alone decides: a warm learner gives the numbers of a cold one.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import ops

from trials.spec import ModelSpec, TrainingSpec, TrialSpec
from workers import losses, networks
from workers.datasets.preprocessing import IGNORED
from workers.datasets.regions import Members
from workers.errors import ParameterError
from workers.tensors import Tensor
from workers.training.batches import TruthMaps
from workers.training.checkpoints import Array, Arrays
from workers.training.feeding import Feed
from workers.training.loading import Batch

Steps: TypeAlias = tuple[Tensor, Tensor]
"""The compiled steps of training and validation."""


def configure_device(threads: int, *, memory_mib: int | None = None, deterministic: bool = True) -> None:
    """Settles what TensorFlow fixes at its start: threads, determinism, memory growth. Call before any other use.

    Args:
        threads: intra-op threads. They decide the order of floating-point sums, so that they belong to the spec.
        memory_mib: how much of a GPU's memory this process may take; None lets it grow.
        deterministic: whether operations without a deterministic form are refused.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    for gpu in tf.config.list_physical_devices("GPU"):
        if memory_mib is not None:
            limited = tf.config.LogicalDeviceConfiguration(memory_limit=memory_mib)
            tf.config.set_logical_device_configuration(gpu, [limited])
        else:
            tf.config.experimental.set_memory_growth(gpu, True)


class Trained(NamedTuple):
    """A pass over the training batches: the mean loss per image, the number of steps, and the seconds in which they
    waited for their batches."""

    loss: float
    steps: int
    waited: float


class Validated(NamedTuple):
    """A pass over the validation batches: the mean loss per image, the mean hard DSC over images (or patches) and
    foreground classes, and the seconds in which the steps waited for their batches."""

    loss: float
    dsc: float
    waited: float


class Learner:
    """One network, its optimiser and its compiled steps."""

    def __init__(
        self,
        model_spec: ModelSpec,
        training: TrainingSpec,
        input_shape: tuple[int, ...],
        classes: int,
        *,
        ignores: bool = False,
        members: Members = (),
    ) -> None:
        """Builds the network.

        Args:
            model_spec: the network.
            training: precision and optimiser.
            input_shape: of a sample.
            classes: how many.
            ignores: whether labels hold pixels that enter neither loss nor score.
            members: the classes of each nested region, by which validation DSC is computed.

        Raises:
            ParameterError: the network is from another source than the trial's, or pixels are ignored under XLA.
        """
        if ignores and training.xla:
            raise ParameterError("a data set with ignored pixels can't be trained with XLA; set training.xla = false")
        self.ignores, self.members = ignores, members
        _refuse_other_source("network", model_spec.name, model_spec.source, networks.definition(model_spec.name).source)
        self.classes = classes
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(training.precision)
        try:
            self.model = networks.build(model_spec, input_shape=input_shape, classes=classes)
        finally:
            keras.config.set_dtype_policy(before)
        if training.xla:
            networks.prepare_for_xla(self.model)
        optimiser = keras.optimizers.SGD(
            learning_rate=training.learning_rate,
            momentum=training.momentum,
            global_clipnorm=training.gradient_clip,
        )
        if training.precision == "mixed_float16":
            optimiser = keras.optimizers.LossScaleOptimizer(optimiser)
        self.optimiser = optimiser
        self.optimiser.build(self.model.trainable_variables)
        self._fresh_optimiser = [v.numpy() for v in self.optimiser.variables]
        # Without autograph: the steps have no Python control flow over tensors, and rewriting them takes a second each.
        self._compile = {"autograph": False, "jit_compile": True if training.xla else None}
        self._steps: dict[str, Steps] = {}
        self.apply = tf.function(lambda images: self.model(images, training=False), **self._compile)

    def reset(self, seed: int) -> None:
        """Weights from the seed, optimiser as new."""
        self.load(networks.initial_weights(self.model, seed), self._fresh_optimiser)

    def load(self, weights: Sequence[Array], optimiser: Sequence[Array] | None = None) -> None:
        """Puts the given arrays into the network's variables, and into the optimiser's if given."""
        _assign(self.model.variables, weights)
        if optimiser is not None:
            _assign(self.optimiser.variables, optimiser)

    def weights(self) -> Arrays:
        return tuple(v.numpy() for v in self.model.variables)

    def optimiser_state(self) -> Arrays:
        return tuple(v.numpy() for v in self.optimiser.variables)

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(math.prod(v.shape) for v in self.model.trainable_variables)

    @property
    def traces(self) -> int:
        """How often a training step was traced, over all losses; a value of γ needs no trace of its own."""
        return sum(train.experimental_get_tracing_count() for train, _ in self._steps.values())

    def train_epoch(self, loss: LossInput, batches: Iterable[Batch], learning_rate: float) -> Trained:
        """One pass over the batches.

        A loss that is NaN or infinite ends the pass at the next check of it (every 50 steps, and at the end).
        """
        step, _ = self._steps_of(loss)
        self.optimiser.learning_rate.assign(learning_rate)
        losses_seen: list[float] = []
        images_seen: list[int] = []
        running: list[tf.Tensor] = []

        def ended() -> None:
            # The value is known when the step has been made.
            losses_seen.extend(float(running.pop()) for _ in range(len(running)))

        with Feed(batches, _on_device, ended) as feed:
            for batch, images in feed:
                if losses_seen and len(losses_seen) % 50 == 0 and not math.isfinite(losses_seen[-1]):
                    break
                running.append(step(batch, loss.tensors))
                images_seen.append(images)
            ended()
        return Trained(_weighted_mean(losses_seen, images_seen), len(losses_seen), feed.waited)

    def validate(self, loss: LossInput, batches: Iterable[Batch]) -> Validated:
        """One pass over the batches without training.

        A class that is empty in both truth and prediction scores 1, as in the final evaluation.
        """
        _, step = self._steps_of(loss)
        losses_seen: list[float] = []
        images_seen: list[int] = []
        scores: list[np.ndarray] = []
        running: list[tuple[tf.Tensor, tf.Tensor]] = []

        def ended() -> None:
            for value, dsc in running:
                losses_seen.append(float(value))
                scores.append(dsc.numpy())
            running.clear()

        with Feed(batches, _on_device, ended) as feed:
            for batch, images in feed:
                running.append(step(batch, loss.tensors))
                images_seen.append(images)
            ended()
        return Validated(_weighted_mean(losses_seen, images_seen), float(np.mean(np.concatenate(scores))), feed.waited)

    def _steps_of(self, loss: LossInput) -> Steps:
        if loss.key not in self._steps:
            self._steps[loss.key] = self._trace(loss)
        return self._steps[loss.key]

    def _trace(self, loss: LossInput) -> Steps:
        model, optimiser, classes = self.model, self.optimiser, self.classes
        ignores, members = self.ignores, self.members
        scaled = isinstance(optimiser, keras.optimizers.LossScaleOptimizer)

        # Batches are `workers.training.loading.Batch`: images, labels, and truth maps if the loss wants them.
        def value(batch: Sequence[tf.Tensor], output: tf.Tensor, tensors: Mapping[str, tf.Tensor]) -> tf.Tensor:
            function = losses.get_loss(loss.name, **{**loss.constants, **tensors})
            more = {"truth_map": batch[2]} if len(batch) > 2 else {}
            if ignores:
                more["counted"] = batch[1] != IGNORED
            return function(tf.one_hot(batch[1], classes, dtype=tf.float32), output, **more)

        def train(batch: Sequence[tf.Tensor], tensors: Mapping[str, tf.Tensor]) -> tf.Tensor:
            with tf.GradientTape() as tape:
                result = value(batch, model(batch[0], training=True), tensors)
                target = optimiser.scale_loss(result) if scaled else result
            variables = model.trainable_variables
            optimiser.apply(tape.gradient(target, variables), variables)
            return result

        def validate(batch: Sequence[tf.Tensor], tensors: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            output = model(batch[0], training=False)
            predicted = tf.argmax(output, -1)
            if ignores:
                # An index that is no class: nothing there in either map.
                predicted = tf.where(batch[1] == IGNORED, tf.cast(IGNORED, predicted.dtype), predicted)
            return value(batch, output, tensors), hard_dsc(batch[1], predicted, classes, members)

        return tf.function(train, **self._compile), tf.function(validate, **self._compile)


class LossInput:
    """A loss of a spec, split into what the graph is traced with and what it is given at each step."""

    def __init__(self, spec: TrialSpec) -> None:
        definition = losses.definition(spec.loss.name)
        _refuse_other_source("loss", spec.loss.name, spec.loss.source, definition.source)
        if spec.training.xla and not definition.xla:
            raise ParameterError(f"loss {spec.loss.name!r} can't be compiled with XLA; set training.xla = false")
        self.name = spec.loss.name
        inputs = set(losses.graph_parameters(self.name))
        parameters = spec.loss.parameters
        self._parameters = parameters
        self._schedules = definition.schedules
        # With the defaults of added parameters, which a spec leaves out.
        self._values = losses.resolve_parameters(self.name, parameters) if self._schedules else {}
        self.constants = {k: v for k, v in parameters.items() if k not in inputs | definition.of_schedules}
        self.tensors = {k: tf.constant(v, tf.float32) for k, v in sorted(parameters.items()) if k in inputs}
        shapes = {k: list(t.shape) for k, t in self.tensors.items()}
        self.key = json.dumps([self.name, spec.loss.source, self.constants, shapes], sort_keys=True)
        self._definition = definition

    def at(self, epoch: int) -> LossInput:
        """The loss of training in an epoch, the first being 1: weights with a schedule have that epoch's values.

        They follow from the number of the epoch alone, so that they are the same after a resume.
        """
        moved = {s.parameter: tf.constant(s.value(self._values, epoch), tf.float32) for s in self._schedules}
        if not moved:
            return self
        of_epoch = copy.copy(self)
        of_epoch.tensors = {**self.tensors, **moved}
        return of_epoch

    def truth_maps(self, classes: int) -> TruthMaps | None:
        """What the loss wants computed of each label with the batch, for so many classes; None for most losses."""
        if not self._definition.truth_map:
            return None
        function = self._definition.load_truth_map()
        if keywords := self._definition.truth_map_parameters:
            values = losses.resolve_parameters(self.name, self._parameters)
            function = partial(function, **{keyword: values[keyword] for keyword in keywords})
        channels = function(np.zeros((2, 2), np.uint8), classes).shape[-1]
        return TruthMaps(function, classes, channels)


class Learners:
    """The learner of the last network shape; another shape replaces it, so that memory does not grow."""

    def __init__(self) -> None:
        self._key = ""
        self._learner: Learner | None = None

    def get(
        self,
        spec: TrialSpec,
        input_shape: tuple[int, ...],
        classes: int,
        *,
        ignores: bool = False,
        members: Members = (),
    ) -> Learner:
        """The warm learner if the spec's network, optimiser settings and shapes are those of the last one.

        `ignores` and `members` are those of the prepared data, see `Learner`.
        """
        training = spec.training
        key = json.dumps(
            [
                spec.to_dict()["model"],
                training.precision,
                training.xla,
                training.momentum,
                training.gradient_clip,
                list(input_shape),
                classes,
                ignores,
                members,
            ]
        )
        if self._learner is None or key != self._key:
            self._learner = None
            _forget_custom_gradients()
            keras.backend.clear_session()
            learner = Learner(spec.model, training, input_shape, classes, ignores=ignores, members=members)
            self._learner, self._key = learner, key
        return self._learner


def _forget_custom_gradients() -> None:
    """Frees the graphs of a network that is no longer used.

    TensorFlow registers the gradient of every traced `tf.custom_gradient` under a new name forever, and each holds the
    whole graph: some 10 MiB for each loss and network. There is no public way to take one out.
    """
    registry = getattr(getattr(ops, "gradient_registry", None), "_registry", {})
    for name in [n for n in registry if n.startswith("CustomGradient-")]:
        del registry[name]


def _refuse_other_source(kind: str, name: str, wanted: str, loaded: str) -> None:
    """A trial's numbers must come from the source that its hash names."""
    if wanted != loaded:
        raise ParameterError(
            f"{kind} {name!r}: the trial was made with source {wanted or 'built-in'}, but here it is "
            f"{loaded or 'built-in'}; name the file that it was made with by --plugin"
        )


def hard_dsc(labels: tf.Tensor, predicted: tf.Tensor, classes: int, members: Members) -> tf.Tensor:
    """Hard DSC per image and foreground class or region, (batch, classes − 1); 1 where both masks are empty."""
    axes = list(range(1, labels.shape.rank))
    truth = tf.one_hot(labels, classes, dtype=tf.float32)
    guess = tf.one_hot(predicted, classes, dtype=tf.float32)
    if members:
        # (classes, classes): 1 where the row's class belongs to the column's region.
        within = tf.constant(np.array([[float(row in own) for own in members] for row in range(classes)]), tf.float32)
        truth, guess = tf.tensordot(truth, within, 1), tf.tensordot(guess, within, 1)
    truth, guess = truth[..., 1:], guess[..., 1:]
    both = tf.reduce_sum(truth * guess, axes)
    total = tf.reduce_sum(truth, axes) + tf.reduce_sum(guess, axes)
    return tf.where(total > 0, 2 * both / tf.maximum(total, 1), tf.ones_like(total))


def _on_device(batch: Batch) -> tuple[tf.Tensor, ...]:
    """The batch where the steps are made: on the GPU, where there is one."""
    return tuple(map(tf.constant, batch))


def _weighted_mean(values: Sequence[float], weights: Sequence[int]) -> float:
    if not values:
        raise ParameterError("no batch to train or validate on: the split has an empty partition")
    return float(np.average(np.array(values, np.float64), weights=weights))


def _assign(variables: Sequence[Tensor], arrays: Sequence[Array]) -> None:
    if len(variables) != len(arrays):
        raise ParameterError(f"expected {len(variables)} arrays for the network's variables, got {len(arrays)}")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
