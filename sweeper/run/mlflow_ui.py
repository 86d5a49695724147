"""MLflow's page on this machine, opened on a sweep's trials."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from sweeper.errors import ServerError, SettingsError
from sweeper.run.publishing import EXPERIMENT, provenance
from sweeper.session import Session
from trials.addresses import hide_password

HOST = "127.0.0.1"
LOG_FILE = "mlflow-ui.log"
START_SECONDS = 180.0
POLL_SECONDS = 0.2


def show(session: Session, sweep_name: str, port: int, say: Callable[[str], None]) -> None:
    """Starts MLflow's page on loopback and says where the sweep's trials are; returns when it has ended.

    With a server of MLflow nothing is started: the addresses are those of its page.

    Args:
        session: settings and the database.
        sweep_name: the sweep.
        port: to listen on; 0 takes a free one.
        say: gets the lines for a person.

    Raises:
        SettingsError: MLflow has nothing of the sweep, or the port is taken.
        ServerError: MLflow's server does not start.
        TrackingUnavailableError, TrackingInputError: the store cannot be used.
    """
    settings = session.settings
    at_server = settings.mlflow.startswith(("http://", "https://"))
    port = port if at_server else free_port(port)
    from workers.tracking import SweepTracker

    sweep = session.repository.sweep(sweep_name)
    tracker = SweepTracker(settings.mlflow, sweep.name, experiment=EXPERIMENT, artifact_root=settings.artifacts)
    datasets = Counter(trial.dataset for trial in session.repository.trials(sweep.name))
    if not tracker.look(datasets, provenance=provenance(sweep)):
        raise SettingsError(
            f"MLflow has nothing of sweep {sweep.name!r} yet; send it with: sweeper mlflow rebuild {sweep.name}"
        )

    def told(base: str) -> None:
        say(f"{sweep.name} in MLflow: {tracker.page(base)}")
        say(f"its answer, ranking and report: {tracker.run_page(base)}")

    if at_server:
        told(settings.mlflow_url or hide_password(settings.mlflow))
        return
    with _serving(settings.mlflow, port, settings.home) as process:
        told(f"http://{HOST}:{port}")
        say("Ctrl-C ends it")
        if process.wait():
            raise ServerError(_why("MLflow's page has ended", settings.home / LOG_FILE))


def free_port(port: int) -> int:
    """The port, or a free one where it is 0.

    Raises:
        SettingsError: it is in use, or not allowed.
    """
    try:
        with socket.create_server((HOST, port)) as taken:
            return int(taken.getsockname()[1])
    except OSError as error:
        raise SettingsError(
            f"MLflow's page cannot listen on {HOST}:{port} ({error.strerror}); choose another by --port, 0 for any"
        ) from error


@contextmanager
def _serving(store: str, port: int, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's server, once it answers; ended at the end, with the processes that it has started."""
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": store,  # not among the arguments, which every user of the machine can read
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes more, none of which has anything to do
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    log = home / LOG_FILE
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environment, cwd=home, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            _wait_until_it_answers(process, port, log)
            _ask_first(port)
            yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        signal.signal(signal.SIGTERM, before)


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with suppress(httpx.TransportError):
            if httpx.get(f"http://{HOST}:{port}/health", trust_env=False).status_code == httpx.codes.OK:
                return
        time.sleep(POLL_SECONDS)
    raise ServerError(_why("MLflow's page does not start", log))


def _ask_first(port: int) -> None:
    """Asks what the page will ask. The first answer of each kind takes MLflow up to half a second longer."""
    base = f"http://{HOST}:{port}"
    with suppress(httpx.HTTPError), httpx.Client(base_url=base, trust_env=False) as client:
        client.get("/ajax-api/3.0/mlflow/server-info")
        client.post("/graphql", json={"query": "{ __typename }"})
        client.post("/ajax-api/2.0/mlflow/runs/search", json={"experiment_ids": ["0"], "max_results": 1})


def _why(what: str, log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{what}: {lines[-1] if lines else 'it says nothing'} (all of it: {log})"
