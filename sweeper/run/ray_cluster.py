"""The Ray cluster that trials run on: connect to it or start it, and count its slots.

Imported before Ray is, since Ray reads its settings from the environment when it is imported.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import tenacity

from sweeper.errors import RayUnavailableError
from sweeper.grids.schema import ResourcesTable

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

OBJECT_STORE_BYTES = 128 * 2**20
"""Only results of some kilobytes pass through Ray; its default of 30% of the memory would be a waste."""


@contextmanager
def ray_cluster(address: str) -> Iterator[None]:
    """Connects to the Ray cluster at `address`, or starts one on this machine when it is empty.

    A local cluster is guarded by a random token, has no dashboard, and ends with the context.

    Raises:
        RayUnavailableError: no answer from the address, or the local Ray cannot start.
    """
    options: dict[str, object] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        options["address"] = address
    else:
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        _start(options)
    except Exception as error:  # Ray raises a bare Exception where its processes start too slowly
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        where = f"no Ray cluster answers at RAY_ADDRESS={address}" if address else "the local Ray cannot start"
        raise RayUnavailableError(f"{where} ({first}); see `sweeper doctor`") from error
    try:
        yield
    finally:
        ray.shutdown()


@tenacity.retry(
    # Ray waits 30 s for its processes, which is too short on a machine that is busy and has read nothing of Ray yet.
    retry=tenacity.retry_if_exception_message(match=".*timed out during startup"),
    stop=tenacity.stop_after_attempt(3),
    before_sleep=lambda _: ray.shutdown(),
    reraise=True,
)
def _start(options: Mapping[str, object]) -> None:
    ray.init(**options)


def cluster_resources() -> dict[str, float]:
    """What the connected cluster has, by Ray's names."""
    return dict(ray.cluster_resources())


def resources_of(table: ResourcesTable) -> dict[str, float]:
    """What a trial takes, by Ray's names; by default a whole GPU where the connected cluster has any."""
    gpus = table.gpus
    if gpus is None:
        gpus = 1.0 if cluster_resources().get("GPU", 0) >= 1 else 0.0
    return {"CPU": table.cpus, "GPU": gpus}


def slots(resources: Mapping[str, float]) -> int:
    """How many trials of the given resources the connected cluster runs at once.

    Raises:
        RayUnavailableError: not a single one.
    """
    total = cluster_resources()
    fits = int(min(total.get(kind, 0) // amount for kind, amount in resources.items() if amount > 0))
    if fits < 1:
        raise RayUnavailableError(
            f"a trial needs {resources['CPU']:g} CPUs and {resources['GPU']:g} GPUs, the cluster has "
            f"{total.get('CPU', 0):g} and {total.get('GPU', 0):g}; lower [resources] in the grid"
        )
    return fits
