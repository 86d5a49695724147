"""How long a trial waits for its input, and when that is worth a word."""

from __future__ import annotations

import pytest

from trials.input_wait import InputWait, input_wait, waiting_share
from trials.results import Epoch


def epochs(*waited: float | None, seconds: float = 10.0) -> list[Epoch]:
    return [Epoch(n, 0.5, 0.5, 0.5, 0.1, 19, seconds, one) for n, one in enumerate(waited, 1)]


@pytest.mark.parametrize(
    ("waited", "planned", "expected"),
    [
        ((), 100, None),
        ((None, None), 100, None),  # of an earlier version
        ((0.0, 0.0), 100, InputWait(0.0, False)),
        ((1.0,), 100, InputWait(0.1, True)),
        ((0.4,), 100, InputWait(0.04, False)),  # below 5%
        ((1.0,), 9, InputWait(0.1, False)),  # 9 seconds in all: not worth a word
        ((9.0, 9.0, 0.0, 0.0, 0.0), 100, InputWait(0.0, False)),  # loading processes were added since
        ((None, 1.0), 100, InputWait(0.1, True)),  # its first epoch was trained by an earlier version
    ],
)
def test_the_newest_epochs_tell(waited: tuple[float | None, ...], planned: int, expected: InputWait | None) -> None:
    assert input_wait(epochs(*waited), planned) == expected


def test_the_share_is_of_the_measured_time() -> None:
    assert waiting_share(epochs(2.0, None, 4.0)) == pytest.approx(0.3)
    assert waiting_share(epochs(0.0, seconds=0.0)) is None
    assert waiting_share(epochs(12.0)) == 1.0


def test_how_long_it_waited_makes_no_other_epoch() -> None:
    assert epochs(1.0) == epochs(2.0) == epochs(None)
