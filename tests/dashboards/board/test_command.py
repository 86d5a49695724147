"""`sweeper board` beside the commands that a service does, too."""

import os
import subprocess
import sys

import pytest


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sweeper", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "120", **environment}
    )


@pytest.mark.slow
def test_the_service_of_the_environment_is_the_one_that_its_buttons_ask() -> None:
    said = run("board", "--help", SWEEPER_SERVER="http://service:8080")
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.slow
def test_it_runs_on_no_service() -> None:
    said = run("--server", "http://service:8080", "board", "--help")
    assert said.returncode == 2
    assert "`sweeper board` works on this machine alone" in said.stderr
