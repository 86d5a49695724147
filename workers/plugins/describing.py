"""Learns what a plug-in registers in a child process, so that TensorFlow stays out of the coordinator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NoReturn, TypedDict

from trials.messages import NO_GPU, PluginSource
from trials.registry import PREFIX, REGISTRIES
from workers.losses import LossDefinition, Parameter
from workers.losses import register as register_loss
from workers.losses.parameters import ParameterValues
from workers.networks import NetworkDefinition
from workers.networks import register as register_network
from workers.plugins.errors import PluginError
from workers.plugins.loading import loaded, only_described, register, run
from workers.plugins.sources import installed_plugins, is_file, read_text, source_hash
from workers.timers import unless_ended

DESCRIBE_SECONDS = 300.0
"""How long a plug-in's import may take: TensorFlow from a cold disk is minutes on a slow machine."""

SILENT_SECONDS = 5.0
"""After this time a person is told what is waited for."""

DESCRIBED = ("losses", "networks")
"""The kinds that are known here by their description alone; their functions run in workers."""

EVERYWHERE = ("metrics",)
"""The kinds of which every installed entry is used, whether a grid names it or not."""


class LossDescription(TypedDict):
    """A loss without its function."""

    name: str
    kind: Literal["distribution", "region", "compound"]
    doc: str
    xla: bool
    parameters: list[ParameterValues]


class NetworkDescription(TypedDict):
    """A network without its builder."""

    name: str
    doc: str
    dimensions: list[int]


class Description(TypedDict):
    """What the child process writes.

    `tensorflow` says whether the plug-in imports it; `names` are those that it registers, by kind.
    """

    tensorflow: bool
    losses: list[LossDescription]
    networks: list[NetworkDescription]
    names: dict[str, list[str]]


def describe_plugin(reference: str | Path) -> PluginSource:
    """Learns what a plug-in registers without an import of its losses and networks in this process.

    A child process imports it and tries each of its losses on a small image. Its losses and networks are then known in
    this process by name, parameters and ranges, for grids to be checked with; their functions run in workers alone,
    or here after `load_plugin`. What else it registers must not need TensorFlow: it is imported here where this process
    has a registry for it, and only noted where not, as figures before a report is written.

    Raises:
        PluginError: as `load_plugin`, and a loss that is no scalar with a gradient, or a data set (a metric, a figure)
            in a file that imports TensorFlow.
    """
    reference = str(Path(reference).absolute()) if is_file(reference) else str(reference)
    text = read_text(Path(reference)) if is_file(reference) else ""
    source = source_hash(reference)
    known = loaded.get(reference)
    if known is not None and known.source == source:
        return known
    found = _ask_child(reference)
    others = [(kind, names) for kind, names in found["names"].items() if kind not in DESCRIBED]
    if others and found["tensorflow"]:
        kind, names = others[0]
        registry = REGISTRIES.get(PREFIX + kind)
        what = registry.kind if registry else kind
        raise PluginError(
            f"plug-in {reference} registers the {what} {names[0]!r} and imports TensorFlow; move it into a file of its "
            "own that does not"
        )
    if any(PREFIX + kind in REGISTRIES for kind, _ in others):
        return run(reference, text, source)
    return _describe(reference, text, source, found)


def describe_for(files: Iterable[Path], **used: Iterable[str]) -> tuple[PluginSource, ...]:
    """Describes the plug-ins of a grid: these files, and installed plug-ins for as long as a name is unknown.

    Args:
        files: plug-in files that were named.
        **used: the names that a grid uses, by kind: `losses=["mine"]`.

    Returns:
        The files' plug-ins, and others that are loaded and have one of those names or a metric.

    Raises:
        PluginError: as `describe_plugin`.
    """
    found = [describe_plugin(path) for path in files]
    names = {kind: set(wanted) for kind, wanted in used.items()}
    for module in installed_plugins(EVERYWHERE):
        describe_plugin(module)
    for module in () if _known(names) else installed_plugins(names):
        describe_plugin(module)
        if _known(names):
            break
    found += [p for p in loaded.values() if p not in found and _serves(p, names)]
    return tuple(found)


def _known(used: Mapping[str, set[str]]) -> bool:
    import workers.datasets  # noqa: F401 (registers the built-in readers)

    return all(names <= set(REGISTRIES[PREFIX + kind]) for kind, names in used.items())


def _serves(plugin: PluginSource, used: dict[str, set[str]]) -> bool:
    return any(kind in EVERYWHERE or used.get(kind, set()) & set(names) for kind, names in plugin.names.items())


def _describe(reference: str, text: str, source: str, found: Description) -> PluginSource:
    """Registers the losses and networks of a description under functions that run in workers alone."""

    def registrations() -> None:
        for loss in found["losses"]:
            parameters = tuple(Parameter.from_dict(p) for p in loss["parameters"])
            function = _OnlyInWorkers(reference, loss["name"])
            register_loss(
                LossDefinition(loss["name"], function, parameters, loss["kind"], loss["doc"], xla=loss["xla"])
            )
        for network in found["networks"]:
            builder = _OnlyInWorkers(reference, network["name"])
            register_network(NetworkDefinition(network["name"], builder, network["doc"], tuple(network["dimensions"])))

    if found["losses"] or found["networks"]:
        register(reference, text, source, registrations)
    loaded[reference] = PluginSource(
        reference, source, text, {kind: tuple(names) for kind, names in found["names"].items()}
    )
    only_described.add(reference)
    return loaded[reference]


@dataclass(frozen=True, slots=True)
class _OnlyInWorkers:
    """Stands for a function that was described but not imported here."""

    reference: str
    name: str

    def __call__(self, *_arguments: object, **_keywords: object) -> NoReturn:
        raise PluginError(
            f"{self.name!r} of plug-in {self.reference} is only described in this process; call "
            f"workers.plugins.load_plugin({self.reference!r}) to run it here"
        )


def _say_waiting(reference: str) -> None:
    what = "a process imports it, TensorFlow with it, and tries each of its losses"
    sys.stderr.write(f"waiting for plug-in {reference}: {what}; for {DESCRIBE_SECONDS / 60:g} min at most\n")


def _ask_child(reference: str) -> Description:
    root = str(Path(__file__).absolute().parent.parent.parent)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "CUDA_VISIBLE_DEVICES": NO_GPU,  # a description must not take a device from a trial
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    try:
        with unless_ended(SILENT_SECONDS, partial(_say_waiting, reference)):
            child = subprocess.run(
                [sys.executable, "-m", "workers.plugins", reference],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=DESCRIBE_SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise PluginError(f"plug-in {reference} was not imported within {DESCRIBE_SECONDS:g} s") from None
    try:
        found = json.loads(child.stdout)
    except json.JSONDecodeError:
        tail = " | ".join(child.stderr.strip().splitlines()[-3:])
        raise PluginError(f"plug-in {reference} ended its process with status {child.returncode}: {tail}") from None
    if "error" in found:
        raise PluginError(found["error"])
    described: Description = found
    return described
