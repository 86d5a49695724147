"""The one registry: names, order, conflicts, and what is taken out again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trials.errors import InputError, UnknownNameError
from trials.registry import REGISTRIES, Registry


@pytest.fixture
def colours() -> Iterator[Registry[int]]:
    registry: Registry[int] = Registry("colour", "sweeper.colours")
    registry.register("red", 1)
    registry.register("blue", 2)
    yield registry
    REGISTRIES.pop("sweeper.colours")


def test_it_is_a_mapping_in_the_order_of_registration(colours: Registry[int]) -> None:
    assert colours.names() == tuple(colours) == ("red", "blue")
    assert dict(colours) == {"red": 1, "blue": 2}
    assert "red" in colours
    assert REGISTRIES["sweeper.colours"] is colours
    assert colours.plural == "colours"


def test_a_name_is_given_once(colours: Registry[int]) -> None:
    colours.register("red", 1)
    with pytest.raises(InputError, match="a colour named 'red' is registered already; give yours another name"):
        colours.register("red", 3)
    assert colours["red"] == 1


def test_an_unknown_name_is_answered_with_the_nearest(colours: Registry[int]) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown colour 'rad', did you mean 'red'\?; known: blue, red"):
        colours["rad"]
    assert colours.get("rad") is None


def test_what_was_registered_can_be_taken_out(colours: Registry[int]) -> None:
    before = dict(colours)
    colours.register("green", 3)
    colours.replace(before)
    assert colours.names() == ("red", "blue")


def test_entries_of_our_own_packages_are_built_in(colours: Registry[int]) -> None:
    assert colours.built_in() == ()
    from workers.losses.registry import LOSSES

    assert LOSSES.built_in() == LOSSES.names()
    exec(compile("registry.register('green', 3)", "g.py", "exec"), {"registry": colours, "__name__": "sweeper.green"})  # noqa: S102
    assert colours.built_in() == ("green",)
