"""Whether the servers that settings name are reachable: known in seconds, and before anything is written."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from urllib.parse import urlsplit

from sweeper.errors import RayUnavailableError, SettingsError
from sweeper.settings import Settings
from trials.addresses import hide_password, unencoded

CONNECT_SECONDS = 3.0
RAY_SECONDS = 30.0
"""Of them Ray takes five to import itself, three times as many on a machine that is busy."""

AUTO, LOCAL = "auto", "local"
"""Addresses that Ray itself resolves."""

NO_RAY = "Could not find any running Ray"
"""What Ray says of `AUTO` on a machine where none runs."""

_WEB_PORTS = {"http": 80, "https": 443}


def check_services(settings: Settings) -> None:
    """Makes sure that Ray and MLflow are reachable at their addresses.

    Raises:
        RayUnavailableError: Ray is not, or it refuses our token.
        SettingsError: MLflow is not.
    """
    check_ray(settings)
    if (fault := mlflow_fault(settings)) is not None:
        raise SettingsError(f"{fault}; start it, or unset MLFLOW_TRACKING_URI for a store in SWEEPER_HOME")


def check_ray(settings: Settings) -> None:
    """The same for Ray alone."""
    if (fault := ray_fault(settings)) is not None:
        raise RayUnavailableError(f"{fault}; or unset RAY_ADDRESS to run on this machine")


def ray_fault(settings: Settings) -> str | None:
    """Why Ray is unreachable at RAY_ADDRESS; None if it is reachable, or local."""
    address = settings.ray_address
    if not address or address == LOCAL:
        return None
    shown = f"RAY_ADDRESS={hide_password(address)}"
    if address != AUTO:
        host, port = _host_and_port(address if "//" in address else f"//{address}")
        if not host or port is None or ("//" in address and urlsplit(address).scheme != "ray"):
            return f"{shown} is not an address; set HOST:PORT or ray://HOST:PORT"
        refusal = _refusal(host, port) or ("" if _speaks_grpc(host, port) else "what listens there is something else")
        if refusal:
            return f"no Ray answers at {shown} ({refusal}); start it"
        if "//" in address:
            return None
    words = _health(address)
    if "InvalidAuthToken" in words:
        return (
            f"the Ray cluster at {shown} refuses the token of this command; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN "
            "(or RAY_AUTH_TOKEN_PATH) as its nodes have them"
        )
    if NO_RAY in words:
        return f"{shown}, but no Ray runs on this machine; start one with `ray start --head`, or set HOST:PORT"
    return f"no Ray answers at {shown} ({words}); start it" if words else None


def _speaks_grpc(host: str, port: int) -> bool:
    """Whether a server speaks Ray's protocol. Ray itself would try for half a minute, with warnings of its own."""
    if os.environ.get("RAY_USE_TLS", "0") != "0":
        return True  # that would need its certificates
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import grpc

    with grpc.insecure_channel(f"[{host}]:{port}" if ":" in host else f"{host}:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
        except grpc.FutureTimeoutError:
            return False
    return True


def _health(address: str) -> str:
    """What Ray complains of at an address; empty if it is well, or takes too long to say, as on a busy machine."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    environment = {**os.environ, "RAY_py_gcs_connect_timeout_s": "3"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=RAY_SECONDS, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        return NO_RAY if address == AUTO and not _runs_here() else ""
    if not done.returncode:
        return ""
    known = ("InvalidAuthToken", NO_RAY)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return next((one for one in known if one in done.stderr), lines[-1] if lines else "it is not well")


def _runs_here() -> bool:
    """Whether this machine has a Ray, by its processes: what `AUTO` looks for."""
    from ray._private.services import find_gcs_addresses

    return bool(find_gcs_addresses())


def mlflow_fault(settings: Settings) -> str | None:
    """Why MLflow is unreachable at MLFLOW_TRACKING_URI; None if it is reachable, or a local store."""
    uri = settings.mlflow
    scheme = urlsplit(uri).scheme
    if scheme not in _WEB_PORTS:
        return None
    host, port = _host_and_port(uri)
    if not host or unencoded(uri):
        fix = unencoded(uri) or f"expected {scheme}://HOST:PORT"
        return f"MLFLOW_TRACKING_URI={hide_password(uri)} is not an address; {fix}"
    refusal = _refusal(host, port or _WEB_PORTS[scheme])
    return None if refusal is None else f"no MLflow answers at MLFLOW_TRACKING_URI={hide_password(uri)} ({refusal})"


def _host_and_port(address: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(address)
        return parts.hostname or "", parts.port
    except ValueError:
        return "", None


def _refusal(host: str, port: int) -> str | None:
    """Why no connection can be made, as the system says it."""
    try:
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS):
            return None
    except OSError as error:
        return error.strerror or str(error)
