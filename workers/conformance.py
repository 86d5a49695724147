"""Checks that every loss, network and reader must pass: ours, a contributor's and a plug-in author's alike.

    from workers.losses.conformance import check_loss
    from workers.networks.conformance import check_network
    from workers.datasets.conformance import check_reader

    check_loss("power_jaccard")  # raises ConformanceError, which says which check failed and what was expected

`loss_checks`, `network_checks` and `reader_checks` give the same checks one by one, by name, for a test that shows each
of them. This module holds what the three have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

Check = Callable[[], None]


class ConformanceError(AssertionError):
    """A check that does not hold; the message names the entry, the check, and what was expected."""


def expect(holds: object, expected: str) -> None:
    """What a check says: raises an AssertionError with what was expected, where it does not hold."""
    if not holds:
        raise AssertionError(f"expected {expected}")


def named(what: str, checks: Iterable[Check]) -> dict[str, Check]:
    """Checks by the names of their functions, each of which raises nothing but `ConformanceError`.

    Args:
        what: the entry that is checked, such as `loss 'dice'`.
        checks: functions without arguments.
    """
    return {_name(check): partial(_run, what, check) for check in checks}


def run_all(checks: dict[str, Check]) -> None:
    """Runs the checks in order.

    Raises:
        ConformanceError: the first that does not hold.
    """
    for check in checks.values():
        check()


def _name(check: Check) -> str:
    function = check.func if isinstance(check, partial) else check
    return function.__name__.removeprefix("_")


def _run(what: str, check: Check) -> None:
    try:
        check()
    except Exception as error:
        said = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        raise ConformanceError(f"{what} fails the check {_name(check)}: {said}") from error
