"""The records of a spool: what a line may hold, and how it is written as JSON.

A line is one JSON object `{"n": sequence number, "kind": …, "at": milliseconds since 1970, …}`; the rest are the fields
of the record of that kind. Spools outlive the program that wrote them: a field that is added needs a default, and is
left out of the line while it has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]

_ADDED = {"added": True}
"""Marks a field that lines of earlier versions do not have."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set as MLflow knows it.

    Attributes:
        name: its name.
        digest: the key of its prepared arrays.
        split: the hash of its split.
        fold: the number of the fold that is the test set; empty without folds.
        source: the page where a person gets it, or words that say where it is.
    """

    name: str
    digest: str
    split: str = field(default="", metadata=_ADDED)
    fold: str = field(default="", metadata=_ADDED)
    source: str = field(default="", metadata=_ADDED)


@dataclass(frozen=True, slots=True)
class StartRecord:
    """A new attempt of the trial: name, tags and parameters of its run, its data set, and the name of its model."""

    kind: ClassVar = "start"

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    dataset: Dataset
    model_name: str


@dataclass(frozen=True, slots=True)
class MetricsRecord:
    """The metrics of one epoch, counted from 1."""

    kind: ClassVar = "metrics"

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """A file for the run. `path` is relative to the trial's folder; `folder` is the one in the run's artifacts."""

    kind: ClassVar = "artifact"

    path: Path
    folder: str = ""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """The trained network; see `Spool.model`. Both paths are relative to the trial's folder.

    `recipe` is how it is applied to raw images, as JSON; empty where that is not known.
    """

    kind: ClassVar = "model"

    path: Path
    input_shape: tuple[int | None, ...]
    classes: tuple[str, ...]
    input_example: Path | None
    requirements: Mapping[str, str]
    recipe: str = field(default="", metadata=_ADDED)

    def inside(self, folder: Path) -> ModelRecord:
        """The record with the paths that the files of this folder have."""
        example = self.input_example
        return replace(self, path=folder / self.path, input_example=None if example is None else folder / example)


@dataclass(frozen=True, slots=True)
class EndRecord:
    """The outcome of the attempt: the run's status, further tags, and the final metrics at `step`."""

    kind: ClassVar = "end"

    status: RunStatus
    tags: Mapping[str, str]
    step: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ScoresRecord:
    """Final metrics that the trial got after its end, at the step of the others."""

    kind: ClassVar = "scores"

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class LabelRecord:
    """The trial's name, after it has changed, with the tags that say a part of it."""

    kind: ClassVar = "label"

    name: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UnknownRecord:
    """A record of a kind that this version does not know."""

    kind: str


Record = StartRecord | MetricsRecord | ArtifactRecord | ModelRecord | EndRecord | ScoresRecord | LabelRecord


@dataclass(frozen=True, slots=True)
class Line:
    """A complete line: its sequence number, its time in milliseconds, what it holds, and the file offset after it."""

    number: int
    at: int
    record: Record | UnknownRecord
    end: int


def to_line(number: int, at: int, record: Record) -> bytes:
    """A record as a line of the spool."""
    values = {"n": number, "kind": record.kind, "at": at, **_fields(record)}
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False, default=_plain).encode() + b"\n"


def from_line(line: bytes, end: int) -> Line:
    """The inverse of `to_line`.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: the line is damaged.
    """
    values = json.loads(line)
    number, kind, at = int(values.pop("n")), str(values.pop("kind")), int(values.pop("at"))
    read = _READERS.get(kind)
    return Line(number, at, UnknownRecord(kind) if read is None else read(values), end)


def _fields(record: DataclassInstance) -> dict[str, object]:
    values = {part: getattr(record, part.name) for part in fields(record)}
    return {p.name: value for p, value in values.items() if not ("added" in p.metadata and value == p.default)}


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    raise TypeError(f"{type(value).__name__} cannot be part of a spool")


def _start(values: Mapping[str, Any]) -> StartRecord:
    return StartRecord(
        values["name"], values["tags"], values["params"], Dataset(**values["dataset"]), values["model_name"]
    )


def _model(values: Mapping[str, Any]) -> ModelRecord:
    example = values["input_example"]
    return ModelRecord(
        path=Path(values["path"]),
        input_shape=tuple(values["input_shape"]),
        classes=tuple(values["classes"]),
        input_example=None if example is None else Path(example),
        requirements=values["requirements"],
        recipe=values.get("recipe", ""),
    )


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Record]] = {
    StartRecord.kind: _start,
    MetricsRecord.kind: lambda values: MetricsRecord(int(values["step"]), values["values"]),
    ArtifactRecord.kind: lambda values: ArtifactRecord(Path(values["path"]), values["folder"]),
    ModelRecord.kind: _model,
    EndRecord.kind: lambda values: EndRecord(values["status"], values["tags"], int(values["step"]), values["values"]),
    LabelRecord.kind: lambda values: LabelRecord(values["name"], values["tags"]),
    ScoresRecord.kind: lambda values: ScoresRecord(int(values["step"]), values["values"]),
}
