"""What the machine is doing while a trial trains: processor, memory and, where there is one, the GPU.

The names are those of MLflow's own system metrics, so that its UI shows them on the "System metrics" tab. They are read
once an epoch and go through the spool. MLflow's own sampling thread would need MLflow in the training process.
"""

from __future__ import annotations

import importlib
from typing import Any

import psutil

_MIB = 1024 * 1024


class Gauges:
    """Reads the machine's gauges. The processor's share is that since the last reading."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._nvml, self._devices = _open_nvml()
        psutil.cpu_percent()
        self._process.cpu_percent()

    def read(self) -> dict[str, float]:
        """Percentages from 0 to 100 (the process's own processor share may exceed it with several cores), MiB."""
        memory = psutil.virtual_memory()
        values = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / _MIB,
            "system/system_memory_usage_percentage": memory.percent,
            "system/process_cpu_percentage": self._process.cpu_percent(),
            "system/process_memory_megabytes": self._process.memory_info().rss / _MIB,
        }
        for index, device in enumerate(self._devices):
            try:
                used = self._nvml.nvmlDeviceGetMemoryInfo(device).used
                share = self._nvml.nvmlDeviceGetUtilizationRates(device).gpu
            except self._nvml.NVMLError:  # a lost device stops no training
                continue
            values[f"system/gpu_{index}_memory_usage_megabytes"] = used / _MIB
            values[f"system/gpu_{index}_utilization_percentage"] = float(share)
        return values


def _open_nvml() -> tuple[Any, list[Any]]:
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None, []
    try:
        nvml.nvmlInit()
        return nvml, [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError:
        return None, []
