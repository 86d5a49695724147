"""The local Ray that trials run on leaves this process as it was."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

TOLD = """
import os, signal
signal.signal(signal.SIGTERM, lambda number, frame: print("told", flush=True))
from sweeper.run.ray_cluster import ray_cluster
with ray_cluster(""):
    os.kill(os.getpid(), signal.SIGTERM)
"""

PROCESSES = """
import psutil
from sweeper.run.ray_cluster import ray_cluster
with ray_cluster(""):
    print(*(word for one in psutil.Process().children() for word in one.cmdline()))
"""


@pytest.mark.slow
def test_a_signal_reaches_us_and_not_what_ray_does_of_it() -> None:
    """Ray's core would print a stack and abort the process three seconds later."""
    done = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, text=True, check=True)
    assert done.stdout == "told\n"
    assert "SIGTERM received" not in done.stderr


@pytest.mark.slow
def test_a_local_ray_does_without_processes_that_nobody_needs() -> None:
    done = subprocess.run([sys.executable, "-c", PROCESSES], capture_output=True, text=True, check=True)
    assert "raylet" in done.stdout
    assert "log_monitor" not in done.stdout
    assert "autoscaler" not in done.stdout


def test_what_a_ray_that_could_not_start_has_left_is_ended(tmp_path: Path) -> None:
    from sweeper.run.ray_cluster import end_processes  # sets Ray's variables in this process

    folder = tmp_path / "sweeper-ray-x"
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen([*sleep, f"--session-dir={folder}/r"]) as left, subprocess.Popen(sleep) as another:
        try:
            end_processes(folder)
            assert left.wait(60) == -signal.SIGKILL
            assert another.poll() is None
        finally:
            left.kill()
            another.kill()
