"""The Ray cluster that trials run on: connect to it or start it, and count its slots.

Imported before Ray is, since Ray reads its settings from the environment when it is imported.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

import psutil
import tenacity

from sweeper.errors import RayUnavailableError
from sweeper.grids.schema import ResourcesTable
from sweeper.run.devices import Devices
from sweeper.run.gpu_types import Resources, by_type, listed_types, type_of

# Ray reads these when it is imported; what the user has set wins. A local Ray is guarded by a token of its own, since
# it listens on an address that other users of this machine, or of its network, can reach.
if not os.environ.get("RAY_ADDRESS"):
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
for _name, _value in {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray._private import parameter, services, utils  # noqa: E402
from ray._private.accelerators import NvidiaGPUAcceleratorManager  # noqa: E402

OBJECT_STORE_BYTES = 128 * 2**20
"""Only results of some kilobytes pass through Ray; its default of 30% of the memory would be a waste."""


_FOLDER = "sweeper-ray-"
_YOUNG_SECONDS = 60.0


@contextmanager
def ray_cluster(address: str) -> Iterator[None]:
    """Connects to the Ray cluster at `address`, or starts one on this machine when it is empty.

    A local cluster is guarded by a random token, has no dashboard, and ends with the context. Its folder is one that no
    other user can enter, and is removed at the end. Its processes are a session of their own: a signal to the process
    group of the coordinator does not reach them.

    Raises:
        RayUnavailableError: no answer from the address, or the local Ray cannot start.
    """
    options: dict[str, object] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        options["address"] = address
    else:
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    with nullcontext() if address else private_folder() as folder, _undisturbed():
        if folder is not None:
            options["_temp_dir"] = str(folder)
        with _connected(options, address):
            yield


@contextmanager
def _connected(options: Mapping[str, object], address: str) -> Iterator[None]:
    try:
        _start(options)
    except Exception as error:  # Ray raises a bare Exception where its processes start too slowly
        _end_half_started(options)
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        where = f"no Ray cluster answers at RAY_ADDRESS={address}" if address else "the local Ray cannot start"
        raise RayUnavailableError(f"{where} ({first}); see `sweeper doctor`") from error
    try:
        yield
    finally:
        ray.shutdown()


def _end_half_started(options: Mapping[str, object]) -> None:
    """Ray forgets the processes that it has started once another one of them is late."""
    ray.shutdown()
    if folder := options.get("_temp_dir"):
        end_processes(Path(str(folder)))


@tenacity.retry(
    # Ray waits 30 s for its processes, which is too short on a machine that is busy and has read nothing of Ray yet.
    retry=tenacity.retry_if_exception_message(match=".*timed out during startup"),
    stop=tenacity.stop_after_attempt(3),
    before_sleep=lambda state: _end_half_started(state.args[0]),
    reraise=True,
)
def _start(options: Mapping[str, object]) -> None:
    ray.init(**options)
    if threading.current_thread() is threading.main_thread():
        # Ray's core puts its own in their place, which abort this process three seconds after a SIGTERM.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, signal.getsignal(number))


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that this user alone can enter, until the end of the block. Those of killed processes are removed.

    Ray makes its own folder and all in it writable for everybody. It is therefore inside of one that is not. The path
    is short, since a socket's name has at most 107 characters.
    """
    root = Path(os.environ.get("RAY_TMPDIR") or "/tmp")  # noqa: S108 (made by mkdtemp)
    for left in root.glob(f"{_FOLDER}*"):
        _remove_unused(left)
    outer = Path(tempfile.mkdtemp(prefix=_FOLDER, dir=root))
    lock = os.open(outer, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield outer / "r"
    finally:
        os.close(lock)
        shutil.rmtree(outer, ignore_errors=True)


def end_processes(folder: Path) -> None:
    """Kills what still runs with this private folder among its arguments: what a Ray has left that could not start."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and any(str(folder) in part for part in process.cmdline()):
                process.kill()


def _remove_unused(folder: Path) -> None:
    """Removes a folder of this user that nobody holds, and that was not made just now."""
    try:
        found = folder.lstat()
        if (
            found.st_uid != os.getuid()
            or not stat.S_ISDIR(found.st_mode)
            or time.time() - found.st_mtime < _YOUNG_SECONDS
        ):
            return
        lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        pass  # its process lives
    finally:
        os.close(lock)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What Ray starts in the block is a session of its own, and Ray leaves SIGTERM to us, where it would end this
    process at once. A local cluster does without two processes: one that would add machines, and one that would print
    the workers' output here. Ray has no settings for these."""
    popen, handle, params = services.ConsolePopen, utils.set_sigterm_handler, parameter.RayParams
    services.ConsolePopen = partial(popen, start_new_session=True)
    utils.set_sigterm_handler = lambda handler: None
    parameter.RayParams = partial(params, no_monitor=True, include_log_monitor=False)
    try:
        yield
    finally:
        services.ConsolePopen, utils.set_sigterm_handler, parameter.RayParams = popen, handle, params


def nodes() -> list[dict[str, float]]:
    """What each node of the connected cluster has that is alive, by Ray's names."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def local_type() -> str | None:
    """The type of this machine's GPU, as a Ray that is started here calls it."""
    found: str | None = NvidiaGPUAcceleratorManager.get_current_node_accelerator_type()
    return found


def resources_of(table: ResourcesTable) -> Resources:
    """What a trial takes on the connected cluster, by Ray's names."""
    return Devices(nodes()).wanted(table)


def slots(resources: Resources) -> int:
    """How many trials of the given resources the machines of the connected cluster run at once.

    Raises:
        RayUnavailableError: not a single one.
    """
    living = nodes()
    fits = Devices(living).room_for(resources)
    wanted = type_of(resources)
    if fits < 1 and wanted is not None and wanted not in by_type(living):
        raise RayUnavailableError(
            f"[resources] gpu_type = {wanted!r}: the cluster has {listed_types(by_type(living))}; "
            "name one of them, or leave gpu_type out"
        )
    if fits < 1:
        of = "" if wanted is None else f" of its machines with {wanted}"
        those = Devices([node for node in living if wanted in (None, type_of(node))])
        raise RayUnavailableError(
            f"a trial needs {resources['CPU']:g} CPUs and {resources['GPU']:g} GPUs on one machine, the cluster has "
            f"{those.cpus:g} and {those.gpus:g} in all{of}; lower [resources] in the grid"
        )
    return fits
