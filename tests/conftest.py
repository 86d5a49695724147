"""What holds for every test."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

pytest_plugins = ["pytester"]  # for tests of what this file does

# Timing never decides a test. In CI the same examples are drawn each time: a new counterexample belongs to whoever
# changes the code, not to whoever lands next.
settings.register_profile("default", deadline=None, max_examples=25)
settings.register_profile("ci", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# A shell starts what it runs in the background with Ctrl-C ignored, and so would be every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of whole sweeps come first: each stays with one worker, and a long one at the end would leave the other
    workers idle. One of them trains the undisturbed sweep, with which others compare theirs: these come last of
    them, and need not wait for it."""

    def place(item: pytest.Item) -> int:
        if not item.nodeid.startswith("tests/system/"):
            return 2
        waits = "reference" in getattr(item, "fixturenames", ()) and "/test_local.py" not in item.nodeid
        return 1 if waits else 0

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test of Postgres that did not run fails: the server comes from a wheel, so nothing may be missing."""
    report = yield
    if (
        os.environ.get("CI")
        and report.skipped
        and item.get_closest_marker("postgres")
        and not hasattr(report, "wasxfail")
    ):
        report.outcome = "failed"
        report.longrepr = f"a test of Postgres did not run, which in CI is a failure: {call.excinfo}"
    return report
