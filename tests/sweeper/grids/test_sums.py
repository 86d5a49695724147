"""Weighted sums of losses in a grid."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sweeper.data.preparation import bare_identities
from sweeper.errors import GridError
from sweeper.grids.expansion import expand
from sweeper.grids.names import Naming
from sweeper.grids.schema import Grid, names_used
from trials.spec import TrialSpec


def grid(*losses: dict[str, Any]) -> Grid:
    return Grid.model_validate({"name": "g", "datasets": [{"name": "nuclei"}], "losses": losses})


def cells(*losses: dict[str, Any]) -> tuple[TrialSpec, ...]:
    made = grid(*losses)
    return expand(made, bare_identities(made))


def test_parts_are_a_sum_and_a_list_in_a_part_is_an_axis() -> None:
    table = {"name": "compound", "parts": ["dice", {"name": "focal", "weight": [0.5, 2.0], "gamma": 1.0}]}
    found = cells(table)
    assert [spec.loss.name for spec in found] == ["dice+focal"] * 2
    assert [spec.loss.parameters["focal.weight"] for spec in found] == [0.5, 2.0]
    assert all(spec.loss.parameters["focal.gamma"] == 1.0 for spec in found)
    assert Naming().variant(found[1]) == "dice+focal (focal.weight=2, focal.gamma=1)"
    assert names_used(grid(table))["losses"] == {"dice", "focal"}


def test_a_sum_that_storage_keeps_is_the_same_again() -> None:
    first = grid(
        {"name": "compound", "parts": ["dice", {"name": "boundary", "weight": 0.9, "weight_start": 0.1}], "ramp": 5}
    )
    again = Grid.model_validate(first.to_dict())
    hashes = [[spec.hash for spec in expand(g, bare_identities(g))] for g in (first, again)]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "compound"}, "list two losses or more"),
        ({"name": "compound", "parts": ["dice"]}, "list two losses or more"),
        ({"name": "compound", "parts": ["dice", {"weight": 2}]}, "is no loss; give a name"),
        ({"name": "compound", "parts": ["dice", "ce+iou"]}, "is a sum itself"),
        ({"name": "dice", "parts": ["ce", "iou"]}, "parts make a weighted sum"),
        ({"name": "compound", "parts": ["dice", "dize"]}, "unknown loss 'dize', did you mean 'dice'"),
        ({"name": "compound", "parts": ["dice", {"name": "ce", "weight": -1}]}, r"ce.weight = -1 is outside its range"),
    ],
)
def test_a_wrong_sum_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises((GridError, ValidationError), match=message):
        cells(table)
