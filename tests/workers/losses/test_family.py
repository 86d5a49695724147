"""Every arrow of the family of losses is an identity."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from tests.workers.losses.test_special_cases import cases, value
from workers import losses
from workers.losses.family import SPECIAL_CASES, Setting, SpecialCase

ARROWS = pytest.mark.parametrize("arrow", SPECIAL_CASES, ids=lambda c: f"{c.parent}-{c.child}")


def expanded(given: Mapping[str, Setting], classes: int) -> dict[str, Any]:
    return {
        key: (setting[0], *[setting[1]] * (classes - 1)) if isinstance(setting, tuple) else setting
        for key, setting in given.items()
    }


def check(arrow: SpecialCase, case: Any) -> None:
    g, p = case
    n = g.shape[-1]
    if arrow.where == "sure":
        p = np.eye(n)[p.argmax(-1)]
    if arrow.where == "one image of two classes":
        g, p = (np.stack([x[:1, ..., 0], x[:1, ..., 1:].sum(-1)], axis=-1) for x in (g, p))
        n = 2
    parent = value(arrow.parent, (g, p), **expanded(arrow.settings, n))
    child = value(arrow.child, (g, p), **expanded(arrow.child_settings, n))
    assert parent == pytest.approx(arrow.scale * child + arrow.offset, rel=1e-5, abs=2e-6)


@ARROWS
def test_an_arrow_is_an_identity(arrow: SpecialCase) -> None:
    rng = np.random.default_rng(3)
    g = np.eye(3)[rng.integers(0, 3, (2, 5, 4))]
    check(arrow, (g, 0.98 * rng.dirichlet([1.0] * 3, (2, 5, 4)) + 0.02 / 3))


@pytest.mark.slow
@ARROWS
@settings(max_examples=3, deadline=None)
@given(case=cases())
def test_so_it_is_in_2d_and_3d_with_any_number_of_classes(arrow: SpecialCase, case: Any) -> None:
    check(arrow, case)


def test_no_loss_is_a_special_case_of_itself() -> None:
    """Not round a corner either."""
    children: dict[str, set[str]] = {}
    for arrow in SPECIAL_CASES:
        children.setdefault(arrow.parent, set()).add(arrow.child)
    TopologicalSorter(children).prepare()  # raises where there is a circle
    assert {*children, *(c.child for c in SPECIAL_CASES)} <= set(losses.names())
