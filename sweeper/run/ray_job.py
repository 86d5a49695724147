"""A coordinator as a job of a Ray cluster: it runs on the cluster's head node, and does not need this machine.

Ray shows everything about a job in its dashboard, its API and its logs, also the variables of its environment. What the
coordinator needs of this environment (SWEEPER_*, MLFLOW_*) can contain passwords. It is therefore passed in a file in
SWEEPER_HOME, which only its owner can read and which the job removes after reading it. As for every trial in a cluster,
SWEEPER_HOME is a folder that all nodes share, and the cluster's user is the one who launches.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import socket
import sys
from pathlib import Path
from uuid import uuid4

from storage.repository import Repository
from sweeper.errors import RayUnavailableError
from sweeper.run.background import wait_until_held
from sweeper.run.deadline import as_option
from sweeper.run.lease import refuse_running
from sweeper.settings import Settings
from trials.addresses import hide_password

PREFIXES = ("SWEEPER_", "MLFLOW_")


def start_job(
    settings: Settings,
    repository: Repository,
    sweep: str,
    limit: int | None = None,
    until: float | None = None,
) -> str:
    """Submits `sweeper resume SWEEP` to the cluster at RAY_ADDRESS, and waits until it holds the sweep.

    Returns:
        The job's id.

    Raises:
        LeaseHeldError: another coordinator is running the sweep.
        RayUnavailableError: RAY_ADDRESS takes no jobs.
        DetachError: the job ended before it held the sweep; the message has its last output.
    """
    from ray.exceptions import RayError
    from ray.job_submission import JobStatus, JobSubmissionClient

    refuse_running(repository, sweep)
    logging.getLogger("ray.dashboard.modules").setLevel(logging.ERROR)
    job = f"sweeper-{sweep}-{uuid4().hex[:8]}"
    file = write_environment(settings, job)
    limited = [*([] if limit is None else ["--limit", str(limit)]), *(as_option(until) if until else ())]
    command = [sys.executable, "-m", "sweeper.run.ray_job", str(file), "resume", sweep, *limited]
    try:
        client = JobSubmissionClient(settings.ray_address)
        client.submit_job(entrypoint=shlex.join(command), submission_id=job, metadata={"sweep": sweep})

        def ended() -> str | None:
            status = client.get_job_status(job)
            if not status.is_terminal():
                return None
            return "" if status == JobStatus.SUCCEEDED else _last_output(client.get_job_logs(job)) or str(status)

        wait_until_held(repository, sweep, ended)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise RayUnavailableError(
            f"the Ray cluster at RAY_ADDRESS={hide_password(settings.ray_address)} takes no jobs "
            f"({_first_line(error)}); start its head with a job server (`ray start --head --include-dashboard=true`), "
            "or run without --detach"
        ) from error
    finally:
        file.unlink(missing_ok=True)
    return job


def in_cluster(settings: Settings) -> bool:
    """Whether RAY_ADDRESS names a cluster that outlives this command."""
    return settings.ray_address not in ("", "local")


def main() -> None:
    """The job itself: `python -m sweeper.run.ray_job FILE COMMAND …` runs it with the environment in the file."""
    path = Path(sys.argv[1])
    try:
        environment = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
    except OSError as error:
        sys.exit(
            f"sweeper: {path} cannot be read on {socket.gethostname()} ({error.strerror}); SWEEPER_HOME must be a "
            "folder that all nodes share and that the cluster's user may read"
        )
    os.execve(  # noqa: S606
        sys.executable, [sys.executable, "-m", "sweeper", *sys.argv[2:]], {**os.environ, **environment}
    )


def write_environment(settings: Settings, job: str) -> Path:
    """Writes what the coordinator needs of this environment where only its owner may read it."""
    environment = {name: value for name, value in os.environ.items() if name.startswith(PREFIXES)}
    # Options win over the environment.
    environment |= {"SWEEPER_HOME": str(settings.home), "SWEEPER_NOTIFY": settings.notify}
    if settings.data is not None:
        environment["SWEEPER_DATA"] = str(settings.data)
    path = settings.home / f"{job}.environment.json"
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(json.dumps(environment), encoding="utf-8")
    return path


def _last_output(log: str) -> str:
    lines = [line for line in log.splitlines() if line.strip()]
    return "\n".join(lines[-20:])


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


if __name__ == "__main__":
    main()
