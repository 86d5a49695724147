"""Whether the servers that settings name are reachable: known in seconds, and before anything is written."""

from __future__ import annotations

import socket
import subprocess
import sys
from urllib.parse import urlsplit

from sweeper.errors import RayUnavailableError, SettingsError
from sweeper.settings import Settings
from trials.addresses import hide_password, unencoded

CONNECT_SECONDS = 3.0
RAY_SECONDS = 30.0

RAY_WORDS = ("auto", "local")
"""Addresses that Ray itself resolves."""

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
    if not address or address in RAY_WORDS:
        return None
    host, port = _host_and_port(address if "//" in address else f"//{address}")
    if not host or port is None:
        return f"RAY_ADDRESS={hide_password(address)} is not an address; set HOST:PORT or ray://HOST:PORT"
    if (refusal := _refusal(host, port)) is not None:
        return f"no Ray answers at RAY_ADDRESS={hide_password(address)} ({refusal}); start it"
    if "//" not in address and _wrong_token(address):
        return (
            f"the Ray cluster at RAY_ADDRESS={hide_password(address)} refuses the token of this command; set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) as its nodes have them"
        )
    return None


def _wrong_token(address: str) -> bool:
    """Whether a Ray cluster asks for another token. Ray itself would try for 20 s and report that nobody answers."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=RAY_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return "InvalidAuthToken" in done.stderr


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
