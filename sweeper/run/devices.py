"""The devices that a sweep would use: those of this machine, or of the Ray cluster that RAY_ADDRESS names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sweeper.grids.schema import Grid, ResourcesTable
from sweeper.settings import Settings

NVIDIA = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True)
class Devices:
    """CPUs and GPUs, and where they are."""

    cpus: float
    gpus: float
    where: str = "this machine"

    def slots(self, resources: ResourcesTable) -> int:
        """How many trials of the given resources fit at once; a whole GPU each where there is one, unless given."""
        gpus = resources.gpus if resources.gpus is not None else float(self.gpus >= 1)
        needs = [(self.cpus, resources.cpus), (self.gpus, gpus)]
        return int(min(have // wanted for have, wanted in needs if wanted > 0))

    def slots_of(self, grid: Grid) -> int:
        """How many trials of a grid fit at once, whatever its data sets are."""
        return min(self.slots(grid.trial_resources(dataset.name)) for dataset in grid.datasets)

    def __str__(self) -> str:
        gpus = "no GPU" if not self.gpus else f"{self.gpus:g} GPU" + ("s" if self.gpus != 1 else "")
        return f"{self.where} ({self.cpus:g} CPU{'s' if self.cpus != 1 else ''}, {gpus})"


def devices_at_hand(settings: Settings) -> Devices:
    """What a launch would run on now.

    Raises:
        RayUnavailableError: no answer from RAY_ADDRESS.
    """
    from sweeper.run.ray_job import in_cluster
    from sweeper.services import check_ray

    if not in_cluster(settings):
        return Devices(float(len(os.sched_getaffinity(0))), float(local_gpus()))
    check_ray(settings)
    from sweeper.run.ray_cluster import cluster_resources, ray_cluster  # Ray takes seconds to import

    with ray_cluster(settings.ray_address):
        total = cluster_resources()
    return Devices(total.get("CPU", 0), total.get("GPU", 0), f"the cluster at RAY_ADDRESS={settings.ray_address}")


def local_gpus() -> int:
    """NVIDIA GPUs that a process here would see."""
    there = len(list(NVIDIA.iterdir())) if NVIDIA.is_dir() else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return there if visible is None else min(there, len([one for one in visible.split(",") if one.strip()]))
