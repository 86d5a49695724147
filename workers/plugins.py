"""A user's own losses, networks and data sets, from one Python file or an installed package.

A plug-in makes the same `register` calls as the built-in ones. Where it is a file, the coordinator reads its text, lets
a child process import it to learn what it registers (`describe_plugin`), and sends the text to the workers, which
execute it under the hash of that text (`load_plugin_texts`). Where it is an installed module, every machine has its own
and its hash must agree. Nothing is pickled. A plug-in runs with the rights of the person who names it.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import types
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import workers.datasets.registry
import workers.losses.registry
import workers.networks._registry
from trials.messages import PluginSource
from trials.spec import content_hash
from workers.errors import InputError
from workers.losses import LossDefinition, Parameter
from workers.networks import NetworkDefinition

ENTRY_POINT_GROUPS = ("sweeper.losses", "sweeper.networks", "sweeper.datasets")
DESCRIBE_SECONDS = 300.0
"""How long a plug-in's import may take: TensorFlow from a cold disk is minutes on a slow machine."""


class PluginError(InputError):
    """A plug-in that can't be read, imported or used; the message names its file or module."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """What a plug-in is and what it registered.

    Attributes:
        reference: Absolute path of the file, or name of the installed module.
        source: Content hash of the file's text, or of every Python file of the installed package: what a spec holds.
        text: The file's text; empty for an installed module.
        losses, networks, datasets: Names that it registered.
    """

    reference: str
    source: str
    text: str = ""
    losses: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()

    def to_message(self) -> PluginSource:
        """What a worker needs to load it: an entry of the argument of `load_plugin_texts`."""
        return PluginSource(self.reference, self.source, self.text, self.datasets)


_loaded: dict[str, Plugin] = {}
"""The plug-ins whose names stand in the registries of this process, by reference."""


def installed_plugins() -> tuple[str, ...]:
    """Modules that installed packages name under the entry-point groups; imports none of them."""
    return tuple(sorted({e.module for g in ENTRY_POINT_GROUPS for e in importlib.metadata.entry_points(group=g)}))


def source_hash(reference: str | Path) -> str:
    """Content hash of a plug-in's source: the text of a file, every Python file of an installed module's package.

    Raises:
        PluginError: there is no such file or module, or the file is no UTF-8 text.
    """
    if _is_file(reference):
        return content_hash(_read(Path(reference)))
    return content_hash({str(p.relative_to(root)): _read(p) for root, p in _package_files(str(reference))})


def load_plugin(reference: str | Path) -> Plugin:
    """Import a plug-in into this process; what it registers then works like a built-in one.

    Loading the same source again does nothing; another source under the same reference replaces what the old one
    registered. When it fails, the registries are as before.

    Args:
        reference: Path of a Python file, or name of an installed module.

    Raises:
        PluginError: no such file or module, it raises, registers nothing, or registers a name that is taken.
    """
    if _is_file(reference):
        path = Path(reference).absolute()
        return _load(str(path), _read(path), source_hash(path))
    return _load(str(reference), "", source_hash(reference))


def load_plugin_texts(messages: Iterable[PluginSource]) -> tuple[Plugin, ...]:
    """Make these the plug-ins of this process: what a warm worker does before each trial.

    Args:
        messages: What `Plugin.to_message` made on the coordinator. Plug-ins that are loaded but not among them are
            taken out, so that two sweeps may use one name for different losses.

    Raises:
        PluginError: as `load_plugin`, or an installed module whose source differs from the coordinator's.
    """
    messages = tuple(messages)
    wanted = {(m.reference, m.source) for m in messages}
    for plugin in tuple(_loaded.values()):
        if (plugin.reference, plugin.source) not in wanted:
            _unload(plugin)
    return tuple(_load_message(message) for message in messages)


def load_datasets(messages: Iterable[PluginSource]) -> tuple[Plugin, ...]:
    """Make the data sets of these plug-ins known here, as they were when the sweep was made.

    What a coordinator does that goes on with a sweep. Losses and networks alone stay out, and with them TensorFlow.

    Raises:
        PluginError: as `load_plugin_texts`.
    """
    return tuple(_load_message(message) for message in messages if message.datasets)


def _load_message(message: PluginSource) -> Plugin:
    reference, text = message.reference, message.text
    source = content_hash(text) if text else source_hash(reference)
    if source != message.source:
        raise PluginError(
            f"plug-in {reference!r} has the source {source} on this machine but {message.source} in the trial's "
            "spec; install the same version everywhere"
        )
    return _load(reference, text, source)


def describe_plugin(reference: str | Path) -> Plugin:
    """Learn what a plug-in registers without importing it here, so that TensorFlow stays out of this process.

    A child process imports it and tries each of its losses on a small image. Its losses and networks are then known in
    this process by name, parameters and ranges, for grids to be checked with; their functions run in workers alone,
    or here after `load_plugin`. Its data sets must not need TensorFlow, and are imported here in full.

    Raises:
        PluginError: as `load_plugin`, and a loss that is no scalar with a gradient, or a data set in a file that
            imports TensorFlow.
    """
    reference = str(Path(reference).absolute()) if _is_file(reference) else str(reference)
    text = _read(Path(reference)) if _is_file(reference) else ""
    source = source_hash(reference)
    known = _loaded.get(reference)
    if known is not None and known.source == source:
        return known
    found = _ask_child(reference)
    if found["datasets"]:
        if found["tensorflow"]:
            raise PluginError(
                f"plug-in {reference} registers the data set {found['datasets'][0]!r} and imports TensorFlow; move "
                "the data set into a file of its own that does not"
            )
        return _load(reference, text, source)
    losses = [
        LossDefinition(
            name=line["name"],
            function=_OnlyInWorkers(reference, line["name"]),
            parameters=tuple(Parameter.from_dict(p) for p in line["parameters"]),
            kind=line["kind"],
            doc=line["doc"],
            xla=line["xla"],
        )
        for line in found["losses"]
    ]
    networks = [
        NetworkDefinition(line["name"], _OnlyInWorkers(reference, line["name"]), line["doc"], tuple(line["dimensions"]))
        for line in found["networks"]
    ]

    def register() -> None:
        for loss in losses:
            workers.losses.registry.register(loss)
        for network in networks:
            workers.networks._registry.register(network)

    return _register(reference, text, source, register)


def describe_for(
    files: Iterable[Path], *, losses: Iterable[str], networks: Iterable[str], datasets: Iterable[str]
) -> tuple[Plugin, ...]:
    """Describe these files, and installed plug-ins for as long as one of the names is unknown.

    Args:
        files: plug-in files that were named.
        losses, networks, datasets: the names that a grid uses.

    Raises:
        PluginError: as `describe_plugin`.
    """
    found = [describe_plugin(path) for path in files]
    wanted = {"losses": set(losses), "networks": set(networks), "datasets": set(datasets)}
    for module in installed_plugins():
        if all(names <= set(registry) for names, registry in zip(wanted.values(), _registries().values(), strict=True)):
            break
        found.append(describe_plugin(module))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _OnlyInWorkers:
    """Stands for a function that was described but not imported here."""

    reference: str
    name: str

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        raise PluginError(
            f"{self.name!r} of plug-in {self.reference} is only described in this process; call "
            f"workers.plugins.load_plugin({self.reference!r}) to run it here"
        )


def _load(reference: str, text: str, source: str) -> Plugin:
    def run() -> None:
        if text:
            module = types.ModuleType(f"sweeper_plugin_{source}")
            module.__file__ = reference
            sys.modules[module.__name__] = module
            exec(compile(text, reference, "exec"), module.__dict__)  # noqa: S102  the user's own file
        elif reference in sys.modules:
            importlib.reload(sys.modules[reference])
        else:
            importlib.import_module(reference)

    known = _loaded.get(reference)
    if known is not None and known.source == source and not _described(known):
        return known
    return _register(reference, text, source, run)


def _register(reference: str, text: str, source: str, run: Any) -> Plugin:
    """Call `run`, which registers, and keep what it registered under this source; all or nothing."""
    registries = _registries()
    before = {kind: dict(registry) for kind, registry in registries.items()}
    replaced = _loaded.get(reference)
    if replaced is not None:
        _unload(replaced)
    others = {kind: set(registry) for kind, registry in registries.items()}
    try:
        run()
        new = {kind: tuple(n for n in r if n not in others[kind]) for kind, r in registries.items()}
        if not any(new.values()):
            raise PluginError(
                f"plug-in {reference} registers nothing; call workers.losses.register, workers.networks.register or "
                "workers.datasets.register in it"
            )
    # Whatever a user's file raises, SystemExit included, is that file's fault and must not end the caller.
    except (Exception, SystemExit) as error:
        for kind, registry in registries.items():
            registry.clear()
            registry.update(before[kind])
        if replaced is not None:
            _loaded[reference] = replaced
        if isinstance(error, PluginError):
            raise
        raise PluginError(f"plug-in {reference}{_line(error, reference)}: {type(error).__name__}: {error}") from error
    for kind in ("losses", "networks"):
        for name in new[kind]:
            registries[kind][name] = dataclasses.replace(registries[kind][name], source=source)
    _loaded[reference] = Plugin(reference, source, text, **new)
    return _loaded[reference]


def _unload(plugin: Plugin) -> None:
    for kind, registry in _registries().items():
        for name in getattr(plugin, kind):
            registry.pop(name, None)
    _loaded.pop(plugin.reference, None)


def _registries() -> dict[str, MutableMapping[str, Any]]:
    """The tables themselves: a plug-in that fails half-way must leave no name in them."""
    return {
        "losses": workers.losses.registry._definitions,
        "networks": workers.networks._registry._NETWORKS,
        "datasets": workers.datasets.registry._READERS,
    }


def _described(plugin: Plugin) -> bool:
    registries = _registries()
    functions = [registries["losses"][n].function for n in plugin.losses]
    functions += [registries["networks"][n].builder for n in plugin.networks]
    return any(isinstance(f, _OnlyInWorkers) for f in functions)


def _is_file(reference: str | Path) -> bool:
    return isinstance(reference, Path) or reference.endswith(".py") or os.sep in reference


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PluginError(f"plug-in file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PluginError(f"plug-in file {path} can't be read: {error}") from error


def _package_files(module: str) -> list[tuple[Path, Path]]:
    """(root, file) of every Python file of the top-level package of `module`; looks it up without importing it."""
    try:
        found = importlib.util.find_spec(module.partition(".")[0])
    except ValueError:
        found = None
    if found is None:
        raise PluginError(f"plug-in {module!r} is neither a Python file (NAME.py) nor an installed module")
    if found.submodule_search_locations:
        roots = [Path(location) for location in found.submodule_search_locations]
        return [(root, path) for root in roots for path in sorted(root.rglob("*.py"))]
    if not found.has_location or found.origin is None:
        raise PluginError(f"plug-in {module!r} has no source file")
    return [(Path(found.origin).parent, Path(found.origin))]


def _line(error: BaseException, reference: str) -> str:
    """`", line 7"` for the last line of the file in the error's traceback."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == reference:
            line = trace.tb_lineno
        trace = trace.tb_next
    if line is None and isinstance(error, SyntaxError):
        line = error.lineno
    return f", line {line}" if line else ""


def _ask_child(reference: str) -> dict[str, Any]:
    root = str(Path(__file__).absolute().parent.parent)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "CUDA_VISIBLE_DEVICES": "-1",  # a description must not take a device from a trial
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    try:
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
        found: dict[str, Any] = json.loads(child.stdout)
    except json.JSONDecodeError:
        tail = " | ".join(child.stderr.strip().splitlines()[-3:])
        raise PluginError(f"plug-in {reference} ended its process with status {child.returncode}: {tail}") from None
    if "error" in found:
        raise PluginError(found["error"])
    return found


def description(plugin: Plugin) -> dict[str, Any]:
    """What `describe_plugin` reads from its child."""
    imported = "tensorflow" in sys.modules
    for name in plugin.losses:
        _try_loss(name, plugin.reference)
    return {
        "tensorflow": imported,
        "losses": [
            {
                "name": line.name,
                "kind": line.kind,
                "doc": line.doc,
                "xla": line.xla,
                "parameters": [p.to_dict() for p in line.parameters],
            }
            for line in map(workers.losses.registry.definition, plugin.losses)
        ],
        "networks": [
            {"name": line.name, "doc": line.doc, "dimensions": list(line.dimensions)}
            for line in map(workers.networks._registry.definition, plugin.networks)
        ],
        "datasets": list(plugin.datasets),
    }


def _try_loss(name: str, reference: str) -> None:
    """Value and gradient of a loss with its defaults on one small image: what is wrong shows before hours are spent."""
    import numpy as np
    import tensorflow as tf

    values = workers.losses.registry.resolve_parameters(name).values()
    classes = max([len(v) for v in values if isinstance(v, tuple)], default=2)
    labels = np.arange(64).reshape(1, 8, 8) % classes
    truth = tf.constant(np.eye(classes, dtype=np.float32)[labels])
    prediction = 0.5 * truth + 0.5 / classes
    try:
        with tf.GradientTape() as tape:
            tape.watch(prediction)
            value = workers.losses.registry.get_loss(name)(truth, prediction)
        gradient = tape.gradient(value, prediction)
    # A user's function may raise anything; it is told as this plug-in's error.
    except Exception as error:
        raise PluginError(
            f"plug-in {reference}{_line(error, reference)}: loss {name!r}: {type(error).__name__}: {error}"
        ) from error
    if not tf.is_tensor(value) or value.shape.rank != 0:
        raise PluginError(f"plug-in {reference}: loss {name!r} returns {value!r}; a scalar tensor is wanted")
    if gradient is None or not bool(tf.reduce_all(tf.math.is_finite(gradient))):
        raise PluginError(f"plug-in {reference}: loss {name!r} has no finite gradient in the prediction")


def main() -> None:
    """`python -m workers.plugins FILE`: import it and write, as JSON, what it registers or why it can't be used."""
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the file prints must not mix with the answer
    try:
        found = description(load_plugin(sys.argv[1]))
    except InputError as error:
        found = {"error": str(error)}
    with answer:
        json.dump(found, answer)


if __name__ == "__main__":
    main()
