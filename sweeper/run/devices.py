"""The devices that a sweep would use: those of this machine, or of the Ray cluster that RAY_ADDRESS names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeper.grids.schema import Grid, ResourcesTable
from sweeper.run.gpu_types import Resources, by_type, listed_types, node_of, on_type
from sweeper.settings import Settings

NVIDIA = Path("/proc/driver/nvidia/gpus")

_STEPS = 10_000
"""Ray counts resources in parts of so many; as floating-point numbers, 1 would hold nine times 0.1."""


@dataclass(frozen=True, slots=True)
class Devices:
    """What each machine has, by Ray's names, and where they are; the type of a GPU where somebody wants to know."""

    machines: Sequence[Resources]
    where: str = "this machine"

    @property
    def cpus(self) -> float:
        return sum(machine.get("CPU", 0) for machine in self.machines)

    @property
    def gpus(self) -> float:
        return sum(machine.get("GPU", 0) for machine in self.machines)

    @property
    def types(self) -> dict[str, dict[str, float]]:
        """The CPUs and GPUs of each type of GPU."""
        return by_type(self.machines)

    def wanted(self, table: ResourcesTable) -> Resources:
        """What a trial takes; by default a whole GPU where there is one, or where the type of it is given."""
        gpus = table.gpus if table.gpus is not None else float(table.gpu_type is not None or self.gpus >= 1)
        return {"CPU": table.cpus, "GPU": gpus, **on_type(table.gpu_type)}

    def slots(self, table: ResourcesTable) -> int:
        """How many trials of the given resources fit at once."""
        return self.room_for(self.wanted(table))

    def room_for(self, wanted: Resources) -> int:
        """How many times what is wanted fits, each time on one machine."""
        return sum(times(machine, wanted) for machine in self.machines)

    def lacking(self, grid: Grid) -> list[str]:
        """What a person should know of types of GPU that a grid asks for and that are not here."""
        return [
            f"[resources] gpu_type = {wanted!r}: {self} has {listed_types(self.types)}"
            for wanted in types_asked(grid)
            if wanted not in self.types
        ]

    def slots_of(self, grid: Grid) -> int:
        """How many trials of a grid fit at once, whatever its data sets are."""
        return min(self.slots(grid.trial_resources(dataset.name)) for dataset in grid.used_datasets)

    def __str__(self) -> str:
        gpus = "no GPU" if not self.gpus else f"{self.gpus:g} GPU" + ("s" if self.gpus != 1 else "")
        return f"{self.where} ({self.cpus:g} CPU{'s' if self.cpus != 1 else ''}, {gpus})"


def times(have: Mapping[str, float], wanted: Mapping[str, float]) -> int:
    """How many times what is wanted, by Ray's names, fits into what a machine has. A part of a GPU lies on one GPU."""

    def of(kind: str, amount: float) -> int:
        if kind == "GPU" and amount < 1:
            return int(have.get(kind, 0.0)) * (_STEPS // max(round(amount * _STEPS), 1))
        return round(have.get(kind, 0.0) * _STEPS) // max(round(amount * _STEPS), 1)

    return min(of(kind, amount) for kind, amount in wanted.items() if amount > 0)


def types_asked(grid: Grid) -> list[str]:
    """The types of GPU that a grid asks for, each once."""
    asked = (grid.trial_resources(dataset.name).gpu_type for dataset in grid.used_datasets)
    return list(dict.fromkeys(one for one in asked if one is not None))


def devices_at_hand(settings: Settings, *, with_types: bool = False) -> Devices:
    """What a launch would run on now. `with_types`: also of which types the GPUs are; locally this imports Ray.

    Raises:
        RayUnavailableError: no answer from RAY_ADDRESS.
    """
    from sweeper.run.ray_job import in_cluster
    from sweeper.services import check_ray

    if not in_cluster(settings):
        here = {"CPU": float(len(os.sched_getaffinity(0))), "GPU": float(local_gpus())}
        if with_types and here["GPU"]:
            from sweeper.run.ray_cluster import local_type  # Ray takes seconds to import

            here |= node_of(local_type())
        return Devices([here])
    check_ray(settings)
    from sweeper.run.ray_cluster import nodes, ray_cluster  # Ray takes seconds to import

    with ray_cluster(settings.ray_address):
        return Devices(nodes(), f"the cluster at RAY_ADDRESS={settings.ray_address}")


def local_gpus() -> int:
    """NVIDIA GPUs that a process here would see."""
    there = len(list(NVIDIA.iterdir())) if NVIDIA.is_dir() else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return there if visible is None else min(there, len([one for one in visible.split(",") if one.strip()]))
