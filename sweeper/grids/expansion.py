"""The trials that a grid stands for. Pure: no files, no clock, no database.

`expand` turns a grid into an ordered tuple of specs, the same on every machine. Where the grid has a `search`, the
parameters that it chooses are no axes: `search_cells` gives each study's template and domains, and
`sweeper.search.suggestions` the values.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from sweeper.errors import GridError
from sweeper.grids.limits import MAX_TRIALS, check_trials
from sweeper.grids.names import Naming, naming_of
from sweeper.grids.schema import DatasetTable, Grid, GridTable, LossTable, ModelTable, RangeTable, SearchTable
from sweeper.search import samplers
from sweeper.search.space import LEARNING_RATE, Domain, SearchCell
from trials import metrics
from trials.spec import DataSpec, EvaluationSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec
from workers import losses, networks
from workers.errors import InputError, nearest
from workers.losses.parameters import Parameter

Spec = TypeVar("Spec", ModelSpec, TrainingSpec, EvaluationSpec)

SEARCHED_GAMMA = (0.0, 0.99)
"""The range of a γ of which the grid says nothing: at 1 the Tversky part of the unified losses has no gradient."""


@dataclass(frozen=True, slots=True)
class DataIdentity:
    """What is known of a data set when specs are made; `prepared` and `split` are empty before preparation.

    `splits` has the hash of the split of each repeat and fold, where they differ; `split` is the first.
    """

    classes: tuple[str, ...]
    dimensions: Literal[2, 3]
    prepared: str = ""
    split: str = ""
    provenance: Literal["real", "synthetic"] = "real"
    splits: Mapping[tuple[int, int | None], str] = field(default_factory=dict)

    def spec(self, name: str, repeat: int, fold: int | None = None) -> DataSpec:
        """The data of a trial of the data set of that name."""
        split = self.splits.get((repeat, fold), self.split)
        return DataSpec(name, self.classes, self.dimensions, self.prepared, split, self.provenance, fold)


def expand(grid: Grid, data: Mapping[str, DataIdentity]) -> tuple[TrialSpec, ...]:
    """All trials of a grid in its own order: data sets, losses, their parameters, networks, repeats, folds.

    Of a grid with a search, those that leave nothing to be chosen; the rest are `search_cells`.

    Args:
        grid: the grid.
        data: the identity of each of its data sets by name.

    Raises:
        GridError: the grid is empty, holds a cell twice, or names a loss, parameter or network that does not exist.
    """
    check_trials(grid, MAX_TRIALS, "one sweep")
    specs: dict[str, TrialSpec] = {}
    seeds, naming = seeds_of(grid), naming_of(grid.to_dict())
    for place in _places(grid, data):
        if place.domains:
            continue
        for loss, (repeat, seed), fold in itertools.product(place.losses, enumerate(seeds), place.folds):
            spec = place.spec(grid, loss, repeat, seed, fold)
            if not _kept(grid, spec):
                continue
            if spec.hash in specs:
                raise GridError(f"grid {grid.name!r} holds the cell «{naming.label(spec)}» twice; remove one of them")
            specs[spec.hash] = spec
    searched = search_cells(grid, data)
    if not specs and not searched:
        raise GridError(f"grid {grid.name!r} is empty: it needs at least one data set and one loss that its rules keep")
    if grid.search is not None and not searched:
        raise GridError(
            f"grid {grid.name!r}: search has nothing to choose; name a loss with a γ in [0, 1), such as "
            "unified_focal_asym, without a value of it, or give a parameter a list or a range such as "
            "delta = { low = 0.4, high = 0.8 }"
        )
    return tuple(specs.values())


def search_cells(grid: Grid, data: Mapping[str, DataIdentity]) -> tuple[SearchCell, ...]:
    """What a grid's search chooses, one cell for each of its studies, in the grid's order; none without a search.

    Raises:
        GridError: as `expand`.
    """
    cells: list[SearchCell] = []
    families: set[str] = set()
    seeds, naming = seeds_of(grid), naming_of(grid.to_dict())
    for place in _places(grid, data):
        for loss in place.losses if place.domains else ():
            template = place.spec(grid, loss, 0, seeds[0])
            if not _kept(grid, template):
                continue
            cell = SearchCell(template, place.domains, seeds)
            if cell.family in families:
                twice = naming.variant(template)
                raise GridError(f"grid {grid.name!r} searches «{twice}» twice; remove one of the losses")
            families.add(cell.family)
            cells.append(cell)
    return tuple(cells)


def settings_of(search: SearchTable, parameters: int) -> samplers.SearchSettings:
    """A search's settings with every default explicit, for a study of so many searched parameters."""
    return samplers.SearchSettings(
        sampler=search.sampler,
        settings=search.settings,
        trials=search.trials,
        # One parameter needs little to start from; the sampler's own default is for spaces of many.
        startup=search.startup if search.startup is not None else min(2 + parameters, 10),
        seed=search.seed,
        from_default=search.from_default,
        pruner=search.pruner,
        pruner_settings=search.pruner_settings,
    )


def training_of(grid: Grid, dataset: DatasetTable) -> TrainingSpec:
    """How a grid trains on one of its data sets."""
    return _filled(TrainingSpec(), grid.training, dataset.training)


def evaluation_of(grid: Grid, dataset: DatasetTable) -> EvaluationSpec:
    """How a grid scores on one of its data sets."""
    return _filled(EvaluationSpec(), grid.evaluation, dataset.evaluation, but="metrics")


def metrics_of(grid: Grid, dataset: DatasetTable) -> tuple[str, ...]:
    """What a grid scores on one of its data sets beside what always is, by the names under which it is stored.

    Raises:
        GridError: there is no such metric or parameter, a value is outside its range, or a metric is listed twice.
    """
    own = dataset.evaluation.metrics
    names: list[str] = []
    for entry in (grid.evaluation.metrics if own is None else own) or ():
        where = f"grid {grid.name!r}, " + ("" if own is None else f"data set {dataset.name!r}, ") + "evaluation.metrics"
        try:
            name = metrics.choose(entry.name, entry.parameters).name
        except InputError as error:
            raise GridError(f"{where}: {error}") from error
        if name in names:
            raise GridError(f"{where}: {name!r} is listed twice")
        names.append(name)
    return tuple(names)


def swept_variants(specs: Sequence[TrialSpec], naming: Naming) -> frozenset[tuple[str, str]]:
    """The (data set, variant) pairs whose γ takes more than one value, or is that of a unified loss."""
    gammas: dict[tuple[str, str], set[float]] = {}
    swept: set[tuple[str, str]] = set()
    for spec in specs:
        if spec.loss.gamma is not None:
            place = spec.data.dataset, naming.variant(spec)
            values = gammas.setdefault(place, set())
            values.add(spec.loss.gamma)
            if len(values) > 1 or spec.loss.name.startswith("unified_focal"):
                swept.add(place)
    return frozenset(swept)


@dataclass(frozen=True, slots=True)
class _Place:
    """A data set, a loss and a network of the grid: the losses to train there, and what is chosen of them."""

    dataset: str
    data: DataIdentity
    folds: tuple[int | None, ...]
    losses: tuple[LossSpec, ...]
    domains: tuple[Domain, ...]
    model: ModelSpec
    training: TrainingSpec
    evaluation: EvaluationSpec

    def spec(self, grid: Grid, loss: LossSpec, repeat: int, seed: int, fold: int | None = None) -> TrialSpec:
        scope = "" if grid.share else grid.name
        data = self.data.spec(self.dataset, repeat, fold)
        return TrialSpec(data, loss, self.model, self.training, self.evaluation, repeat, seed, scope)


def _places(grid: Grid, data: Mapping[str, DataIdentity]) -> Iterator[_Place]:
    for dataset in grid.used_datasets:
        identity = data[dataset.name]
        training, evaluation = training_of(grid, dataset), evaluation_of(grid, dataset)
        metrics_of(grid, dataset)  # refused here, long before an image is scored
        check_patch(grid, dataset, identity.dimensions)
        for loss, model in itertools.product(grid.losses, grid.models or (ModelTable(),)):
            if loss.datasets is not None and dataset.name not in loss.datasets:
                continue
            domains = _domains(grid, loss)
            yield _Place(
                dataset.name,
                identity,
                dataset.split.trained_folds,
                tuple(_loss_specs(grid, loss, domains, len(identity.classes), xla=training.xla)),
                domains,
                _model(grid, dataset, model, identity.dimensions),
                training,
                evaluation,
            )


def seeds_of(grid: Grid) -> tuple[int, ...]:
    """The seed of each repeat."""
    return grid.seeds or tuple(grid.seed + repeat for repeat in range(grid.repeats))


def _kept(grid: Grid, spec: TrialSpec) -> bool:
    included = not grid.include or any(rule.matches(spec) for rule in grid.include)
    return included and not any(rule.matches(spec) for rule in grid.exclude)


def _domains(grid: Grid, loss: LossTable) -> tuple[Domain, ...]:
    """What the grid's search chooses of a loss: its γ unless it has a value, and whatever has a list or a range."""
    if grid.search is None:
        return ()
    where = f"grid {grid.name!r}, losses.{loss.name}"
    try:
        known = {p.name: p for p in losses.definition(loss.name).parameters}
    except InputError as error:
        raise GridError(f"grid {grid.name!r}, losses: {error}") from error
    domains = []
    for name, parameter in known.items():
        value = loss.parameters.get(name)
        if value is None and name == "gamma" and parameter.interval == "[0, 1)":
            domains.append(Domain(name, *SEARCHED_GAMMA))
        elif isinstance(value, Mapping):
            domains.append(_range(where, parameter, value))
        elif isinstance(value, list | tuple) and len(value) > 1:
            domains.append(_listed(where, parameter, value))
    if domains and (rate := grid.search.learning_rate) is not None:
        domains.append(Domain(LEARNING_RATE, rate.low, rate.high, rate.log))
    return tuple(domains)


def _range(where: str, parameter: Parameter, value: Mapping[str, object]) -> Domain:
    known = list(RangeTable.model_fields)
    for key in value:
        if key not in known:
            raise GridError(
                f"{where}.{parameter.name}: unknown key {key!r}{nearest(key, known)}; known: {', '.join(known)}"
            )
    try:
        table = RangeTable.model_validate(value)
        low, high = (_number(where, parameter, end) for end in (table.low, table.high))
    except ValueError as error:  # pydantic's own is one
        words = str(error).removeprefix("Value error, ")
        raise GridError(f"{where}.{parameter.name} = {dict(value)}: {words}") from error
    return Domain(parameter.name, low, high, table.log)


def _listed(where: str, parameter: Parameter, values: Sequence[object]) -> Domain:
    numbers = sorted({_number(where, parameter, value) for value in values})
    if len(numbers) < len(values):
        raise GridError(f"{where}.{parameter.name} lists a value twice")
    return Domain(parameter.name, numbers[0], numbers[-1], values=tuple(numbers))


def _number(where: str, parameter: Parameter, value: object) -> float:
    try:
        number = parameter.check(where, value)
    except InputError as error:
        raise GridError(str(error)) from error
    if not isinstance(number, float):
        raise GridError(f"{where}.{parameter.name} = {value!r}: a search chooses numbers; give it one value, no list")
    if parameter.interval == "[0, 1)" and parameter.name == "gamma" and number > SEARCHED_GAMMA[1]:
        raise GridError(f"{where}.gamma = {number:g}: a search takes γ of at most {SEARCHED_GAMMA[1]}")
    return number


def _loss_specs(
    grid: Grid, loss: LossTable, domains: Sequence[Domain], classes: int, *, xla: bool
) -> Iterator[LossSpec]:
    chosen = {domain.name for domain in domains}
    given = {name: value for name, value in loss.parameters.items() if name not in chosen}
    for name, value in given.items():
        if isinstance(value, Mapping):
            raise GridError(f"grid {grid.name!r}, losses.{loss.name}.{name}: a range needs a search, such as search = "
                            '"tpe"; a list is an axis without one')  # fmt: skip
    axes = [value if isinstance(value, list | tuple) else [value] for value in given.values()]
    for values in itertools.product(*axes):
        overrides: dict[str, object] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in zip(given, values, strict=True)
        }
        try:
            definition = losses.definition(loss.name)
            parameters = losses.resolve_parameters(loss.name, overrides, classes)
        except InputError as error:
            raise GridError(f"grid {grid.name!r}, losses: {error}") from error
        if xla and not definition.xla:
            raise GridError(
                f"grid {grid.name!r}: loss {loss.name!r} can't be compiled with XLA; set training.xla = false, or name "
                "other data sets in the loss's `datasets`"
            )
        yield LossSpec(loss.name, losses.spec_parameters(loss.name, parameters, chosen), definition.source)


def _model(grid: Grid, dataset: DatasetTable, model: ModelTable, dimensions: Literal[2, 3]) -> ModelSpec:
    spec = _filled(networks.default_model(dimensions), grid.model, dataset.model, model)
    try:
        networks.check(spec, dimensions)
    except InputError as error:
        raise GridError(f"grid {grid.name!r}, data set {dataset.name!r}: {error}") from error
    return replace(spec, source=networks.definition(spec.name).source)


def _filled(default: Spec, *tables: GridTable, but: str = "") -> Spec:
    """The default with what the tables give, the later over the earlier; `but`: a key that is no part of the spec."""
    given: dict[str, Any] = {}
    for table in tables:
        given.update({k: v for k, v in table.given().items() if v is not None and k != but})
    return replace(default, **given)


def check_patch(grid: Grid, dataset: DatasetTable, dimensions: int) -> None:
    """Refuses patches and overlaps that do not fit a data set.

    Raises:
        GridError: volumes without a patch, a wrong number of axes, or an overlap that is no part of a patch.
    """
    training, evaluation = training_of(grid, dataset), evaluation_of(grid, dataset)
    where = f"grid {grid.name!r}, data set {dataset.name!r}"
    if dimensions == 3 and training.patch is None:
        raise GridError(f"{where}: volumes need training.patch, such as patch = [96, 96, 96]")
    for key, value in (("training.patch", training.patch), ("evaluation.overlap", evaluation.overlap)):
        if value is not None and len(value) != dimensions:
            raise GridError(f"{where}: {key} = {list(value)} needs {dimensions} numbers")
    if evaluation.overlap is not None and training.patch is None:
        raise GridError(f"{where}: evaluation.overlap needs training.patch")
    if (
        training.patch
        and evaluation.overlap
        and any(o >= p for o, p in zip(evaluation.overlap, training.patch, strict=True))
    ):
        raise GridError(f"{where}: evaluation.overlap must be smaller than training.patch on every axis")
