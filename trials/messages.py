"""What the processes of a sweep say to each other: the coordinator, Ray's workers and the training process.

| from | to | message |
|---|---|---|
| coordinator | worker | `Task`: a trial to train, and where to report |
| worker | training process | `TrainRequest`, `OrderCommand` |
| training process | worker | `Ready`, then for each trial `Started`, `EpochEnded` after each epoch, and an end |
| worker | coordinator | `Report`: each of these events, and what the worker knows beside it |
| worker | who started a training process before it | `Needs`: is it such a one? The answers: `Given`, and `Ended` |

An end is `Finished`, `Interrupted` or `Failed`. This module alone knows how a message is written as JSON: `to_json`
and the `read_…` functions. Sender and receiver are of one version of the program: only a `PluginSource` is stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

from trials.results import Epoch, TrialResult
from trials.spec import TrialSpec
from trials.states import FailureKind


class Order(StrEnum):
    """What the coordinator answers to an epoch of a trial."""

    CONTINUE = "continue"
    STOP = "stop"
    PRUNE = "prune"


@dataclass(frozen=True, slots=True)
class PluginSource:
    """A plug-in as a worker needs it, and as a sweep remembers it.

    Attributes:
        reference: absolute path of the file, or name of the installed module.
        source: content hash of the file's text, or of every Python file of the installed package.
        text: the file's text; empty for an installed module.
        names: what it registers, by kind, such as `{"losses": ("mine",)}`.
    """

    reference: str
    source: str
    text: str = ""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: the form in which a sweep's details hold it."""
        return {
            "reference": self.reference,
            "source": self.source,
            "text": self.text,
            "names": {kind: list(names) for kind, names in self.names.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; reads every stored form: earlier versions noted data sets alone."""
        names = values.get("names") or {"datasets": values.get("datasets") or ()}
        return cls(
            reference=values["reference"],
            source=values["source"],
            text=values.get("text", ""),
            names={kind: tuple(some) for kind, some in names.items() if some},
        )


# For a training process that is started before its worker.

NO_GPU = "-1"
"""What CUDA takes for no GPU at all."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a training process is started with, fixed for its life.

    Attributes:
        threads: TensorFlow's intra-op threads.
        memory_share: share of the GPU's memory in (0, 1), or None.
        deterministic: whether TensorFlow refuses operations that give other numbers each time.
        devices: the GPUs that it may use, as CUDA takes them (`0,1`, `-1` for none); None: those that its starter may.
    """

    kind: ClassVar = "needs"

    threads: int
    memory_share: float | None = None
    deterministic: bool = True
    devices: str | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """The training process is the worker's now. Its pipes come with this message."""

    kind: ClassVar = "given"

    pid: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The process that was given has ended: with an exit code, or by a signal, whose number is negative."""

    kind: ClassVar = "ended"

    code: int


# To the training process.


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """A trial to train.

    Attributes:
        spec: the trial.
        label: its name for people: the name of its MLflow run.
        prepared_root: the folder that holds the prepared data sets.
        folder: the trial's own folder.
        sweep: name of the sweep that trains it.
        attempt: number of this attempt, from 1.
        provenance: `real`, `synthetic` or `rehearsal`; empty: that of the data.
        plugins: those that the trial uses.
        revision: git revision of the coordinator's program.
        pictures: whether pictures of its segmentations may go to MLflow.
        supervised: whether no epoch ends before an order came for the one before.
        loaders: processes that load training batches.
        metrics: what the images are scored by beside what always is, by the names under which it is stored
            (`trials.metrics`). No part of the spec: they move no number.
        data_source: where the data set comes from, for MLflow: its page, or words.
        setting: the part of the label that all repeats and folds share, without the data set; for MLflow.
    """

    kind: ClassVar = "train"

    spec: TrialSpec
    label: str
    prepared_root: Path
    folder: Path
    sweep: str
    attempt: int = 1
    provenance: str = ""
    plugins: tuple[PluginSource, ...] = ()
    revision: str = ""
    pictures: bool = True
    supervised: bool = False
    loaders: int = 0
    metrics: tuple[str, ...] = ()
    data_source: str = ""
    setting: str = ""


@dataclass(frozen=True, slots=True)
class OrderCommand:
    """An order for the trial that is training."""

    kind: ClassVar = "order"

    order: Order


Command = TrainRequest | OrderCommand


# From the training process.


@dataclass(frozen=True, slots=True)
class Ready:
    """The training process has started and waits for requests.

    Attributes:
        pid: its number.
        devices: the GPUs that it may use, as CUDA takes them; `-1` none, empty all.
        memory_mib: how much of a GPU's memory TensorFlow keeps to; None: as much as it wants.
    """

    kind: ClassVar = "ready"

    pid: int
    devices: str = ""
    memory_mib: int | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The trial trains. `resumed_from` is the epoch of its checkpoint, 0 without one; `remarks` are for people."""

    kind: ClassVar = "started"

    resumed_from: int = 0
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """The trial has trained one more epoch, and its checkpoint is on disk."""

    kind: ClassVar = "epoch"

    record: Epoch


@dataclass(frozen=True, slots=True)
class Finished:
    """The trial has trained to its end."""

    kind: ClassVar = "finished"

    result: TrialResult


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The trial has ended after `epoch`, because of an order."""

    kind: ClassVar = "interrupted"

    order: Order
    epoch: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt has failed. `stderr` holds the last lines that the training process printed."""

    kind: ClassVar = "failed"

    failure: FailureKind
    error: str
    stderr: str = ""


End = Finished | Interrupted | Failed
Event = Started | EpochEnded | End


# Between the coordinator and Ray's workers.


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where workers report to: MLflow's address, the experiment, and the sweep's own run."""

    uri: str
    experiment: str
    parent_run: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that an attempt may take, and those from one of its messages to the next; None: as long as it wants."""

    attempt: float | None = None
    epoch: float | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is to do.

    Attributes:
        request: the trial.
        tracking: where to report.
        log: the file that takes what the training process prints.
        orders: name of the Ray actor that knows the orders for supervised trials.
        memory_share: share of the GPU's memory in (0, 1); None: all of it.
        limits: how long it may take.
        early: where a training process waits that was started before the worker (`workers.process.early`); or empty.
    """

    kind: ClassVar = "task"

    request: TrainRequest
    tracking: Tracking
    log: Path
    orders: str
    memory_share: float | None = None
    limits: Limits = Limits()
    early: str = ""


@dataclass(frozen=True, slots=True)
class Worker:
    """Who trains: the training process, its machine and its device (`CPU`, or `GPU` and its number)."""

    pid: int
    host: str
    device: str


@dataclass(frozen=True, slots=True)
class Report:
    """An event of a trial as the coordinator gets it.

    Attributes:
        event: what happened.
        mlflow_run: the trial's MLflow run, as far as it is known.
        worker: who trains; given with `Started`.
    """

    kind: ClassVar = "report"

    event: Event
    mlflow_run: str | None = None
    worker: Worker | None = None


Message = Command | Ready | Event | Task | Report | Needs | Given | Ended


def to_json(message: Message) -> str:
    """A message as one line of JSON."""
    return json.dumps(message, default=_values)


def read_command(line: str) -> Command:
    """What the training process was sent."""
    values = json.loads(line)
    if values.pop("kind") == OrderCommand.kind:
        return OrderCommand(Order(values["order"]))
    return _request(values)


def read_reply(line: str) -> Ready | Event:
    """What the training process answered."""
    values = json.loads(line)
    if values["kind"] == Ready.kind:
        return Ready(values["pid"], values["devices"], values["memory_mib"])
    return _event(values)


def read_handover(line: str) -> Needs | Given | Ended:
    """What was said about a process that is handed over."""
    values = json.loads(line)
    match values.pop("kind"):
        case Needs.kind:
            return Needs(**values)
        case Given.kind:
            return Given(**values)
        case Ended.kind:
            return Ended(**values)
    raise ValueError(f"not about a process that is handed over: {line}")


def read_task(text: str) -> Task:
    """What a worker was given."""
    values = json.loads(text)
    return Task(
        request=_request(values["request"]),
        tracking=Tracking(**values["tracking"]),
        log=Path(values["log"]),
        orders=values["orders"],
        memory_share=values["memory_share"],
        limits=Limits(**values["limits"]),
        early=values["early"],
    )


def read_report(text: str) -> Report:
    """What a worker reported."""
    values = json.loads(text)
    worker = values["worker"]
    return Report(_event(values["event"]), values["mlflow_run"], None if worker is None else Worker(**worker))


def _values(value: object) -> object:
    """What JSON has no word for, one level deep: called by the encoder for each such value."""
    if isinstance(value, TrialSpec | TrialResult | PluginSource):
        return value.to_dict()
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value):
        own = {one.name: getattr(value, one.name) for one in fields(value)}
        return {"kind": value.kind, **own} if isinstance(value, Message) else own
    raise TypeError(f"{type(value).__name__} cannot be part of a message")


def _request(values: dict[str, Any]) -> TrainRequest:
    values.pop("kind", None)
    return TrainRequest(
        spec=TrialSpec.from_dict(values.pop("spec")),
        prepared_root=Path(values.pop("prepared_root")),
        folder=Path(values.pop("folder")),
        plugins=tuple(map(PluginSource.from_dict, values.pop("plugins"))),
        metrics=tuple(values.pop("metrics")),
        **values,
    )


def _event(values: Mapping[str, Any]) -> Event:
    match values["kind"]:
        case Started.kind:
            return Started(values["resumed_from"], tuple(values["remarks"]))
        case EpochEnded.kind:
            return EpochEnded(Epoch(**values["record"]))
        case Finished.kind:
            return Finished(TrialResult.from_dict(values["result"]))
        case Interrupted.kind:
            return Interrupted(Order(values["order"]), values["epoch"])
        case Failed.kind:
            return Failed(FailureKind(values["failure"]), values["error"], values["stderr"])
    raise ValueError(f"unknown kind of message {values['kind']!r}")
