"""What this machine has, what is missing, and how to get it. Changes nothing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import psutil

from storage.database import open_database, schema_version
from storage.errors import StorageError
from sweeper.data.preparation import locate
from sweeper.errors import SettingsError
from sweeper.grids.files import load_grid
from sweeper.services import mlflow_fault, ray_fault
from sweeper.settings import Settings, existing_part
from trials.addresses import hide_password
from workers.errors import DataError

ENOUGH_DISK_GB = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `bad` keeps trials from running, `note` does not."""

    state: Literal["ok", "note", "bad"]
    what: str
    fix: str = ""

    def line(self) -> str:
        mark = {"ok": "ok  ", "note": "note", "bad": "BAD "}[self.state]
        return f"{mark}  {self.what}" + (f"\n      → {self.fix}" if self.fix else "")


def examine(settings: Settings) -> list[Finding]:
    """All findings, in the order in which one would fix them."""
    with ThreadPoolExecutor(2) as aside:  # each waits for processes or servers
        tensorflow = aside.submit(lambda: list(_tensorflow()))
        services = aside.submit(lambda: list(_services(settings)))
        return [*_machine(), *tensorflow.result(), *_home(settings), *services.result(), *_data(settings)]


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
        yield Finding("bad", f"TensorFlow cannot be imported: {last}", "install it again: make install")
        return
    words = done.stdout.strip()
    yield Finding("ok", f"TensorFlow {words.split()[0]}")
    if "GPU" in words.split(" ", 1)[1]:
        yield Finding("ok", f"GPUs that TensorFlow sees: {words.split('[', 1)[1].split(']')[0]}")
    elif shutil.which("nvidia-smi"):
        yield Finding("bad", "an NVIDIA driver is installed, but TensorFlow sees no GPU", "pip install 'sweeper[gpu]'")
    else:
        yield Finding("note", "no GPU: trials run on the CPU", "the demo needs none; the paper's grid would take weeks")


def _home(settings: Settings) -> Iterator[Finding]:
    try:
        settings.check_home()
    except SettingsError as error:
        yield Finding("bad", str(error))
    else:
        free = shutil.disk_usage(existing_part(settings.home)).free / 1e9
        there = "" if settings.home.exists() else " (the first launch makes it)"
        yield Finding(
            "ok" if free > ENOUGH_DISK_GB else "note",
            f"SWEEPER_HOME {settings.home}{there}, {free:.0f} GB free",
            ""
            if free > ENOUGH_DISK_GB
            else "set SWEEPER_HOME to a folder on a larger disk; `sweeper plan` says what a grid needs",
        )
    file = settings.database_file
    if file is not None and not file.exists():
        yield Finding("ok", f"database {file}: the first launch makes it")
        return
    try:
        version = schema_version(settings.database)
        if version is None:
            yield Finding("ok", "database: reachable; the first launch makes its tables")
            return
        with open_database(settings.database, create=False) as database:
            yield Finding("ok", f"database {database.url}")
    except StorageError as error:
        yield Finding("bad", str(error))


def _services(settings: Settings) -> Iterator[Finding]:
    fault = mlflow_fault(settings)
    if fault is not None:
        yield Finding("bad", fault, "start it, or unset MLFLOW_TRACKING_URI")
    else:
        named = f"MLflow {hide_password(settings.mlflow_uri)}"
        yield Finding(
            "ok",
            named if settings.mlflow_uri else "MLflow: a store in SWEEPER_HOME",
        )
    fault = ray_fault(settings)
    if fault is not None:
        yield Finding("bad", fault, "or unset RAY_ADDRESS to run on this machine")
    else:
        address = settings.ray_address
        yield Finding("ok", f"Ray {address}" if address else "Ray: started on this machine for each run")


def _data(settings: Settings) -> Iterator[Finding]:
    missing = []
    for dataset in (*load_grid("demo").datasets, *load_grid("paper").datasets):
        try:
            yield Finding("ok", f"data set {dataset.name}: {locate(dataset, settings)}")
        except DataError:
            missing.append(dataset.name)
        except SettingsError as error:
            yield Finding("bad", str(error))
            return
    if missing:
        yield Finding(
            "note",
            f"data sets missing in {settings.data_root}: {', '.join(missing)}",
            "`sweeper data list` says how to get each; the demo needs none of them",
        )
