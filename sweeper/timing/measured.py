"""What finished trials in the database took: it teaches the predictions of `costs` and `on_paper`."""

from __future__ import annotations

from collections.abc import Iterator

from storage.records import TrainingTime
from storage.repository import Repository
from sweeper.grids.details import details_of
from sweeper.timing.costs import CostModel, Measured, learn_costs
from sweeper.timing.on_paper import Device, OnPaper, on_paper


def measured_costs(repository: Repository) -> CostModel:
    """The cost model of all finished trials in the database, on the data sets as their sweeps prepared them."""
    return learn_costs(one for _, one in _measured(repository))


def measured_on_paper(repository: Repository, device: Device) -> OnPaper:
    """The costs on a device, corrected by the finished trials in the database that were trained on one."""
    of_device = {
        key
        for key, details in repository.environments().items()
        if device.name in details.get("device", "").replace("-", " ").split()
    }
    return on_paper(device, (one for time, one in _measured(repository) if time.environment in of_device))


def _measured(repository: Repository) -> Iterator[tuple[TrainingTime, Measured]]:
    sizes = {
        (sweep.name, dataset): (size.images, size.voxels)
        for sweep in repository.sweeps()
        for dataset, size in details_of(sweep).data.items()
    }
    for one in repository.training_times():
        if (place := (one.sweep, one.data.dataset)) in sizes:
            yield one, Measured(one, one.epochs, one.seconds, *sizes[place])
