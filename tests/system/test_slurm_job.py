"""The Slurm job, its edges replaced by scripts; with a real Slurm of two nodes it is run by deploy/test/slurm.sh."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

JOB = Path(__file__).parents[2] / "deploy" / "slurm" / "sweeper.sbatch"

PROGRAMS = {
    "scontrol": 'if [ "$2" = hostnames ]; then printf "one\\ntwo\\nthree\\n"; else echo "NodeAddr=127.0.0.1"; fi',
    "srun": 'echo "$*" >>"$CALLS"; case $* in *start_ray*) exec sleep 600 ;; esac',
    "ray": "exit 0",
    "python3": "echo token",
    "sweeper": """
        trap 'echo "handed over" >>"$CALLS"; exit 7' USR2
        echo "sweeper $* at $RAY_ADDRESS, $RAY_AUTH_MODE $RAY_AUTH_TOKEN" >>"$CALLS"
        [ "$1" = launch ] || exit 3
        until false; do sleep 0.05; done""",
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One in which each program notes how it was called."""
    for name, text in PROGRAMS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
    (tmp_path / "calls").touch()
    slurm = {"SLURM_JOB_ID": "123", "SLURM_JOB_NODELIST": "[one-three]", "SLURM_JOB_NUM_NODES": "3"}
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    return {**os.environ, **slurm, "PATH": path, "CALLS": str(tmp_path / "calls")}


def test_the_command_runs_on_a_ray_of_all_nodes_and_its_status_is_the_job_s(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(["bash", str(JOB), "resume", "demo"], env=environment, timeout=120, check=False)
    assert done.returncode == 3
    calls = (tmp_path / "calls").read_text()
    assert "sweeper resume demo at 127.0.0.1:20123, token token\n" in calls
    assert "--nodes=1 --ntasks=1 --ntasks-per-node=1 --nodelist=one bash -c start_ray --head" in calls
    assert "--nodes=2 --ntasks=2 --ntasks-per-node=1 --exclude=one bash -c start_ray --address=" in calls
    assert calls.splitlines()[-1].endswith("rm -rf /tmp/sweeper-123")


def test_before_its_time_is_over_the_command_hands_over(environment: dict[str, str], tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    with subprocess.Popen(["bash", str(JOB), "launch", "--grid", "demo"], env=environment) as job:
        deadline = time.monotonic() + 120
        while "sweeper launch" not in calls.read_text():
            assert time.monotonic() < deadline
            assert job.poll() is None
            time.sleep(0.05)
        while job.poll() is None:  # the first may come before the job knows whom to tell
            assert time.monotonic() < deadline
            job.send_signal(signal.SIGUSR2)
            time.sleep(0.2)
    assert job.returncode == 7
    assert calls.read_text().count("handed over") == 1


def test_slurm_is_asked_for_that_signal() -> None:
    options = re.findall(r"^#SBATCH (\S+)$", JOB.read_text(), re.MULTILINE)
    assert "--signal=B:USR2@300" in options
    assert "--ntasks-per-node=1" in options
