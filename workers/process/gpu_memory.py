"""How much of a GPU's memory a training process may take where several share it."""

from __future__ import annotations

import logging
import os
import subprocess

CONTEXT_MIB = 512
"""What CUDA and its libraries take of a GPU for each process, beside what TensorFlow is told to keep to."""

_log = logging.getLogger(__name__)


def memory_limit(share: float | None) -> int | None:
    """MiB that TensorFlow may take of the first GPU that this process sees; None: as much as it wants.

    The device itself is not touched: asking TensorFlow would start it, after which no limit can be set.

    Args:
        share: the share of the GPU in (0, 1) that the process was given; None, or 1: all of it.
    """
    if share is None or share >= 1:
        return None
    total = _total_mib(visible_devices().split(",")[0].strip())
    if total is None:
        return None
    whole = int(total * share)
    return max(whole - CONTEXT_MIB, whole // 2)


def visible_devices() -> str:
    """The GPUs that this process may use, as CUDA takes them: `0`, `GPU-5f3a…`; `-1` none, empty all."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


def _total_mib(device: str) -> int | None:
    """The memory of a GPU, from the driver; None, with a word in the log, where it does not tell."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    if device:
        command.append(f"--id={device}")
    try:
        text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        return int(text.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        _log.warning("the memory of GPU %s is not known (%s), so that no limit is set to it", device or "0", error)
        return None
