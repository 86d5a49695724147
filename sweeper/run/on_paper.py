"""A plan's costs on a device that is not here, corrected by trials that have finished on one. Writes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

from storage.database import open_database
from storage.repository import Repository
from sweeper.run.plan import Plan, has_database
from sweeper.settings import Settings
from sweeper.timing.costs import EXPECTED_SHARE_OF_EPOCHS, FEW_EPOCHS
from sweeper.timing.measured import measured_on_paper
from sweeper.timing.on_paper import FLEETS, USUAL_SHARE, Device, OnPaper, fleet, on_paper
from sweeper.views.on_paper import FleetObject, IntervalObject, OnPaperObject
from trials.states import TrialState

LOADED_VOXELS = 1e7
"""Voxels a second that one CPU core loads and augments with every transform on: by the input's rows of
docs/performance.md 11.8 million in 2D and 9.6 million in 3D."""


def plan_on_paper(plan: Plan, device: Device, settings: Settings) -> OnPaperObject:
    """What a plan's trials would cost on a device.

    Raises:
        StorageError: there is a database, and it cannot be read.
    """
    costs = _costs(device, settings)
    trials = [costs.trial(one.spec, *one.size) for one in plan.trials]
    searches = [costs.trial(one.study.cell.template, *one.size) for one in plan.searches]
    left = [interval for one, interval in zip(plan.trials, trials, strict=True) if one.state != TrialState.FINISHED]
    left += [interval for one, interval in zip(plan.searches, searches, strict=True) for _ in range(one.left)]
    return OnPaperObject(
        device=device.name,
        model=device.model,
        trials=[IntervalObject.of(one) for one in trials],
        searches=[IntervalObject.of(one) for one in searches],
        fleets=[FleetObject.of(fleet(left, devices)) for devices in FLEETS],
        measured=costs.measured,
        assumptions=list(_assumptions(plan, costs)),
    )


def _costs(device: Device, settings: Settings) -> OnPaper:
    if not has_database(settings):
        return on_paper(device)
    with open_database(settings.database, create=False) as database:
        return measured_on_paper(Repository(database), device)


def _assumptions(plan: Plan, costs: OnPaper) -> Iterator[str]:
    device = costs.device
    yield (
        f"peak rates of the data sheet: {device.single / 1e12:g} TFLOP/s in float32, {device.half / 1e12:g} in 16 bits,"
        f" {device.memory / 1e9:,.0f} GB/s; of each {USUAL_SHARE:.0%} is reached, at the fast end all of it"
    )
    yield "each trial has a device for itself"
    specs = [*(one.spec for one in plan.trials), *(one.study.cell.template for one in plan.searches)]
    if many := {spec.training.epochs for spec in specs if spec.training.epochs > FEW_EPOCHS}:
        yield (
            f"early stopping ends a trial after {EXPECTED_SHARE_OF_EPOCHS:.0%} of its {max(many):,} epochs; the time "
            f"grows with them, up to {1 / EXPECTED_SHARE_OF_EPOCHS:g} times"
        )
    sized = [*((t.spec, t.size) for t in plan.trials), *((s.study.cell.template, s.size) for s in plan.searches)]
    spec, loaded = max(((one, costs.voxels_per_second(one, *size)) for one, size in sized), key=lambda pair: pair[1])
    cores = math.ceil(loaded / LOADED_VOXELS)
    yield (
        f"images are loaded as fast as they are trained: at most {loaded / 1e6:,.0f} million voxels a second "
        f"({spec.data.dataset}), which is about {cores} CPU core{'s' if cores > 1 else ''} for each device"
    )
    yield "without preparing the data and scoring the test images"
