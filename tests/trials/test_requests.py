"""Requests to a coordinator, and the form in which the database keeps them."""

from __future__ import annotations

import pytest

from trials.requests import Asked, Retry, Scale, Stop, from_stored, to_stored


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        (Stop(), ("stop", {"now": False})),
        (Stop(now=True), ("stop", {"now": True})),
        (Scale(3), ("scale", {"concurrency": 3})),
        (Retry(("a", "b")), ("retry", {"trials": ["a", "b"]})),
    ],
)
def test_a_request_is_stored_as_before_and_read_again(asked: Asked, stored: tuple[str, dict[str, object]]) -> None:
    assert to_stored(asked) == stored
    assert from_stored(*stored) == asked


def test_an_unknown_verb_is_no_request() -> None:
    assert from_stored("dance", {}) is None
