"""What goes over the wire, as the OpenAPI description has it. Requests refuse unknown keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from sweeper.grids.files import shipped
from sweeper.grids.schema import NAME_PATTERN

SweepName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
HashPrefix = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,64}$")]
ShippedGrid = Annotated[SweepName, Field(json_schema_extra={"enum": list(shipped())})]
GridText = Annotated[str, Field(json_schema_extra={"format": "grid"})]
GridChange = Annotated[str, Field(json_schema_extra={"format": "grid-change"})]
Number = float | Literal["NaN", "Infinity", "-Infinity"] | None
"""JSON has no number for what is not finite; null is undefined."""
TrialState = Literal["queued", "running", "finished", "failed", "pruned", "stopped"]
FailureKind = Literal["lost", "out_of_memory", "diverged", "bad_data", "bad_settings", "disk_full", "bug"]
Failure = FailureKind | None
SweepState = Literal["starting", "failed", "queued", "running", "finished", "stopped", "broken"]
"""`starting`: its data are being prepared; `failed`: it could not be started. In both it is not in the database yet."""


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# JSON knows one kind of number: 2.0 is whole, "2" is none. The range comes first, or the description would lack it.
Concurrency = Annotated[int, Field(ge=1, le=10_000), BeforeValidator(_whole)]
Limit = Annotated[int, Field(ge=1, le=1_000_000, description="Start at most so many trials."), BeforeValidator(_whole)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StopRequest(_Asked):
    """`now`: running trials end after their current epoch, in place of going on to their end."""

    now: bool = False


class ScaleRequest(_Asked):
    """At most so many trials at once."""

    concurrency: Concurrency


class RetryRequest(_Asked):
    """Which trials: by the first digits of their hashes, or all that have failed."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "anyOf": [
                {"required": ["trials"], "properties": {"trials": {"minItems": 1}}},
                {"required": ["failed"], "properties": {"failed": {"const": True}}},
            ]
        },
    )

    trials: list[HashPrefix] = Field(default=[], max_length=10_000)
    failed: bool = False

    @model_validator(mode="after")
    def _named(self) -> RetryRequest:
        if not self.trials and not self.failed:
            raise ValueError('say which trials: "failed": true, or their hashes in "trials"')
        return self


class ResumeRequest(_Asked):
    """`limit`: at most so many trials are started; the rest stays queued."""

    limit: Limit | None = None


class PlanRequest(_Asked):
    """A grid, by its shipped name or as the text of its file; what changes it is as on the command line."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "oneOf": [
                {"required": ["grid"], "properties": {"grid": {"type": "string"}, "toml": {"type": "null"}}},
                {"required": ["toml"], "properties": {"toml": {"type": "string"}, "grid": {"type": "null"}}},
            ]
        },
    )

    grid: ShippedGrid | None = Field(default=None, description="A shipped grid.")
    toml: GridText | None = Field(default=None, description="A grid file's text.")
    set: list[GridChange] = Field(
        default=[], max_length=1000, description="Changes of keys, such as training.epochs=5."
    )
    name: SweepName | None = Field(default=None, description="Name of the sweep; the grid's name unless given.")
    fresh: bool = Field(default=False, description="Train cells that other sweeps have finished, too.")
    rehearse: bool = Field(default=False, description="The same trials, tiny and on synthetic files.")

    @model_validator(mode="after")
    def _one_grid(self) -> PlanRequest:
        if (self.grid is None) == (self.toml is None):
            raise ValueError('name a shipped grid in "grid", or send the text of one in "toml"; one of the two')
        return self


class LaunchRequest(PlanRequest):
    """A grid to run. `extend` grows an existing sweep by the grid's new cells."""

    extend: bool = False
    limit: Limit | None = None


class Reply(BaseModel):
    """A line for a person."""

    sweep: str
    message: str


class Launched(Reply):
    """The name of the sweep, whose status tells how its start goes on; `differences`: those of a rehearsal."""

    differences: list[str]


class Problem(BaseModel):
    """What was wrong, where, and what to do."""

    detail: str


class Health(BaseModel):
    """The service is up and its database answers."""

    status: Literal["ok"]
    version: str


class _Shown(BaseModel):
    """What the commands print with --json."""

    model_config = ConfigDict(extra="allow")


class PlannedTrial(_Shown):
    """A cell of the grid. `state` is that of the stored trial of the same hash, or `new`."""

    hash: str
    label: str
    dataset: str
    loss: str
    variant: str
    gamma: float | None
    repeat: int
    seed: int
    state: TrialState | Literal["new"]
    sweep: str | None
    resolved: bool
    predicted_seconds: float
    spec: dict[str, Any]


class DevicesObject(_Shown):
    """The processors and GPUs that a launch would run on; `text` says whose they are."""

    cpus: float
    gpus: float
    text: str


class PlanObject(_Shown):
    """A grid's trials, and what those left to run will cost; `differences`: those of a rehearsal."""

    grid: str
    rehearsal: bool
    differences: list[str]
    trials: list[PlannedTrial]
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
    unprepared_data: list[str]


class Counts(BaseModel):
    """Trials in each state."""

    queued: int
    running: int
    finished: int
    failed: int
    pruned: int
    stopped: int


class SweepSummary(_Shown):
    """A line of the list. Times are seconds since the epoch by the database's clock."""

    sweep: str
    state: SweepState
    reason: str
    rehearsal: bool
    counts: Counts
    created_at: float
    finished_at: float | None


class Lease(BaseModel):
    """Who runs a sweep; `expired`: it is gone without a word. `seconds_left` are then below 0."""

    holder: str
    expires_at: float
    expired: bool
    seconds_left: float


class TrialStatus(_Shown):
    """How a trial stands. `variant` is the loss with whatever else tells trials apart, `setbacks` counts its failed
    and lost attempts by kind."""

    hash: str
    label: str
    dataset: str
    loss: str
    variant: str
    gamma: float | None
    repeat: int
    seed: int
    state: TrialState
    attempts: int
    epochs: int
    setbacks: dict[str, int]
    failure: Failure
    error: str | None
    val_dsc: float | None
    test_dsc: float | None
    train_seconds: float | None
    mlflow_run: str | None
    sweep: str | None


class SweepStatus(_Shown):
    """How a sweep stands, trial by trial: failed trials by kind, and the failed and lost attempts at the others."""

    sweep: str
    state: SweepState
    reason: str
    rehearsal: bool
    counts: Counts
    failures: dict[FailureKind, int]
    again: dict[FailureKind, int]
    lease: Lease | None
    trials: list[TrialStatus]


class AttemptObject(_Shown):
    """One try at a trial."""

    number: int
    state: Literal["running", "finished", "failed", "lost", "pruned", "stopped"]
    failure: Failure
    error: str | None
    host: str
    device: str | None
    resumed_from: int
    steps: int
    started_at: float
    ended_at: float | None
    last_words: str | None


class TrialObject(_Shown):
    """Everything about a trial. `spec` is what its hash is of."""

    hash: str
    label: str
    state: TrialState
    failure: Failure
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
    mlflow_run: str | None
    attempts: list[AttemptObject]
    spec: dict[str, Any]


class TrialRow(BaseModel):
    """A row of the table of trials."""

    hash: str
    label: str
    dataset: str
    loss: str
    variant: str
    gamma: float | None
    repeat: int
    seed: int
    results_version: int
    state: TrialState
    failure: Failure
    epochs: int
    best_epoch: int | None
    val_loss: Number
    val_dsc: float | None
    test_dsc: float | None
    train_seconds: float | None
    evaluate_seconds: float | None
    parameters: int | None
    mlflow_run: str | None


class ScoreRow(BaseModel):
    """Scores of one trial on one image for one class: shares in [0, 1], distances in the unit of the spacing."""

    trial: str
    partition: str
    case: str
    label: str
    dsc: float | None
    iou: float | None
    precision: float | None
    recall: float | None
    hd95: Number
    asd: Number


class Results(BaseModel):
    """Both tables; `format=parquet` gives one of them as a file."""

    sweep: str
    trials: list[TrialRow]
    scores: list[ScoreRow]
