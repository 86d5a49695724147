"""Optuna's samplers and pruners by name, with settings from a grid. Optuna is imported when first needed.

A new one is one `register_sampler` or `register_pruner` call, here or in a plug-in.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from trials.identity import AlwaysHashed, hashed_fields
from trials.registry import Registry, imported
from trials.spec import content_hash
from workers.errors import UnknownNameError, nearest

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

T = TypeVar("T")
STARTUP = "n_startup_trials"

Maker = Callable[..., T] | str
"""A class or function, or where it is, as `"package.module:name"`, which is imported when it is first needed."""


@dataclass(frozen=True, slots=True)
class SamplerDefinition:
    """What the registry knows of a sampler.

    Attributes:
        make: makes the Optuna sampler. A grid's `settings` are its arguments; where it takes `seed` or
            `n_startup_trials`, it gets the search's.
        replays: whether the sampler keeps a state of its own beside the trials, so that its asks must be repeated in
            order to bring it back.
        package: what it needs besides Optuna.
        refused: why a search cannot use it; empty for one that it can.
    """

    make: Maker[BaseSampler]
    replays: bool = False
    package: str = "optuna"
    refused: str = ""


@dataclass(frozen=True, slots=True)
class PrunerDefinition:
    """What the registry knows of a pruner.

    Attributes:
        make: makes the Optuna pruner, from the `pruner_settings` of a grid.
        rungs: whether it notes trials' scores by itself, so that it must be shown them again, epoch by epoch.
    """

    make: Maker[BasePruner]
    rungs: bool = True


SAMPLERS: Registry[SamplerDefinition] = Registry("sampler", "sweeper.samplers")
PRUNERS: Registry[PrunerDefinition] = Registry("pruner", "sweeper.pruners")


def register_sampler(name: str, definition: SamplerDefinition) -> None:
    """Adds a sampler under the name that a grid's `sampler = "..."` asks for.

    Raises:
        InputError: another sampler has that name.
    """
    SAMPLERS.register(name, definition)


def register_pruner(name: str, definition: PrunerDefinition) -> None:
    """Adds a pruner under the name that a grid's `pruner = "..."` asks for.

    Raises:
        InputError: another pruner has that name.
    """
    PRUNERS.register(name, definition)


_LISTED = "a list of values without `search` is the whole grid"
_FIXED = "give the parameter that is to be fixed one value at the loss"

register_sampler("tpe", SamplerDefinition("optuna.samplers:TPESampler"))
register_sampler("random", SamplerDefinition("optuna.samplers:RandomSampler"))
register_sampler("cmaes", SamplerDefinition("optuna.samplers:CmaEsSampler", replays=True, package="cmaes"))
register_sampler("qmc", SamplerDefinition("optuna.samplers:QMCSampler", replays=True))
register_sampler("gp", SamplerDefinition("optuna.samplers:GPSampler", package="torch"))
register_sampler("nsgaii", SamplerDefinition("optuna.samplers:NSGAIISampler", replays=True))
register_sampler("nsgaiii", SamplerDefinition("optuna.samplers:NSGAIIISampler", replays=True))
register_sampler("grid", SamplerDefinition("optuna.samplers:GridSampler", refused=_LISTED))
register_sampler("bruteforce", SamplerDefinition("optuna.samplers:BruteForceSampler", refused=_LISTED))
register_sampler("partialfixed", SamplerDefinition("optuna.samplers:PartialFixedSampler", refused=_FIXED))

register_pruner("median", PrunerDefinition("optuna.pruners:MedianPruner", rungs=False))
register_pruner("percentile", PrunerDefinition("optuna.pruners:PercentilePruner", rungs=False))
register_pruner("threshold", PrunerDefinition("optuna.pruners:ThresholdPruner", rungs=False))
register_pruner("patient", PrunerDefinition("optuna.pruners:PatientPruner", rungs=False))
register_pruner("wilcoxon", PrunerDefinition("optuna.pruners:WilcoxonPruner", rungs=False))
register_pruner("successivehalving", PrunerDefinition("optuna.pruners:SuccessiveHalvingPruner"))
register_pruner("asha", PRUNERS["successivehalving"])
register_pruner("hyperband", PrunerDefinition("optuna.pruners:HyperbandPruner"))
register_pruner("nop", PrunerDefinition("optuna.pruners:NopPruner", rungs=False))
register_pruner("none", PRUNERS["nop"])


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """A search with every default explicit: what is recorded, and hashed, with the sweep and its studies."""

    sampler: str = "tpe"
    settings: Mapping[str, Any] = field(default_factory=dict)
    trials: int = 5
    startup: int = 3
    seed: int = 0
    from_default: bool = True
    pruner: str = "median"
    pruner_settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """16 hex digits over everything but the budget, which may grow.

        A field that is added is left out while it has its default (`trials.identity`).
        """
        hashed = hashed_fields(self, _ALWAYS_HASHED)
        return content_hash({name: value for name, value in hashed.items() if name != "trials"})

    @property
    def prunes(self) -> bool:
        """Whether a trial may be pruned before its end."""
        return _found(PRUNERS, self.pruner) is not PRUNERS["nop"]

    @property
    def rungs(self) -> bool:
        """Whether the pruner notes trials' scores by itself, so that it must be shown them again, epoch by epoch."""
        names = (self.pruner, str(self.pruner_settings.get("wrapped_pruner", "nop")))
        return any(_found(PRUNERS, name).rungs for name in names)

    @property
    def replays(self) -> bool:
        """Whether the sampler keeps a state of its own beside the trials, so that its asks must be repeated in order
        to bring it back."""
        return _found(SAMPLERS, self.sampler).replays


_ALWAYS_HASHED: AlwaysHashed = {
    SearchSettings: ("sampler", "settings", "startup", "seed", "from_default", "pruner", "pruner_settings")
}


def make_sampler(name: str, settings: Mapping[str, Any], *, startup: int, seed: int) -> BaseSampler:
    """The Optuna sampler of that name, such as `tpe`, `random`, `cmaes`, `qmc`, `gp`, `nsgaii`.

    Args:
        name: the class's name in any case, with or without `Sampler`.
        settings: its arguments.
        startup: trials that it draws at random first, where it knows such a thing and `settings` does not say.
        seed: of its random numbers.

    Raises:
        ValueError: no such sampler or argument, a wrong value, or a package that it needs is missing.
    """
    definition = _found(SAMPLERS, name)
    if definition.refused:
        raise ValueError(f"sampler {name!r} cannot be used here: {definition.refused}")
    package = definition.package
    if find_spec(package) is None:
        raise ValueError(f"sampler {name!r} needs the package {package}: pip install {package}")
    if "seed" in settings:
        raise ValueError(f"sampler {name!r}: its seed is the search's own: seed = {settings['seed']!r} beside sampler")
    return _made(f"sampler {name!r}", definition.make, settings, {STARTUP: startup, "seed": seed})


def make_pruner(name: str, settings: Mapping[str, Any], *, startup: int) -> BasePruner:
    """The Optuna pruner of that name, such as `median`, `percentile`, `asha`, `hyperband`, `patient`, `none`.

    Args:
        name: the class's name in any case, with or without `Pruner`; `asha` is successive halving.
        settings: its arguments; `wrapped_pruner` by name.
        startup: trials that must have finished before it prunes, where it knows such a thing and `settings` does not
            say.

    Raises:
        ValueError: no such pruner or argument, or a wrong value.
    """
    definition = _found(PRUNERS, name)
    given = dict(settings)
    if isinstance(given.get("wrapped_pruner"), str):
        given["wrapped_pruner"] = make_pruner(given["wrapped_pruner"], {}, startup=startup)
    return _made(f"pruner {name!r}", definition.make, given, {STARTUP: startup})


def _key(name: str) -> str:
    """The name in the registry's way: `TPESampler` is `tpe`."""
    return name.lower().replace("_", "").replace("-", "").removesuffix("sampler").removesuffix("pruner")


def _found(registry: Registry[T], name: str) -> T:
    """The entry of a name in any spelling; installed plug-ins are loaded where there is none.

    Raises:
        UnknownNameError: there is none; the message names the nearest that can be used.
    """
    for load in (False, True):
        if load:
            from workers.plugins import load_installed

            load_installed([registry.plural])
        keys = {_key(known): known for known in registry}
        known = name if name in registry else keys.get(_key(name))
        if known is not None:
            return registry[known]
    usable = [known for known, entry in registry.items() if not getattr(entry, "refused", "")]
    raise UnknownNameError(registry.kind, name, set(usable) - {"nop"})


def _made(what: str, make: Maker[T], settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> T:
    made: Callable[..., T] = make if callable(make) else imported(make)
    known = [name for name in inspect.signature(made).parameters if name != "seed"]
    for key in settings:
        if key not in known:
            listed = f"its settings are {', '.join(known)}" if known else "it has none"
            raise ValueError(f"{what} has no setting {key!r}{nearest(key, known)}; {listed}")
    taken = {**{k: v for k, v in defaults.items() if k in inspect.signature(made).parameters}, **settings}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a setting is experimental is the reader's to know, not the log's
            return made(**taken)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{what} cannot be made with {dict(settings)}: {error}") from error
