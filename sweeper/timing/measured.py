"""The cost model that finished trials teach: read from the database, learned by `sweeper.timing.costs`."""

from __future__ import annotations

from storage.repository import Repository
from sweeper.grids.details import details_of
from sweeper.timing.costs import CostModel, Measured, learn_costs


def measured_costs(repository: Repository) -> CostModel:
    """The cost model of all finished trials in the database, on the data sets as their sweeps prepared them."""
    sizes = {
        (sweep.name, dataset): (size.images, size.voxels)
        for sweep in repository.sweeps()
        for dataset, size in details_of(sweep).data.items()
    }
    return learn_costs(
        Measured(one.spec, one.epochs, one.seconds, *sizes[place])
        for one in repository.training_times()
        if (place := (one.sweep, one.spec.data.dataset)) in sizes
    )
