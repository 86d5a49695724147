"""How a training process is started."""

from __future__ import annotations

import subprocess
import sys

from trials.messages import Needs
from workers.process import one_request


def start(needs: Needs, *, session: bool = False) -> subprocess.Popen[str]:
    """Starts a training process with pipes for its messages and for what it prints.

    Args:
        needs: what it is started with.
        session: whether it is a session of its own, which no signal of a terminal reaches.
    """
    # Not from the current folder (-P), where another checkout may lie.
    command = [sys.executable, "-P", "-m", "workers.process.child", "--threads", str(needs.threads)]
    if needs.memory_share is not None:
        command += ["--memory-share", str(needs.memory_share)]
    if not needs.deterministic:
        command.append("--not-deterministic")
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=_environment(needs),
        start_new_session=session,
    )


def _environment(needs: Needs) -> dict[str, str]:
    environment = one_request.environment()
    # CUDA's own order is by speed, the driver's and Ray's by place: with GPUs of two kinds, number 0 would be two.
    environment.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if needs.devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = needs.devices
    environment.update(
        {
            "TF_CPP_MIN_LOG_LEVEL": environment.get("TF_CPP_MIN_LOG_LEVEL", "2"),
            "OMP_NUM_THREADS": str(needs.threads),
            # NumPy's small matrix products: its threads cost far more than they save.
            "OPENBLAS_NUM_THREADS": "1",
            "KERAS_BACKEND": "tensorflow",
        }
    )
    return environment
