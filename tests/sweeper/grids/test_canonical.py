"""Numbers of a grid that is read: what only rounding tells apart is one cell, and no stored hash moves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.errors import GridError
from sweeper.grids.expansion import DataIdentity, expand
from sweeper.grids.files import canonical, grid_of_text, load_grid, parse_grid
from trials.spec import TrialSpec

NUCLEI = {"nuclei": DataIdentity(("background", "nucleus"), 2, "p" * 16, "s" * 16)}
GRID = """
name = "g"
[[datasets]]
name = "nuclei"
[[losses]]
name = "unified_focal_sym"
"""

finite = st.floats(allow_nan=False, allow_infinity=False)
short = finite.map(lambda x: float(f"{x:.12g}")).filter(lambda x: str(x) != "-0.0")
tables: st.SearchStrategy[Any] = st.recursive(
    finite | st.integers() | st.text() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def cells(gamma: str, more: str = "") -> tuple[TrialSpec, ...]:
    return expand(grid_of_text(f"{GRID}gamma = {gamma}\n{more}"), NUCLEI)


@pytest.mark.parametrize("gamma", ["[0.3, 0.30000000000000004]", "[0.0, -0.0]", "[0, -0.0]", "[0.5, 0.5000000000001]"])
def test_two_values_that_only_rounding_tells_apart_are_held_twice(gamma: str) -> None:
    with pytest.raises(GridError, match=r"holds the cell «nuclei · unified_focal_sym · γ=0(\.\d)?» twice"):
        cells(gamma)


@pytest.mark.parametrize("written", ["0.3", "0.30000000000000004"])
def test_a_rule_finds_its_gamma_however_it_is_written(written: str) -> None:
    found = cells("[0.1, 0.30000000000000004]", f"[[exclude]]\ngamma = {written}")
    assert [one.loss.gamma for one in found] == [0.1]


def test_an_override_is_read_in_the_same_way() -> None:
    changed = load_grid("demo", ["losses.unified_focal_sym.gamma=[0.1, 0.30000000000000004]"])
    assert changed.losses[-2].parameters["gamma"] == [0.1, 0.3]


def test_a_stored_grid_keeps_its_numbers() -> None:
    stored = {"name": "g", "datasets": [{"name": "nuclei"}], "losses": [{"name": "focal", "gamma": 0.1 + 0.2}]}
    (one,) = expand(parse_grid(stored, "stored"), NUCLEI)
    assert one.loss.gamma == 0.1 + 0.2


@given(short)
def test_a_number_of_at_most_12_digits_keeps_its_hash(value: float) -> None:
    assert repr(canonical(value)) == repr(value)


@given(tables)
def test_what_is_canonical_stays_as_it_is(table: Any) -> None:
    assert canonical(canonical(table)) == canonical(table)


@given(st.integers() | st.booleans() | st.text())
def test_seeds_and_words_are_not_touched(value: Any) -> None:
    assert canonical(value) is value


@given(finite)
def test_a_number_moves_by_less_than_its_twelfth_digit(value: float) -> None:
    assert canonical(value) == pytest.approx(value, rel=1e-11, abs=1e-300)
    assert str(canonical(value)) != "-0.0"
