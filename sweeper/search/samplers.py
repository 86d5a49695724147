"""Optuna's samplers and pruners by name, with settings from a grid. Optuna is imported when first needed."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from trials.spec import content_hash
from workers.errors import nearest

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

STARTUP = "n_startup_trials"

_ALIASES = {"asha": "successivehalving", "none": "nop"}

_REFUSED = {
    "grid": "a list of values without `search` is the whole grid",
    "bruteforce": "a list of values without `search` is the whole grid",
    "partialfixed": "give the parameter that is to be fixed one value at the loss",
}

_NEEDS = {"gp": ("torch", "pip install torch"), "cmaes": ("cmaes", "pip install cmaes")}
"""What a sampler needs besides Optuna, and how to get it."""

_REPLAYED = ("cmaes", "qmc", "nsgaii", "nsgaiii")

_WITHOUT_RUNGS = ("nop", "median", "percentile", "threshold", "patient", "wilcoxon")


@dataclass(frozen=True, slots=True)
class Settings:
    """A search with every default explicit: what is recorded, and hashed, with the sweep and its studies."""

    sampler: str = "tpe"
    settings: Mapping[str, Any] = field(default_factory=dict)
    trials: int = 5
    startup: int = 3
    seed: int = 0
    from_default: bool = True
    pruner: str = "median"
    pruner_settings: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with the version of Optuna, whose samplers may change between versions."""
        from importlib.metadata import version

        return {**asdict(self), "optuna": version("optuna")}

    @property
    def hash(self) -> str:
        """16 hex digits over everything but the budget, which may grow."""
        return content_hash({key: value for key, value in asdict(self).items() if key != "trials"})

    @property
    def prunes(self) -> bool:
        """Whether a trial may be given up before its end."""
        return _key(self.pruner) != "nop"

    @property
    def rungs(self) -> bool:
        """Whether the pruner notes trials' scores by itself, so that it must be shown them again, epoch by epoch."""
        keys = {_key(self.pruner), _key(str(self.pruner_settings.get("wrapped_pruner", "nop")))}
        return not keys <= set(_WITHOUT_RUNGS)

    @property
    def replays(self) -> bool:
        """Whether the sampler keeps a state of its own beside the trials, so that its asks must be repeated in order
        to bring it back."""
        return _key(self.sampler) in _REPLAYED


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
    import optuna

    key = _key(name)
    classes = _classes(optuna.samplers, "Sampler")
    if key in _REFUSED:
        raise ValueError(f"sampler {name!r} is of no use here: {_REFUSED[key]}")
    if key not in classes:
        known = sorted(set(classes) - set(_REFUSED))
        raise ValueError(f"unknown sampler {name!r}{nearest(key, known)}; known: {', '.join(known)}")
    package, how = _NEEDS.get(key, ("optuna", ""))
    if find_spec(package) is None:
        raise ValueError(f"sampler {name!r} needs the package {package}: {how}")
    if "seed" in settings:
        raise ValueError(f"sampler {name!r}: its seed is the search's own: seed = {settings['seed']!r} beside sampler")
    made: BaseSampler = _make(f"sampler {name!r}", classes[key], settings, {STARTUP: startup, "seed": seed})
    return made


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
    import optuna

    key = _key(name)
    classes = _classes(optuna.pruners, "Pruner")
    if key not in classes:
        known = sorted({*classes, *_ALIASES} - {"nop"})
        raise ValueError(f"unknown pruner {name!r}{nearest(key, known)}; known: {', '.join(known)}")
    given = dict(settings)
    if isinstance(given.get("wrapped_pruner"), str):
        given["wrapped_pruner"] = make_pruner(given["wrapped_pruner"], {}, startup=startup)
    made: BasePruner = _make(f"pruner {name!r}", classes[key], given, {STARTUP: startup})
    return made


def _key(name: str) -> str:
    key = name.lower().replace("_", "").replace("-", "").removesuffix("sampler").removesuffix("pruner")
    return _ALIASES.get(key, key)


def _classes(module: Any, suffix: str) -> dict[str, type]:
    return {
        _key(name): getattr(module, name)
        for name in module.__all__
        if name.endswith(suffix) and not name.startswith("Base")
    }


def _make(what: str, made: type, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> Any:
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
