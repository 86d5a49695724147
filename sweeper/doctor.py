"""What this machine has, what is missing, and how to get it. Changes nothing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import psutil

from storage.database import open_database
from storage.errors import StorageError
from sweeper.errors import SettingsError
from sweeper.settings import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `bad` keeps trials from running, `note` does not."""

    state: Literal["ok", "note", "bad"]
    what: str
    mend: str = ""

    def line(self) -> str:
        mark = {"ok": "ok  ", "note": "note", "bad": "BAD "}[self.state]
        return f"{mark}  {self.what}" + (f"\n      → {self.mend}" if self.mend else "")


def examine(settings: Settings) -> list[Finding]:
    """All findings, in the order in which one would mend them."""
    return [
        *_machine(),
        *_tensorflow(),
        *_home(settings),
        *_services(settings),
        *_data(settings),
    ]


def _machine() -> Iterator[Finding]:
    version = platform.python_version()
    yield Finding("ok", f"Python {version}")
    cores, memory = len(os.sched_getaffinity(0)), psutil.virtual_memory().total / 2**30
    small = memory < 4
    yield Finding(
        "note" if small else "ok",
        f"{cores} cores, {memory:.0f} GiB of memory",
        "a trial in training takes 1 to 4 GiB on the CPU; run fewer at once with [resources] cpus" if small else "",
    )


def _tensorflow() -> Iterator[Finding]:
    if importlib.util.find_spec("tensorflow") is None:
        yield Finding("bad", "TensorFlow is not installed", "pip install 'sweeper[cpu]' or, with a GPU, 'sweeper[gpu]'")
        return
    program = (
        "import tensorflow as tf; "
        "print(tf.__version__, [d.name for d in tf.config.list_physical_devices('GPU')], tf.test.is_built_with_cuda())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        yield Finding("bad", f"TensorFlow cannot be imported: {last}", "install it anew: make install")
        return
    words = done.stdout.strip()
    yield Finding("ok", f"TensorFlow {words.split()[0]}")
    if "GPU" in words.split(" ", 1)[1]:
        yield Finding("ok", f"GPUs that TensorFlow sees: {words.split('[', 1)[1].split(']')[0]}")
    elif shutil.which("nvidia-smi"):
        yield Finding("bad", "there is an NVIDIA driver, but TensorFlow sees no GPU", "pip install 'sweeper[gpu]'")
    else:
        yield Finding("note", "no GPU: trials run on the CPU", "the demo needs none; the paper's grid would take weeks")


def _home(settings: Settings) -> Iterator[Finding]:
    try:
        settings.make_home()
    except SettingsError as error:
        yield Finding("bad", str(error))
        return
    free = shutil.disk_usage(settings.home).free / 1e9
    yield Finding(
        "ok" if free > 5 else "note",
        f"SWEEPER_HOME {settings.home}, {free:.0f} GB free",
        "" if free > 5 else "the paper's grid needs some 30 GB; set SWEEPER_HOME to a larger disk",
    )
    try:
        with open_database(settings.database) as database:
            yield Finding("ok", f"database {database.url}")
    except StorageError as error:
        yield Finding("bad", str(error))


def _services(settings: Settings) -> Iterator[Finding]:
    if settings.mlflow.startswith("http"):
        yield _port("MLflow", settings.mlflow, "MLFLOW_TRACKING_URI")
    else:
        yield Finding("ok", "MLflow: embedded store")
    if settings.ray_address:
        yield _port("Ray", settings.ray_address, "RAY_ADDRESS")
    else:
        yield Finding("ok", "Ray: started on this machine for each run")


def _port(what: str, address: str, variable: str) -> Finding:
    parts = urlsplit(address if "//" in address else f"//{address}")
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=3):
            return Finding("ok", f"{what} answers at {parts.hostname}:{parts.port or 80}")
    except (OSError, ValueError) as error:
        return Finding(
            "bad", f"{what} does not answer at {variable}={address} ({error})", "start it, or unset the variable"
        )


def _data(settings: Settings) -> Iterator[Finding]:
    from sweeper.data import locate
    from sweeper.grids import load_grid
    from workers.errors import DataError

    for dataset in (*load_grid("demo").datasets, *load_grid("paper").datasets):
        try:
            yield Finding("ok", f"data set {dataset.name}: {locate(dataset, settings)}")
        except DataError:
            yield Finding(
                "note", f"data set {dataset.name}: not in {settings.data_root}", "sweeper data list says where it is"
            )
