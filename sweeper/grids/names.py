"""What a cell is called, everywhere: in plans, tables, log lines, MLflow, figures and JSON. Pure.

A name follows from the cell and from what its grid varies, which storage keeps with the sweep. It is thus the same
before the first trial and after the last, and in a process that has not loaded a plug-in's file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cache
from typing import Any

from storage.records import Trial
from trials.spec import EXTERNAL, RESULTS_VERSION, LossSpec, ModelSpec, ParameterValue, TrialSpec
from workers import losses
from workers.losses.registry import LOSSES, PLUS

NETWORK = ModelSpec().name
"""The network that a name does not mention."""

MODEL_SETTINGS = ("base_filters", "depth", "normalisation")
LEARNING_RATE = "training.learning_rate"

_NOT_COMPARED = ("data.split", "data.provenance", "data.fold")
"""Two cells that differ in these alone are the same setting."""


@dataclass(frozen=True, slots=True)
class Naming:
    """How the cells of one sweep are named.

    Attributes:
        settings: what a name tells beside the loss's parameters and the network's name, as dotted fields of a
            `TrialSpec`: what the sweep's grid varies, such as `model.base_filters`.
    """

    settings: tuple[str, ...] = ()

    def variant(self, spec: TrialSpec) -> str:
        """The loss with every setting that is not its default, such as `tversky (alpha=0.4, attention_unet)`.

        γ, repeat, seed and fold are left out: scores are averaged over the trials of one variant and γ. Two settings of
        a sweep and data set have different variants.
        """
        parts = [f"{name}={_shown(value)}" for name, value in _loss_settings(spec)]
        if spec.model.name not in (NETWORK, EXTERNAL):
            parts.append(spec.model.name)
        for setting in self.settings:
            value = _value(spec, setting)
            if value is not None and value != "":
                parts.append(f"{setting.rpartition('.')[2]}={_shown(value)}")
        return f"{spec.loss.name} ({', '.join(parts)})" if parts else spec.loss.name

    def variants(self, specs: Iterable[TrialSpec]) -> list[str]:
        """`variant` of each; specs that differ in what it leaves out share one that is made once."""
        made: dict[tuple[object, ...], str] = {}
        found = []
        for spec in specs:
            settings = [_value(spec, setting) for setting in self.settings]
            key = (spec.loss.name, spec.loss.source, spec.model.name, *settings, *_without_gamma(spec.loss))
            if (variant := made.get(key)) is None:
                variant = made[key] = self.variant(spec)
            found.append(variant)
        return found

    def label(self, spec: TrialSpec) -> str:
        """The whole cell, such as `nuclei · unified_focal_asym (delta=0.7) · γ=0.5 · repeat 1`."""
        return self.label_of(spec, self.variant(spec))

    def label_of(self, spec: TrialSpec, variant: str) -> str:
        """`label` of a spec whose variant is known."""
        parts = [spec.data.dataset, _with_gamma(variant, spec.loss.gamma)]
        if spec.repeat:
            parts.append(f"repeat {spec.repeat}")
        if spec.data.fold is not None:
            parts.append(f"fold {spec.data.fold}")
        return " · ".join(parts)

    def setting(self, spec: TrialSpec) -> str:
        """What the repeats and folds of a cell share beside its data set: `unified_focal_asym (delta=0.7) · γ=0.5`."""
        return _with_gamma(self.variant(spec), spec.loss.gamma)

    def labelled(self, trials: Iterable[Trial]) -> list[Trial]:
        """Stored trials with the names that they have in this sweep: another one may have stored them first."""
        return [replace(trial, label=self.label(trial.spec)) for trial in trials]


def _with_gamma(variant: str, gamma: float | None) -> str:
    return variant if gamma is None else f"{variant} · γ={number(gamma)}"


def naming_of(grid: Mapping[str, Any], trials: Iterable[Trial] = ()) -> Naming:
    """The naming of a sweep.

    Args:
        grid: as the sweep keeps it (`Grid.to_dict`).
        trials: stored trials of the sweep. Should they differ in a setting that the grid does not vary, such as masks
            of one name that were scored twice, the names tell that, too.
    """
    models, search = grid.get("models") or (), grid.get("search")
    settings = [f"model.{key}" for key in MODEL_SETTINGS if len({model.get(key) for model in models}) > 1]
    if isinstance(search, Mapping) and search.get("learning_rate") is not None:
        settings.append(LEARNING_RATE)
    return Naming((*settings, *_others(trials, settings)))


def variants(trials: Sequence[Trial], naming: Naming | None = None) -> list[str]:
    """The variant of each trial, in the order of `trials`."""
    names = naming_of({}, trials) if naming is None else naming
    return names.variants(trial.spec for trial in trials)


def study_name(sweep: str, spec: TrialSpec, naming: Naming, known: Collection[str] = (), *, models: int = 1) -> str:
    """The name of the Optuna study of a cell: it holds all values of γ of one variant on one data set.

    Args:
        sweep: its name.
        spec: the cell.
        naming: of the sweep.
        known: studies that the sweep has already. One that has the name of an earlier form keeps it.
        models: how many networks the grid has.
    """
    prefix = f"{sweep}/{spec.data.dataset}/"
    name, former = prefix + naming.variant(spec), prefix + _former_variant(spec, with_model=models > 1)
    return former if former in known and name not in known else name


def _former_variant(spec: TrialSpec, *, with_model: bool) -> str:
    """What `Naming.variant` was in names of studies before cells had one name; stored studies may have it."""
    parts = [f"{k}={f'{v:g}' if isinstance(v, int | float) else v}" for k, v in sorted(_loss_settings(spec))]
    name = f"{spec.loss.name}({', '.join(parts)})" if parts else spec.loss.name
    return f"{name} · {spec.model.name}" if with_model else name


def number(value: float) -> str:
    """A number in as few signs as tell it from every other: 12 digits, a fraction such as 4/3, or all digits."""
    short = f"{value:.12g}"
    if float(short) == value:
        return short
    fraction = Fraction(value).limit_denominator(99)
    return str(fraction) if float(fraction) == value else repr(value)


def _loss_settings(spec: TrialSpec) -> Iterator[tuple[str, ParameterValue]]:
    """The parameters that a name tells: of a built-in loss those that are not at their default, in the order of its
    definition; of any other all, by name, since its defaults are known only where its file is loaded. A scalar γ is
    none of them."""
    given = dict(_without_gamma(spec.loss))
    defaults: dict[str, ParameterValue] = {}
    # Looked up before it is asked for: to make the error that names what is nearest takes a thousand times as long.
    if not spec.loss.source and all(part in LOSSES for part in spec.loss.name.split(PLUS)):
        defaults = _defaults(losses.definition(spec.loss.name).parameters)
    order = {name: place for place, name in enumerate(defaults)}
    for name in sorted(given, key=lambda name: (order.get(name, len(order)), name)):
        if name not in defaults or given[name] != defaults[name]:
            yield name, given[name]


def _without_gamma(loss: LossSpec) -> list[tuple[str, ParameterValue]]:
    """The parameters of a loss but a scalar γ."""
    kept = loss.gamma is None
    return [(name, value) for name, value in loss.parameters.items() if kept or name != "gamma"]


@cache
def _defaults(parameters: tuple[losses.Parameter, ...]) -> dict[str, ParameterValue]:
    """Kept, since a sweep's names are made by the thousand."""
    return {parameter.name: parameter.check("a default", parameter.default) for parameter in parameters}


def _others(trials: Iterable[Trial], known: Sequence[str]) -> list[str]:
    """Settings in which current trials of one loss, network and data set differ, beside the known ones."""
    groups: dict[tuple[object, ...], dict[tuple[object, ...], TrialSpec]] = {}
    different: dict[tuple[object, ...], TrialSpec] = {}
    for trial in trials:
        if trial.results_version == RESULTS_VERSION:  # a table lists an older one, and never counts it
            spec, loss = trial.spec, trial.spec.loss
            key = (loss.name, loss.source, *loss.parameters.items())
            different.setdefault((*key, spec.data, spec.model, spec.training, spec.evaluation), spec)
    for spec in different.values():
        group = (spec.data.dataset, spec.loss.name, spec.model.name, *_loss_settings(spec))
        rest = (replace(spec.data, split="", provenance="real", fold=None), spec.loss.source, spec.model)
        groups.setdefault(group, {}).setdefault((*rest, spec.training, spec.evaluation), spec)
    found: dict[str, None] = {}
    for members in groups.values():
        first, *others = [dict(_flat(spec)) for spec in members.values()]
        found.update({key: None for other in others for key in first if other[key] != first[key]})
    return [key for key in found if key not in known]


def _flat(spec: TrialSpec) -> Iterator[tuple[str, object]]:
    """Every setting but the loss's parameters, by its dotted name."""
    yield "loss.source", spec.loss.source
    for name in ("model", "training", "evaluation", "data"):
        table = getattr(spec, name)
        for field in fields(table):
            if (key := f"{name}.{field.name}") not in _NOT_COMPARED:
                yield key, getattr(table, field.name)


def _value(spec: TrialSpec, setting: str) -> object:
    table, _, field = setting.partition(".")
    return getattr(getattr(spec, table), field)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    return str(value)
