"""A grid as its file says it: lists over data sets, losses with their parameters, networks and repeats.

Pure: no files, no clock, no database. `sweeper.grids.files` reads the files, `sweeper.grids.expansion` makes the
trials.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from sweeper.search import samplers
from trials.places import DATASET_PATTERN, NAME_PATTERN
from trials.spec import TrialSpec
from workers.errors import nearest
from workers.losses.registry import PLUS
from workers.losses.weighted import COMPOUND, from_parts

Probability = Annotated[float, Field(ge=0, le=1)]
Value = TypeVar("Value", str, int)
LARGEST_SEED = 2**62
"""A seed with the number of a repeat added still fits into the database."""

GPU_TYPE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""Ray makes such names of what NVIDIA calls its GPUs: `A100`, `H100`, `GeForce-RTX-4090`."""


class GridTable(BaseModel):
    """A table of a grid file: unknown keys are refused, and numbers that JSON cannot hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def given(self) -> dict[str, Any]:
        """The keys that the grid set."""
        return self.model_dump(exclude_unset=True)


class SplitTable(GridTable):
    """How a data set is split. The paper: 20% for the test, 20% of the rest for validation, at random.

    `folds` alone runs every fold of a cross-validation, each as trials of its own; with `fold` it runs that one.
    `resplit` draws training and validation images anew for each repeat; the test images stay the same.
    `file` and `folders` are a split that somebody else made (`workers.datasets.own_splits`); a relative `file` lies in
    the data set's folder. `grouped = "near-duplicates"` keeps images that look alike together, too.
    """

    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    test: float = Field(default=0.2, gt=0, lt=1)
    validation: float = Field(default=0.2, gt=0, lt=1)
    grouped: bool | Literal["near-duplicates"] = False
    file: str | None = Field(default=None, min_length=1)
    folders: bool = False
    folds: int | None = Field(default=None, ge=2, le=1000)
    fold: int | None = Field(default=None, ge=0, le=999)
    resplit: bool = False

    @model_validator(mode="after")
    def _whole(self) -> SplitTable:
        if self.folds is None and self.fold is not None:
            raise ValueError(f"fold = {self.fold} says which of how many: add folds, such as folds = 5")
        if self.folds is not None and self.fold is not None and self.fold >= self.folds:
            raise ValueError(f"fold = {self.fold}: folds count from 0, the last of {self.folds} is {self.folds - 1}")
        if self.file is not None and self.folders:
            raise ValueError("file and folders: each is a whole split; choose one")
        if self.own and "test" in self.model_fields_set:
            raise ValueError(f"test = {self.test:g}: the {self.own} say which images test; leave test out")
        if self.folders and self.folds is not None:
            raise ValueError(f"folds = {self.folds}: folders train, val and test are one split; leave folds out")
        return self

    @property
    def own(self) -> str:
        """What says the split, where somebody else made it; else ""."""
        return "rows of the file" if self.file is not None else "folders" if self.folders else ""

    @property
    def trained_folds(self) -> tuple[int | None, ...]:
        """The folds that are trials of their own; None alone where there is one test set."""
        return (None,) if self.folds is None or self.fold is not None else tuple(range(self.folds))


class ModelTable(GridTable):
    """Settings of the network; what is left out is that of the paper's U-Net for the data set's dimensions."""

    name: str | None = None
    base_filters: int | None = Field(default=None, ge=1, le=65_536)
    depth: int | None = Field(default=None, ge=1, le=8)
    normalisation: Literal["instance", "batch", "none"] | None = None


class TrainingTable(GridTable):
    """Settings of the training; what is left out is the paper's value, or ours where it states none
    (`trials.spec.TrainingSpec`)."""

    epochs: int | None = Field(default=None, ge=1, le=1_000_000)
    batch_size: int | None = Field(default=None, ge=1, le=100_000)
    learning_rate: float | None = Field(default=None, gt=0, le=1e6)
    momentum: float | None = Field(default=None, ge=0, lt=1)
    plateau_factor: float | None = Field(default=None, gt=0, le=1)
    plateau_patience: int | None = Field(default=None, ge=1, le=1_000_000)
    early_stopping_patience: int | None = Field(default=None, ge=1, le=1_000_000)
    min_delta: float | None = Field(default=None, ge=0, le=1e6)
    augmentation_probability: Probability | None = None
    spatial_transform: Literal["batchgenerators", "fast"] | None = None
    patch: tuple[Annotated[int, Field(ge=1, le=100_000)], ...] | None = None
    patches_per_case: int | None = Field(default=None, ge=1, le=100_000)
    foreground_oversampling: Probability | None = None
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] | None = None
    xla: bool | None = None
    gradient_clip: float | None = Field(default=None, gt=0, le=1e12)
    threads: int | None = Field(default=None, ge=1, le=4096)
    deterministic: bool | None = None


class MetricTable(BaseModel):
    """A metric. Every further key is a parameter of it (`trials.metrics`)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def parameters(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


def _metric_table(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


MetricEntry = Annotated[MetricTable, BeforeValidator(_metric_table, json_schema_input_type=str | MetricTable)]


class EvaluationTable(GridTable):
    """Settings of inference and scores.

    `metrics` are computed beside those that always are. They are no part of a trial's hash: they decide what is
    computed, and move no number.
    """

    overlap: tuple[Annotated[int, Field(ge=0, le=100_000)], ...] | None = None
    weighting: Literal["uniform", "gaussian"] | None = None
    surface_distances: bool | None = None
    native: bool | None = None
    field_of_view: bool | None = None
    metrics: tuple[MetricEntry, ...] | None = None


class AnalysisTable(GridTable):
    """Settings of the answers, which are in no trial's hash: to change them trains nothing anew.

    `margin` is the difference of mean scores below which two losses, or two γ of one, count as equal.
    """

    margin: float = Field(default=0.01, gt=0, lt=1)


class ResourcesTable(GridTable):
    """What one trial takes of a machine. `gpus` may be a fraction; None: one GPU where there is one, else none.

    `gpu_type` is the one type of GPU to train on, by Ray's name for it; None: any. `trial_hours` and `epoch_minutes`
    are the longest times that one attempt, and one epoch of it, may take.
    """

    cpus: float = Field(default=1.0, gt=0, le=100_000)
    gpus: float | None = Field(default=None, ge=0, le=10_000)
    gpu_type: str | None = Field(default=None, pattern=GPU_TYPE_PATTERN)
    trial_hours: float | None = Field(default=None, gt=0, le=100_000)
    epoch_minutes: float | None = Field(default=None, gt=0, le=1_000_000)

    @field_validator("gpus")
    @classmethod
    def _whole_above_one(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1 and not gpus.is_integer():
            raise ValueError(f"gpus = {gpus:g} is neither a part of one GPU nor a whole number; set it to {int(gpus)}")
        return gpus

    @model_validator(mode="after")
    def _whole(self) -> ResourcesTable:
        if self.gpu_type is not None and self.gpus == 0:
            raise ValueError(f"gpu_type = {self.gpu_type!r}, but gpus = 0; leave one of them out")
        return self


class DatasetTable(GridTable):
    """A data set: a reader with its options, its split, and settings that differ for it.

    `page` and `licence` say how it is had, where its reader is a generic one and does not.
    """

    name: str = Field(pattern=DATASET_PATTERN)
    reader: str | None = None
    folder: str | None = None
    page: str | None = Field(default=None, min_length=1, max_length=500)
    licence: str | None = Field(default=None, min_length=1, max_length=500)
    options: dict[str, Any] = {}
    exclude: tuple[str, ...] = ()
    pictures: bool = True
    split: SplitTable = SplitTable()
    model: ModelTable = ModelTable()
    training: TrainingTable = TrainingTable()
    evaluation: EvaluationTable = EvaluationTable()
    resources: ResourcesTable | None = None

    @field_validator("options")
    @classmethod
    def _finite(cls, options: dict[str, Any]) -> dict[str, Any]:
        for key, value in options.items():
            numbers = value if isinstance(value, list) else [value]
            if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
                raise ValueError(f"{key} = {value!r} must be finite")
        return options


class LossTable(BaseModel):
    """A loss. Every further key is a parameter of it; a list of values is an axis of the grid.

    `name = "compound"` with `parts`, a list of losses with their settings and a `weight`, is their weighted sum. It is
    kept as what its name stands for: `dice+ce` with `ce.weight` and so on (`workers.losses.weighted`).
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    datasets: tuple[str, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _parts(cls, table: Any) -> Any:
        if not isinstance(table, Mapping) or (table.get("name") != COMPOUND and "parts" not in table):
            return table
        if table.get("name") != COMPOUND:
            raise ValueError(f'parts make a weighted sum: name = "{COMPOUND}"')
        name, parameters = from_parts(table.get("parts", ()))
        rest = {key: value for key, value in table.items() if key not in ("name", "parts")}
        return {"name": name, **rest, **parameters}

    @property
    def parameters(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class RangeTable(GridTable):
    """A range that a search chooses from, both ends included; `log` spreads the choice over the orders of magnitude."""

    low: float = Field(ge=-1e12, le=1e12)
    high: float = Field(ge=-1e12, le=1e12)
    log: bool = False

    @model_validator(mode="after")
    def _whole(self) -> RangeTable:
        if self.low >= self.high:
            raise ValueError(f"a range needs low < high, not {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range needs low > 0, not {self.low:g}")
        return self


class SearchTable(GridTable):
    """How γ, and whatever else a loss leaves open, is chosen. `search = "tpe"` is short for its `sampler` alone.

    `trials` are the values tried in each study, each with every seed. `startup` are those before the sampler trusts
    what it has seen, and `from_default` tries the loss's own default first. `settings` and `pruner_settings` are
    arguments of the Optuna sampler and pruner. `learning_rate` is searched with the loss's own parameters.
    """

    sampler: str = "tpe"
    settings: dict[str, Any] = {}
    trials: int = Field(default=5, ge=1, le=100_000)
    startup: int | None = Field(default=None, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    from_default: bool = True
    pruner: str = "median"
    pruner_settings: dict[str, Any] = {}
    learning_rate: RangeTable | None = None

    @model_validator(mode="after")
    def _known(self) -> SearchTable:
        samplers.make_sampler(self.sampler, self.settings, startup=1, seed=0)
        samplers.make_pruner(self.pruner, self.pruner_settings, startup=1)
        if self.learning_rate is not None and self.learning_rate.low <= 0:
            raise ValueError(f"learning_rate: low = {self.learning_rate.low:g} must be greater than 0")
        return self


def _search_table(value: object) -> object:
    return {"sampler": value} if isinstance(value, str) else value


SearchEntry = Annotated[SearchTable, BeforeValidator(_search_table, json_schema_input_type=str | SearchTable)]


class Rule(GridTable):
    """Matches cells by data set, loss, network or γ; what is left out matches all."""

    dataset: str | None = None
    loss: str | None = None
    model: str | None = None
    gamma: float | None = Field(default=None, ge=-1e12, le=1e12)

    def matches(self, spec: TrialSpec) -> bool:
        return (
            (self.dataset is None or self.dataset == spec.data.dataset)
            and (self.loss is None or self.loss == spec.loss.name)
            and (self.model is None or self.model == spec.model.name)
            and (self.gamma is None or self.gamma == spec.loss.gamma)
        )


class Grid(GridTable):
    """A whole study as one table; `sweeper grids --schema` prints its JSON schema.

    `share = false` trains every cell anew, even those that another sweep has finished.
    """

    name: str = Field(pattern=NAME_PATTERN)
    description: str = ""
    extends: str | None = None
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    repeats: int = Field(default=1, ge=1, le=1000)
    seeds: tuple[Annotated[int, Field(ge=0, le=LARGEST_SEED)], ...] | None = Field(default=None, min_length=1)
    rehearsal: bool = False
    share: bool = True
    datasets: tuple[DatasetTable, ...] = ()
    losses: tuple[LossTable, ...] = ()
    models: tuple[ModelTable, ...] = ()
    model: ModelTable = ModelTable()
    training: TrainingTable = TrainingTable()
    evaluation: EvaluationTable = EvaluationTable()
    analysis: AnalysisTable = AnalysisTable()
    resources: ResourcesTable = ResourcesTable()
    search: SearchEntry | None = None
    include: tuple[Rule, ...] = ()
    exclude: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Grid:
        names = [d.name for d in self.datasets]
        if twice := _twice(names):
            raise ValueError(f"data set {twice[0]!r} is listed twice")
        if twice_seeds := _twice(self.seeds or ()):
            raise ValueError(f"seeds: {twice_seeds[0]} is listed twice; a repeat with the same seed says nothing new")
        if self.seeds is not None and "repeats" in self.model_fields_set and self.repeats != len(self.seeds):
            raise ValueError(f"repeats = {self.repeats}, but {len(self.seeds)} seeds are listed; leave one of them out")
        for one in self.datasets:
            several = "resplit = true" if one.split.resplit else f"folds = {one.split.folds} without fold"
            if self.search is not None and (one.split.resplit or one.split.trained_folds != (None,)):
                raise ValueError(
                    f"data set {one.name!r} has {several}, but a search chooses by one split: list the values of γ in "
                    "place of search, or leave it out"
                )
        known = dict.fromkeys(names)
        for loss in self.losses:
            for name in loss.datasets or ():
                _check_listed(f"loss {loss.name!r} names data set", name, known)
        losses_listed = dict.fromkeys(loss.name for loss in self.losses)
        for where, rule in (*(("include", r) for r in self.include), *(("exclude", r) for r in self.exclude)):
            if rule.dataset is not None:
                _check_listed(f"a rule of {where} names data set", rule.dataset, known)
            if rule.loss is not None:
                _check_listed(f"a rule of {where} names loss", rule.loss, losses_listed)
            if rule.gamma is not None and self.search is not None:
                raise ValueError(f"a rule of {where} names γ, which is searched: list the values to try at the loss")
        return self

    def to_dict(self) -> dict[str, Any]:
        """The grid as storage keeps it: everything that was set, nothing of what it was made from."""
        table: dict[str, Any] = self.model_dump(mode="json", exclude_unset=True)
        table.pop("extends", None)
        return table

    def dataset(self, name: str) -> DatasetTable:
        return next(d for d in self.datasets if d.name == name)

    @property
    def used_datasets(self) -> tuple[DatasetTable, ...]:
        """The data sets of which its losses and rules leave something; of the others no file is needed."""
        return tuple(dataset for dataset in self.datasets if self._uses(dataset.name))

    def _uses(self, dataset: str) -> bool:
        own = (None, dataset)
        kept = not self.include or any(rule.dataset in own for rule in self.include)
        whole = [rule for rule in self.exclude if (rule.loss, rule.model, rule.gamma) == (None, None, None)]
        left_out = any(rule.dataset in own for rule in whole)
        return kept and not left_out and any(loss.datasets is None or dataset in loss.datasets for loss in self.losses)

    def trial_resources(self, dataset: str) -> ResourcesTable:
        return self.dataset(dataset).resources or self.resources


def _twice(values: Iterable[Value]) -> list[Value]:
    return [value for value, count in Counter(values).items() if count > 1]


def _check_listed(what: str, name: str, listed: Mapping[str, object]) -> None:
    """A name that nothing bears would change nothing, and the mistake would show after hours of training."""
    if name not in listed:
        raise ValueError(f"{what} {name!r}, which the grid does not list{nearest(name, listed)}")


def names_used(grid: Grid) -> dict[str, set[str]]:
    """The losses, networks and readers of data sets that a grid names, known or not."""
    tables = (grid.model, *grid.models, *(d.model for d in grid.datasets))
    return {
        "losses": {part for loss in grid.losses for part in loss.name.split(PLUS)},
        "networks": {table.name for table in tables if table.name is not None},
        "datasets": {d.reader or d.name for d in grid.datasets},
    }
