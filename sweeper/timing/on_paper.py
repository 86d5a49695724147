"""What trials cost on a GPU that is not here: from the layers' shapes and the device's published peak rates. Pure.

A layer takes as long as its operations at a share of the peak rate, or as its bytes at the same share, whichever is
longer. The first trials that finish on such a device correct what is predicted of the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from sweeper.timing.costs import FIRST_GUESS, NOISE, Measured, TimedSpec, expected_epochs, group
from sweeper.timing.layers import layers_of
from sweeper.timing.schedule import finish_in, lower_bound
from trials.errors import UnknownNameError
from trials.spec import ModelSpec, TrainingSpec

USUAL_SHARE = 0.4
"""Of a peak rate that convolutions and copies reach."""

DOUBT = 1 / USUAL_SHARE
"""The factor by which a prediction may be wrong, 90 times of 100: at the fast end the peak itself is reached."""

BETWEEN_GROUPS = 0.2
"""Standard deviation of the logarithm of what one data set and network takes, about what the others do."""

LAUNCH_SECONDS = 8e-6
"""From one kernel to the next, however small it is."""

BACKWARD = 2
"""The backward pass costs so many forward passes: the slopes of the inputs, and those of the weights."""

VALIDATION_SHARE = 0.25
"""Validation images for each training image, each of them one forward pass an epoch."""

CHANNELS = {2: 3, 3: 1}
"""Of an image. They enter the first layer alone."""

_NINETY = 1.645
"""Standard deviations from the middle to the end of an interval that holds 90 of 100."""

FLEETS = (1, 8, 64)
"""Numbers of devices for which the whole is predicted."""


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU by its published peak rates.

    Attributes:
        name: as a person calls it.
        model: which of its models.
        single: operations a second of a convolution in float32 (in TF32 where it has that: TensorFlow uses it).
        half: in 16 bits.
        memory: bytes a second.
        bfloat16: whether it has that format.
    """

    name: str
    model: str
    single: float
    half: float
    memory: float
    bfloat16: bool = True

    def rate(self, precision: str) -> float:
        """Peak operations a second of a training in this precision."""
        slow = precision == "float32" or (precision == "mixed_bfloat16" and not self.bfloat16)
        return self.single if slow else self.half


DEVICES: Mapping[str, Device] = {
    device.name: device
    for device in (
        Device("P100", "PCIe, 16 GB", single=9.3e12, half=18.7e12, memory=732e9, bfloat16=False),
        Device("A100", "SXM, 40 GB", single=156e12, half=312e12, memory=1555e9),
        Device("H100", "SXM, 80 GB", single=495e12, half=990e12, memory=3350e9),
    )
}
"""By NVIDIA's data sheets, dense matrices, without sparsity."""


def device_named(name: str) -> Device:
    """The device of a name, in whatever case.

    Raises:
        UnknownNameError: its rates are not known.
    """
    found = DEVICES.get(name.upper())
    if found is None:
        raise UnknownNameError("device", name, DEVICES)
    return found


@dataclass(frozen=True, slots=True)
class Interval:
    """Seconds: the middle, and the ends between which they lie 90 times of 100."""

    seconds: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class _Factor:
    """By what predictions are multiplied: the mean and the variance of its logarithm."""

    mean: float
    variance: float

    def of(self, seconds: float) -> Interval:
        half = _NINETY * math.sqrt(self.variance)
        return Interval(*(seconds * math.exp(self.mean + shift) for shift in (0.0, -half, half)))


@dataclass(frozen=True, slots=True)
class OnPaper:
    """The costs of trials on a device. `measured` counts the finished trials that have corrected them.

    `groups` has the factors of data sets and networks of which trials have finished, `overall` serves the others.
    """

    device: Device
    overall: _Factor
    groups: Mapping[str, _Factor]
    measured: int

    def trial(self, spec: TimedSpec, images: int, voxels: int) -> Interval:
        """What a trial takes that has the device for itself."""
        seconds = trial_seconds(spec, images, voxels, expected_epochs(spec.training), self.device)
        return self.groups.get(group(spec), self.overall).of(seconds)

    def voxels_per_second(self, spec: TimedSpec, images: int, voxels: int) -> float:
        """How many voxels of training images a trial's device takes in."""
        training = spec.training
        shown = images * training.patches_per_case * (math.prod(training.patch) if training.patch else voxels)
        return shown * expected_epochs(training) / self.trial(spec, images, voxels).seconds


@dataclass(frozen=True, slots=True)
class Fleet:
    """When all trials have run on so many devices, longest first. No schedule of the middle ends before `bound`."""

    devices: int
    end: Interval
    bound: float


def fleet(trials: Sequence[Interval], devices: int) -> Fleet:
    """The end of trials on `devices` equal devices. The ends of its interval are those of all trials at once."""
    middle = [one.seconds for one in trials]
    lows, highs = [one.low for one in trials], [one.high for one in trials]
    ends = Interval(*(finish_in(seconds, devices) for seconds in (middle, lows, highs)))
    return Fleet(devices, ends, lower_bound(middle, [1.0] * devices))


def on_paper(device: Device, finished: Iterable[Measured] = ()) -> OnPaper:
    """The costs on a device, corrected by trials that have finished on one.

    Each trial's seconds are compared with what is predicted of the epochs that it trained. Those of one data set and
    network are averaged; what they say of others is the mean of these averages, weighed against the published rates.
    """
    logarithms: dict[str, list[float]] = {}
    for one in finished:
        if one.seconds > 0 and one.epochs > 0:
            predicted = trial_seconds(one.spec, one.images, one.voxels, one.epochs, device)
            logarithms.setdefault(group(one.spec), []).append(math.log(one.seconds / predicted))
    own = {key: _Factor(fmean(values), NOISE**2 / len(values)) for key, values in logarithms.items()}
    prior = _Factor(0.0, (math.log(DOUBT) / _NINETY) ** 2)
    apart = [_Factor(factor.mean, factor.variance + BETWEEN_GROUPS**2) for factor in own.values()]
    machine = _together([prior, *apart])
    groups = {}
    for key, factor in own.items():
        others = [one for other, one in zip(own, apart, strict=True) if other != key]
        expected = _together([prior, *others])
        groups[key] = _together([_Factor(expected.mean, expected.variance + BETWEEN_GROUPS**2), factor])
    overall = _Factor(machine.mean, machine.variance + (BETWEEN_GROUPS**2 if own else 0.0))
    return OnPaper(device, overall, groups, sum(map(len, logarithms.values())))


def trial_seconds(spec: TimedSpec, images: int, voxels: int, epochs: float, device: Device) -> float:
    """A trial's training at the usual share of the peak rates: tracing, and so many epochs with their validation."""
    training = spec.training
    voxels = math.prod(training.patch) if training.patch else voxels
    forward = _forward_seconds(spec.model, training, spec.data.dimensions, voxels, len(spec.data.classes), device)
    shown = images * training.patches_per_case
    batches = math.ceil(shown / training.batch_size)
    passes = batches * (1 + BACKWARD) + math.ceil(shown * VALIDATION_SHARE / training.batch_size)
    return FIRST_GUESS[0] + epochs * passes * forward


@cache
def _forward_seconds(
    model: ModelSpec, training: TrainingSpec, dimensions: int, voxels: int, classes: int, device: Device
) -> float:
    """The forward pass of one batch."""
    rate, bytes_each = device.rate(training.precision), 4 if training.precision == "float32" else 2
    seconds = 0.0
    for layer in layers_of(model, 3 if dimensions == 3 else 2, voxels, CHANNELS[dimensions], classes):
        arithmetic = training.batch_size * layer.operations / rate
        copies = bytes_each * (training.batch_size * layer.moved + layer.weights) / device.memory
        seconds += max(arithmetic, copies) / USUAL_SHARE + layer.kernels * LAUNCH_SECONDS
    return seconds


def _together(factors: Sequence[_Factor]) -> _Factor:
    """What several independent observations of one factor say."""
    weights = [1 / factor.variance for factor in factors]
    mean = sum(w * factor.mean for w, factor in zip(weights, factors, strict=True)) / sum(weights)
    return _Factor(mean, 1 / sum(weights))
