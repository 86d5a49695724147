"""What verbs answer, as typed objects: the same for a program with --json, over HTTP, and as a text for a person.

A key that is here is promised to programs. An answer of a newer service may hold more; what is more is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from trials.states import AttemptState, FailureKind, SweepState, TrialState

Number = float | Literal["NaN", "Infinity", "-Infinity"] | None
"""JSON has no number for what is not finite; null is undefined."""
ShownState = SweepState | Literal["starting", "failed"]
"""`starting`: its data are being prepared; `failed`: it could not be started. In both it is not in the database yet."""


class Reply(BaseModel):
    """A line for a person."""

    sweep: str
    message: str


class DeletedObject(BaseModel):
    """What goes with a sweep: rows of the database, Optuna studies, MLflow runs, and files with their bytes.

    `kept` counts trials that other sweeps have; they stay. `left` says in a line each what could not be done yet.
    """

    sweep: str
    trials: int
    kept: int
    attempts: int
    epochs: int
    scores: int
    studies: list[str]
    mlflow_runs: int
    files: int
    bytes: int
    left: list[str]


class Launched(Reply):
    """The name of the sweep, whose status shows the progress of its start; `differences`: those of a rehearsal."""

    differences: list[str]


class Problem(BaseModel):
    """What was wrong, where, and what to do."""

    detail: str


class Health(BaseModel):
    """The service is up and its database answers."""

    status: Literal["ok"]
    version: str


class Shown(BaseModel):
    """What the commands print with --json."""

    model_config = ConfigDict(extra="allow")


class SettingObject(Shown):
    """A setting in which sweeps differ: the values that the trials of each have."""

    setting: str
    values: dict[str, list[str]]


class DifferenceObject(Shown):
    """What a variant scores in `sweep_a` less what it scores in `sweep_b`; null bounds: without repeats no interval."""

    dataset: str
    label: str
    metric: str
    variant: str
    sweep_a: str
    sweep_b: str
    difference: float | None
    low: float | None
    high: float | None
    images: int
    runs_a: int
    runs_b: int


class SharedCellObject(Shown):
    """A cell that several sweeps have, with the number of its trials that they share."""

    dataset: str
    variant: str
    gamma: float | None
    sweeps: list[str]
    trials: int


class ComparedObject(Shown):
    """Sweeps side by side; `shared` counts the trials that all of them have, `cells` are what two or more have."""

    sweeps: list[str]
    trials: dict[str, int]
    shared: int
    settings: list[SettingObject]
    cells: list[SharedCellObject] = []
    differences: list[DifferenceObject]


class PlannedTrialObject(Shown):
    """A cell of the grid. `state` is that of the stored trial of the same hash, or `new`."""

    hash: str
    label: str
    dataset: str
    loss: str
    variant: str
    gamma: float | None
    repeat: int
    fold: int | None = None
    seed: int
    state: TrialState | Literal["new"]
    sweep: str | None
    resolved: bool
    predicted_seconds: float
    spec: dict[str, object]


class PlannedSearchObject(Shown):
    """A study whose values are chosen as it goes: what it chooses from (`domains`), and what it may still train."""

    study: str
    variant: str
    dataset: str
    loss: str
    settings: dict[str, object]
    hash: str
    points: int
    domains: list[dict[str, object]]
    family: str
    seeds: list[int]
    tried: int
    trials_left: int
    epochs_at_most: int
    predicted_seconds: float


class DevicesObject(Shown):
    """The processors and GPUs that a launch would run on; `text` says whose they are."""

    cpus: float
    gpus: float
    text: str


class ComponentsObject(Shown):
    """The standard deviations of a score's random parts: loss × image, run, image × run. `source`: the sweep from whose
    scores they are, or `assumed`."""

    loss_unit: float
    run: float
    unit_run: float
    source: str


class PowerObject(Shown):
    """Which difference `power` of such studies find, and how many repeats find `target`.

    `label` is null where it holds for each class, `finds` where each loss has one run, `repeats` where no number of
    them is enough. `units` counts test images, or groups where they are known (`unit`).
    """

    dataset: str
    label: str | None
    metric: str
    losses: int
    runs: int
    units: int
    unit: Literal["images", "groups"]
    folds: int
    power: float
    finds: float | None
    target: float
    repeats: int | None
    components: ComponentsObject


class SweepPower(Shown):
    """What the losses of a sweep could find, for each data set and class with two losses."""

    sweep: str
    power: list[PowerObject]


class PlanObject(Shown):
    """A grid's trials, and what those left to run will cost; `differences`: those of a rehearsal."""

    grid: str
    rehearsal: bool
    differences: list[str] = []
    trials: list[PlannedTrialObject]
    searches: list[PlannedSearchObject] = []
    finished: int
    devices: DevicesObject
    slots: int
    predicted_seconds: float
    predicted_finish: str
    predicted_bytes: int
    predicted_bytes_prepared: int
    free_bytes: int
    costs_measured: bool
    cost_model_error: float | None
    missing_data: list[str]
    missing_from: list[str] = []
    unprepared_data: list[str]
    power: list[PowerObject] = []
    warnings: list[str] = []


class Counts(BaseModel):
    """Trials in each state."""

    queued: int
    running: int
    finished: int
    failed: int
    pruned: int
    stopped: int

    @classmethod
    def of(cls, counts: Mapping[TrialState, int]) -> Counts:
        """The counts of some states; the others have none."""
        return cls(**{state.value: counts.get(state, 0) for state in TrialState})

    def items(self) -> Iterator[tuple[TrialState, int]]:
        """Each state with its count, in the order of `TrialState`."""
        return ((state, getattr(self, state)) for state in TrialState)

    @property
    def total(self) -> int:
        return sum(count for _, count in self.items())


class SweepSummary(Shown):
    """A line of the list. Times are seconds since the epoch by the database's clock."""

    sweep: str
    state: ShownState
    reason: str
    rehearsal: bool
    counts: Counts
    created_at: float
    finished_at: float | None


class Lease(BaseModel):
    """Who runs a sweep; `expired`: it has not renewed its lease. `seconds_left` are then below 0."""

    holder: str
    expires_at: float
    expired: bool
    seconds_left: float


class TrialStatus(Shown):
    """How a trial stands. `variant` is the loss with whatever else tells trials apart, `setbacks` counts its failed
    and lost attempts by kind. `quiet_seconds`: while it runs, about how long ago its last epoch ended, or it began;
    `slow`: it is much slower than was predicted. `input_wait`: the share of its newest epochs' time in which its steps
    waited for their batches; `input_bound`: so much that something should be changed."""

    hash: str
    label: str
    dataset: str
    loss: str
    variant: str
    gamma: float | None
    repeat: int
    fold: int | None = None
    seed: int
    state: TrialState
    attempts: int
    epochs: int
    setbacks: dict[FailureKind, int]
    failure: FailureKind | None
    error: str | None
    val_dsc: float | None
    test_dsc: float | None
    train_seconds: float | None
    mlflow_run: str | None
    sweep: str | None
    quiet_seconds: float | None = None
    slow: bool = False
    input_wait: float | None = None
    input_bound: bool = False


class SearchStatus(Shown):
    """How far a search has come: so many of its points were tried."""

    study: str
    sampler: str
    pruner: str
    tried: int
    points: int


class GroupStatus(Shown):
    """How the trials of a data set, loss with its settings and γ stand: the mean scores over finished `runs`, and half
    of the 95% interval of the test DSC over them; null below two runs."""

    dataset: str
    variant: str
    gamma: float | None
    counts: Counts
    runs: int
    val_dsc: float | None
    test_dsc: float | None
    half_width: float | None


class SweepStatus(Shown):
    """How a sweep stands, by data set and loss (`groups`) and trial by trial: failed trials by kind, the failed and
    lost attempts at the others, and how many trials are not reproducible (`training.deterministic` is false)."""

    sweep: str
    state: ShownState
    reason: str
    rehearsal: bool
    counts: Counts
    failures: dict[FailureKind, int]
    again: dict[FailureKind, int]
    lease: Lease | None
    searches: list[SearchStatus] = []
    groups: list[GroupStatus] = []
    not_reproducible: int = 0
    trials: list[TrialStatus]


class AttemptObject(Shown):
    """One try at a trial."""

    number: int
    state: AttemptState
    failure: FailureKind | None
    error: str | None
    host: str
    device: str | None
    resumed_from: int
    steps: int
    started_at: float
    ended_at: float | None
    last_words: str | None


class TrialObject(Shown):
    """Everything about a trial. `spec` is what its hash is of, `input_wait` the share of its epochs' time in which its
    steps waited for their batches."""

    hash: str
    label: str
    state: TrialState
    failure: FailureKind | None
    error: str | None
    sweep: str | None
    seed: int
    results_version: int
    best_epoch: int | None
    epochs: int
    val_dsc: float | None
    test_dsc: float | None
    parameters: int | None
    train_seconds: float | None
    input_wait: float | None = None
    mlflow_run: str | None
    attempts: list[AttemptObject]
    spec: dict[str, object]


class LogPart(Shown):
    """A part of a trial's log, whole lines while it runs. `after` is where the next part starts, as if nothing had been
    cut."""

    trial: str
    text: str
    after: int
    running: bool


class TrialEntry(BaseModel):
    """A row of the table of trials."""

    hash: str
    label: str
    dataset: str
    loss: str
    variant: str
    gamma: float | None
    repeat: int
    fold: int | None = None
    seed: int
    results_version: int
    state: TrialState
    failure: FailureKind | None
    epochs: int
    best_epoch: int | None
    val_loss: Number
    val_dsc: float | None
    test_dsc: float | None
    train_seconds: float | None
    evaluate_seconds: float | None
    parameters: int | None
    mlflow_run: str | None


class ScoreRow(Shown):
    """Scores of one trial on one image for one class: shares in [0, 1], distances in the unit of the spacing.

    `group` is the image's patient or other group, empty where it is not known. A metric that was added has a key of
    its own.
    """

    trial: str
    partition: str
    case: str
    label: str
    group: str
    dsc: float | None
    iou: float | None
    precision: float | None
    recall: float | None
    hd95: Number
    asd: Number


class Results(BaseModel):
    """Both tables; `format=parquet` gives one of them as a file."""

    sweep: str
    trials: list[TrialEntry]
    scores: list[ScoreRow]
