"""What finished trials in the database took: it teaches the predictions of `costs` and `on_paper`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from storage.repository import Repository
from sweeper.grids.details import details_of
from sweeper.timing.costs import CostModel, Measured, first_guess, group, learn_costs
from sweeper.timing.on_paper import Device, OnPaper, on_paper
from sweeper.timing.speeds import Took, learn_speeds, published


def measured_costs(repository: Repository) -> CostModel:
    """The cost model of all finished trials in the database, on the data sets as their sweeps prepared them.

    Its seconds are those of the device on which most of them were trained. What others took is first multiplied by how
    fast their device is beside that one, so that a data set is not taken for cheap because it had the fast device.
    """
    measured = [(_device(environment), one) for environment, one in _measured(repository)]
    devices = Counter(device for device, _ in measured)
    if len(devices) < 2:
        return learn_costs(one for _, one in measured)
    speeds = learn_speeds(_took(measured), dict.fromkeys(devices, 1.0)).devices
    usual = max(devices, key=lambda device: devices[device])
    return learn_costs(
        one if device == usual else replace(one, seconds=one.seconds * speeds[device] / speeds[usual])
        for device, one in measured
    )


def measured_speeds(repository: Repository, types: Iterable[str]) -> dict[str, float]:
    """How fast types of GPU are beside each other, by Ray's names for them, as far as finished trials tell."""
    types = list(types)
    seen = [
        (of_type, one)
        for environment, one in _measured(repository)
        for of_type in types
        if is_of_type(environment.get("device", ""), of_type)
    ]
    there = {of_type for of_type, _ in seen}
    if len(there) < 2:
        return {}
    guess = published(types)
    return {name: speed for name, speed in learn_speeds(_took(seen), guess).devices.items() if name in there}


def is_of_type(device: str, of_type: str) -> bool:
    """Whether a device, as TensorFlow names it, is of a type, as Ray does: `NVIDIA A100-SXM4-40GB` is an `A100`."""
    return f" {of_type} ".replace("-", " ") in f" {device} ".replace("-", " ")


def measured_on_paper(repository: Repository, device: Device) -> OnPaper:
    """The costs on a device, corrected by the finished trials in the database that were trained on one."""
    return on_paper(
        device,
        (one for environment, one in _measured(repository) if is_of_type(environment.get("device", ""), device.name)),
    )


def _device(environment: Mapping[str, str]) -> str:
    """What an environment was trained on: the GPU's name, or the processor's."""
    device = environment.get("device", "")
    return environment.get("processor", device) if device == "CPU" else device


def _took(measured: Iterable[tuple[str, Measured]]) -> list[Took]:
    """What trials took beside the first guess, with their devices."""
    return [
        Took(group(one.spec), device, one.seconds / first_guess(one.spec, one.images, one.voxels, one.epochs))
        for device, one in measured
    ]


def _measured(repository: Repository) -> Iterator[tuple[Mapping[str, str], Measured]]:
    """Each finished trial, with what it was trained on."""
    environments = repository.environments()
    sizes = {
        (sweep.name, dataset): (size.images, size.voxels)
        for sweep in repository.sweeps()
        for dataset, size in details_of(sweep).data.items()
    }
    for one in repository.training_times():
        if (place := (one.sweep, one.data.dataset)) in sizes:
            trained = Measured(one, one.epochs, one.seconds, *sizes[place])
            yield environments.get(one.environment or "", {}), trained
