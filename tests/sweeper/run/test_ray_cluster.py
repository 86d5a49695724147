"""The local Ray that trials run on leaves this process as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest

TOLD = """
import os, signal
signal.signal(signal.SIGTERM, lambda number, frame: print("told", flush=True))
from sweeper.run.ray_cluster import ray_cluster
with ray_cluster(""):
    os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.slow
def test_a_signal_reaches_us_and_not_what_ray_does_of_it() -> None:
    """Ray's core would print a stack and abort the process three seconds later."""
    done = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, text=True, check=True)
    assert done.stdout == "told\n"
    assert "SIGTERM received" not in done.stderr
