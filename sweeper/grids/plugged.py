"""The plug-ins of a stored sweep: which of them may run, and how a person lets others run.

The code that a sweep was launched with is stored with it, so that a resume and a report have it. Of a sweep that was
imported nobody here has chosen that code. It stays text until a person names a file of the same content, or imports
the sweep with `--allow-code`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from storage.records import Sweep
from storage.repository import Repository
from sweeper.grids.details import SweepDetails, details_of
from trials.messages import PluginSource
from trials.spec import TrialSpec
from workers.plugins import PluginError, load_stored, source_hash

TO_TRAIN = ("losses", "networks", "datasets", "metrics", "samplers", "pruners")
"""The kinds of plug-in without which a sweep cannot go on as it was launched."""


def load_plugins(sweep: Sweep, kinds: Iterable[str]) -> None:
    """Loads those plug-ins of a sweep that add something of these kinds and may run.

    Raises:
        PluginError: one cannot be loaded.
    """
    load_stored(details_of(sweep).runnable, kinds)


def refuse_inert(sweep: Sweep, kinds: Iterable[str] = TO_TRAIN) -> None:
    """Refuses a sweep that needs code of these kinds which came with it and was not allowed to run.

    Raises:
        PluginError: names the plug-ins, their hashes, and what allows them.
    """
    wanted = set(kinds)
    inert = [plugin for plugin in details_of(sweep).inert if wanted & set(plugin.names)]
    if inert:
        raise PluginError(
            f"sweep {sweep.name!r} was imported with code that may not run here: {named(inert)}; read it first, then "
            f"allow it with --plugin FILE, a file of the same content, or with: sweeper db import DIR --allow-code"
        )


def refuse_inert_trial(sweep: Sweep, spec: TrialSpec) -> None:
    """Refuses a trial whose loss or network is code that may not run.

    Raises:
        PluginError: see `refuse_inert`.
    """
    details = details_of(sweep)
    if {spec.loss.source, spec.model.source} & {plugin.source for plugin in details.inert}:
        refuse_inert(sweep)


def allow_matching(repository: Repository, sweep_name: str, files: Iterable[Path]) -> list[Path]:
    """Lets the plug-ins of an imported sweep run that have the content of one of these files; gives the other files."""
    inert = {plugin.source for plugin in details_of(repository.sweep(sweep_name)).inert}
    others = []
    for file in files:
        if (source := source_hash(file)) in inert:
            repository.allow_plugins(sweep_name, [source])
        else:
            others.append(file)
    return others


def allow_files(repository: Repository, sweep_name: str, files: Sequence[Path]) -> None:
    """Lets those plug-ins of a sweep run of which a person has a file of the same content.

    Raises:
        PluginError: a file is none of the sweep's plug-ins, or cannot be read.
    """
    details = details_of(repository.sweep(sweep_name))
    sources = {file: source_hash(file) for file in files}
    known = {plugin.source for plugin in details.plugins}
    for file, source in sources.items():
        if source not in known:
            has = f"it has {named(details.plugins)}" if details.plugins else "it has none"
            raise PluginError(f"--plugin {file}: its hash {source} is of no plug-in of sweep {sweep_name!r}; {has}")
    if details.imported and sources:
        repository.allow_plugins(sweep_name, sources.values())


def named(plugins: Iterable[PluginSource]) -> str:
    """What plug-ins add, with the hash of each, such as `losses mine (3f2a9c41d07be586)`."""
    found = []
    for plugin in plugins:
        adds = "; ".join(f"{kind} {', '.join(names)}" for kind, names in plugin.names.items())
        found.append(f"{adds or Path(plugin.reference).name} ({plugin.source})")
    return ", ".join(found)


def inert_note(details: SweepDetails) -> str:
    """What a report says of code that it left out; empty where there is none."""
    if not details.inert:
        return ""
    return (
        f"This sweep was imported. Code that came with it was not run: {named(details.inert)}. "
        "What it adds to a report is missing here."
    )
