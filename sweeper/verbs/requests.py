"""What verbs are asked for. A body with an unknown key is refused; such a part of a query is ignored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from sweeper.grids.files import shipped
from sweeper.run.deadline import LONGEST_HOURS
from trials.errors import InputError
from trials.places import NAME_PATTERN

SweepName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
HashPrefix = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,64}$")]
ShippedGrid = Annotated[SweepName, Field(json_schema_extra={"enum": list(shipped())})]
GridText = Annotated[str, Field(json_schema_extra={"format": "grid"})]
GridChange = Annotated[str, Field(json_schema_extra={"format": "grid-change"})]


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# JSON knows one kind of number: 2.0 is whole, "2" is none. The range comes first, or the description would lack it.
Concurrency = Annotated[int, Field(ge=1, le=10_000), BeforeValidator(_whole)]
ResultsTable = Literal["scores", "trials"]
"""The two tables of results."""
Limit = Annotated[int, Field(ge=1, le=1_000_000, description="Start at most so many trials."), BeforeValidator(_whole)]


Hours = Annotated[float, Field(gt=0, le=LONGEST_HOURS, description="End after so many hours; resume continues.")]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StatusRequest(BaseModel):
    """`brief`: of many trials, only those that one would look for first."""

    brief: bool = Field(default=False, description="Of many trials, only those that one would look for first.")


class ResultsRequest(BaseModel):
    """Both tables as JSON, or one of them as a Parquet file."""

    format: Literal["json", "parquet"] = "json"
    table: ResultsTable = Field(default="scores", description="Which table a Parquet file holds.")


class LogPartRequest(BaseModel):
    """`tail`: the last so many lines; otherwise what follows `after`, which the part before has told."""

    tail: int | None = Field(default=None, ge=0, le=1_000_000, description="The last so many lines.")
    after: int = Field(default=0, ge=0, le=2**62, description="What follows there; `after` of the part before.")


class StopRequest(_Asked):
    """`now`: running trials end after their current epoch; otherwise they finish."""

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


class CompareRequest(BaseModel):
    """The other sweeps."""

    others: str = Field(min_length=1, max_length=2000, description="Names of the other sweeps, with commas.")


class RenameRequest(_Asked):
    """`to`: a name that no sweep has."""

    to: SweepName


class ResumeRequest(_Asked):
    """`limit`: at most so many trials are started; the rest stays queued. `hours`: when to end."""

    limit: Limit | None = None
    hours: Hours | None = None


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
    hours: Hours | None = None


Request = TypeVar("Request", bound=BaseModel)


def request(kind: type[Request], **values: object) -> Request:
    """A request of what a person has typed.

    Raises:
        InputError: a value is not allowed.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(in_one_line(error.errors())) from error


def in_one_line(errors: Iterable[ErrorDetails]) -> str:
    """What pydantic found wrong, each with its place."""
    lines = []
    for one in errors:
        where, message = ".".join(str(part) for part in one["loc"]), one["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {message}" if where else message)
    return "; ".join(lines)
