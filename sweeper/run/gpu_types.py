"""The types of GPU in a cluster, by Ray's names for them. Pure functions of what Ray says of its nodes.

Ray gives a node a resource `accelerator_type:A100` beside its number of GPUs. Whoever asks for a little of it gets a
GPU of that type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

PREFIX = "accelerator_type:"
A_LITTLE = 0.001
"""Of the one that a node has: so that it never is used up."""

Resources = Mapping[str, float]
"""Amounts by Ray's names: `CPU`, `GPU`, `accelerator_type:A100`."""


def on_type(gpu_type: str | None) -> dict[str, float]:
    """What a trial takes beside its GPU, so that this is of the type; nothing where any will do."""
    return {} if gpu_type is None else {f"{PREFIX}{gpu_type}": A_LITTLE}


def node_of(gpu_type: str | None) -> dict[str, float]:
    """What a node has beside its GPUs of a type; nothing where Ray does not know it."""
    return {} if gpu_type is None else {f"{PREFIX}{gpu_type}": 1.0}


def type_of(resources: Resources) -> str | None:
    """The type of GPU that a node has, or that a trial asks for; None: it has no GPU, or Ray does not know the type."""
    types = [name.removeprefix(PREFIX) for name in resources if name.startswith(PREFIX)]
    return types[0] if types else None


def by_type(nodes: Iterable[Resources]) -> dict[str, dict[str, float]]:
    """The CPUs and GPUs of all nodes of each type that have a GPU, sorted by the type."""
    found: dict[str, dict[str, float]] = {}
    for node in nodes:
        gpu_type = type_of(node)
        if gpu_type is not None and node.get("GPU", 0) > 0:
            total = found.setdefault(gpu_type, {"CPU": 0.0, "GPU": 0.0})
            for kind in total:
                total[kind] += node.get(kind, 0)
    return dict(sorted(found.items()))


def listed_types(types: Mapping[str, Resources]) -> str:
    """Types with the number of their GPUs, for a person: `4 A100 and 2 P100`."""
    each = [f"{total['GPU']:g} {name}" for name, total in types.items()]
    return " and ".join(filter(None, [", ".join(each[:-1]), *each[-1:]])) or "no GPU whose type Ray knows"
