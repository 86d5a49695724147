"""What training does while an epoch is being saved, and what becomes of an error there."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from workers.training.saving import Saving

PATIENCE = 60.0


def numbers(until: int, closed: list[bool]) -> Generator[int, None, None]:
    try:
        yield from range(until)
    finally:
        closed.append(True)


def refuse() -> None:
    raise OSError("no room")


def test_training_goes_on_while_an_epoch_is_saved() -> None:
    saved = threading.Event()
    with Saving() as saving:
        saving.begin(lambda: assert_set(saved))
        assert list(saving.beside(numbers(3, []))) == [0, 1, 2]
        saved.set()
        saving.wait()


def assert_set(event: threading.Event) -> None:
    assert event.wait(PATIENCE)


def test_the_next_epoch_is_saved_when_the_one_before_has_been() -> None:
    order: list[str] = []
    first = threading.Event()

    def save_first() -> None:
        assert_set(first)
        order.append("first")

    with Saving() as saving:
        saving.begin(save_first)
        threading.Timer(0.05, first.set).start()
        saving.begin(lambda: order.append("second"))
        assert order[0] == "first"
        saving.wait()
    assert order == ["first", "second"]


def test_an_error_comes_in_place_of_the_next_batch() -> None:
    closed: list[bool] = []
    failed = threading.Event()

    def save() -> None:
        assert_set(failed)
        refuse()

    with Saving() as saving:
        saving.begin(save)
        batches = saving.beside(numbers(1000, closed))
        assert next(batches) == 0
        failed.set()
        with pytest.raises(OSError, match="no room"):
            saving.wait()
        with pytest.raises(OSError, match="no room"):
            next(batches)
    assert closed == [True]


@pytest.mark.parametrize("later", ["wait", "begin"])
def test_an_error_is_never_lost(later: str) -> None:
    with Saving() as saving:
        saving.begin(refuse)
        with pytest.raises(OSError, match="no room"):
            saving.wait() if later == "wait" else saving.begin(lambda: None)


def test_an_error_of_training_waits_for_the_epoch_before() -> None:
    saved: list[bool] = []
    go = threading.Event()

    def save() -> None:
        assert_set(go)
        saved.append(True)

    def train() -> None:
        with Saving() as saving:
            saving.begin(save)
            threading.Timer(0.05, go.set).start()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert saved == [True]
