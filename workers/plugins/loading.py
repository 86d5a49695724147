"""Makes plug-ins part of this process: executes a file's text or imports a module, and keeps account of its names.

A plug-in that fails leaves every registry as it was.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path

from trials.messages import PluginSource
from trials.registry import REGISTRIES
from trials.spec import content_hash
from workers.losses.registry import LOSSES
from workers.networks._registry import NETWORKS
from workers.plugins.errors import PluginError, line_text
from workers.plugins.sources import installed_plugins, is_file, read_text, source_hash

loaded: dict[str, PluginSource] = {}
"""The plug-ins whose names are in the registries of this process, by reference."""

only_described: set[str] = set()
"""References of those whose functions are not imported here (`workers.plugins.describing`)."""


def load_plugin(reference: str | Path) -> PluginSource:
    """Imports a plug-in into this process; what it registers then works like a built-in entry.

    Loading the same source again does nothing; another source under the same reference replaces what the old one
    registered. When it fails, the registries are as before.

    Args:
        reference: Path of a Python file, or name of an installed module.

    Raises:
        PluginError: no such file or module, it raises, registers nothing, or registers a name that is taken.
    """
    if is_file(reference):
        path = Path(reference).absolute()
        return run(str(path), read_text(path), source_hash(path))
    return run(str(reference), "", source_hash(reference))


def load_installed(kinds: Iterable[str]) -> tuple[PluginSource, ...]:
    """Imports the installed plug-ins of these kinds, such as `figures`.

    Raises:
        PluginError: as `load_plugin`.
    """
    return tuple(load_plugin(module) for module in installed_plugins(kinds))


def load_plugin_texts(messages: Iterable[PluginSource]) -> tuple[PluginSource, ...]:
    """Makes these the plug-ins of this process: what a warm worker does before each trial.

    Args:
        messages: What the coordinator found. Plug-ins that are loaded but not among them are
            taken out, so that two sweeps may use one name for different losses.

    Raises:
        PluginError: as `load_plugin`, or an installed module whose source differs from the coordinator's.
    """
    messages = tuple(messages)
    wanted = {(m.reference, m.source) for m in messages}
    for plugin in tuple(loaded.values()):
        if (plugin.reference, plugin.source) not in wanted:
            unload(plugin)
    return tuple(_load_message(message) for message in messages)


def load_stored(messages: Iterable[PluginSource], kinds: Iterable[str]) -> tuple[PluginSource, ...]:
    """Loads those of a sweep's plug-ins that add something of these kinds, as they were when the sweep was made.

    A coordinator that resumes a sweep needs its data sets, and a report its figures. Losses and networks alone stay
    out, and with them TensorFlow.

    Raises:
        PluginError: as `load_plugin_texts`.
    """
    wanted = set(kinds)
    return tuple(_load_message(message) for message in messages if wanted & set(message.names))


def run(reference: str, text: str, source: str) -> PluginSource:
    """Executes a plug-in's text, or imports its module where the text is empty, unless that was done before."""

    def execute() -> None:
        if text:
            module = types.ModuleType(f"sweeper_plugin_{source}")
            module.__file__ = reference
            sys.modules[module.__name__] = module
            exec(compile(text, reference, "exec"), module.__dict__)  # noqa: S102  the user's own file
        elif reference in sys.modules:
            importlib.reload(sys.modules[reference])
        else:
            importlib.import_module(reference)

    known = loaded.get(reference)
    if known is not None and known.source == source and reference not in only_described:
        return known
    return register(reference, text, source, execute)


def register(reference: str, text: str, source: str, registrations: Callable[[], None]) -> PluginSource:
    """Makes the registrations of a plug-in and keeps account of their names; all of them or none.

    Raises:
        PluginError: something in the plug-in failed, or it registered nothing.
    """
    before = {group: dict(registry) for group, registry in REGISTRIES.items()}
    replaced, was_described = loaded.get(reference), reference in only_described
    if replaced is not None:
        unload(replaced)
    others = {group: set(registry) for group, registry in REGISTRIES.items()}
    try:
        registrations()
        names = {
            registry.plural: new
            for group, registry in REGISTRIES.items()
            if (new := tuple(n for n in registry if n not in others.get(group, ()) and n not in registry.built_in()))
        }
        if not names:
            raise PluginError(
                f"plug-in {reference} registers nothing; call workers.losses.register, workers.networks.register, "
                "workers.datasets.register or another register function in it"
            )
    # Whatever a user's file raises, SystemExit included, is that file's fault and must not end the caller.
    except (Exception, SystemExit) as error:
        for group, registry in REGISTRIES.items():
            ours = {name: registry[name] for name in registry.built_in()}
            registry.replace({**ours, **before.get(group, {})})
        if replaced is not None:
            loaded[reference] = replaced
            if was_described:
                only_described.add(reference)
        if isinstance(error, PluginError):
            raise
        where = f"plug-in {reference}{line_text(error, reference)}"
        raise PluginError(f"{where}: {type(error).__name__}: {error}") from error
    for name in names.get(LOSSES.plural, ()):
        LOSSES.replace({**LOSSES, name: dataclasses.replace(LOSSES[name], source=source)})
    for name in names.get(NETWORKS.plural, ()):
        NETWORKS.replace({**NETWORKS, name: dataclasses.replace(NETWORKS[name], source=source)})
    loaded[reference] = PluginSource(reference, source, text, names)
    return loaded[reference]


def unload(plugin: PluginSource) -> None:
    """Takes a plug-in's names out of the registries of this process."""
    for registry in REGISTRIES.values():
        own = plugin.names.get(registry.plural, ())
        if own:
            registry.replace({name: entry for name, entry in registry.items() if name not in own})
    loaded.pop(plugin.reference, None)
    only_described.discard(plugin.reference)


def _load_message(message: PluginSource) -> PluginSource:
    reference, text = message.reference, message.text
    source = content_hash(text) if text else source_hash(reference)
    if source != message.source:
        raise PluginError(
            f"plug-in {reference!r} has the source {source} on this machine but {message.source} in the trial's "
            "spec; install the same version everywhere"
        )
    return run(reference, text, source)
