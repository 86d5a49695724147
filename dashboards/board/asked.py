"""Refuses what no page of ours asks: Dash takes any JSON, and fails in its own code on what it does not expect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Len
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict


class _Retried(TypedDict):
    trial: str


class _Property(BaseModel):
    id: str
    property: str
    value: Any = None  # one of `_VALUES`


class _Asked(BaseModel):
    output: str
    outputs: dict[str, Any] | list[dict[str, Any]]
    inputs: list[_Property]
    state: list[_Property] = Field(default_factory=list)
    changed: list[str] = Field(alias="changedPropIds", default_factory=list)


_COUNT, _TEXT = TypeAdapter(int | None), TypeAdapter(str | None)
_VALUES: Mapping[str, TypeAdapter[Any]] = {
    "tick.n_intervals": _COUNT,
    "url.search": _TEXT,
    "version.data": _TEXT,
    "curves-version.data": _TEXT,
    "curves-wanted.data": _TEXT,
    "selected.data": TypeAdapter(Annotated[list[str], Len(3, 3)] | None),
    "cell-shown.data": TypeAdapter(Annotated[list[str], Len(4, 4)] | None),
    "retry.data": TypeAdapter(_Retried | None),
    "retry-all.n_clicks": _COUNT,
    "resume.n_clicks": _COUNT,
    "stop.submit_n_clicks": _COUNT,
    "stop-now.submit_n_clicks": _COUNT,
    "scale.n_clicks": _COUNT,
    "token.value": _TEXT,
    "concurrency.value": TypeAdapter(int | float | str | None),
}


def asked_by_a_page(body: bytes, callbacks: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a page of ours can have sent this: a callback that runs here, with its own inputs, of their kinds.

    Args:
        body: what was sent.
        callbacks: Dash's, by their outputs.
    """
    try:
        asked = _Asked.model_validate_json(body)
        known = callbacks.get(asked.output, {})
        if "callback" not in known:
            return False
        for given, declared in ((asked.inputs, known["inputs"]), (asked.state, known["state"])):
            if [(one.id, one.property) for one in given] != [(one["id"], one["property"]) for one in declared]:
                return False
        for one in (*asked.inputs, *asked.state):
            _VALUES[f"{one.id}.{one.property}"].validate_python(one.value)
    except ValidationError:
        return False
    outputs = asked.outputs if isinstance(asked.outputs, list) else [asked.outputs]
    named = [f"{one.get('id')}.{one.get('property')}" for one in outputs]
    names = {f"{one.id}.{one.property}" for one in asked.inputs}
    return named == asked.output.strip(".").split("...") and names.issuperset(asked.changed)
