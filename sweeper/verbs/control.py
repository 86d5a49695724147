"""Verbs that change how a sweep runs: stop, scale, retry, resume."""

from __future__ import annotations

import time
from collections.abc import Sequence

from storage.errors import LeaseHeldError
from sweeper.errors import GridError
from sweeper.grids.plugged import refuse_inert
from sweeper.run.lease import LeaseKeeper, refuse_running, require_running, running
from sweeper.services import check_services
from sweeper.verbs.declaration import Role, verb
from sweeper.verbs.host import Host, Start
from sweeper.verbs.requests import ResumeRequest, RetryRequest, ScaleRequest, StopRequest, SweepName
from sweeper.views.objects import Reply
from trials.requests import Retry, Scale, Stop, to_stored
from trials.states import TrialState

BEING_STARTED = "{0} is being started; see: sweeper status {0}"


@verb("stop", "POST", "/sweeps/{sweep}/stop", Role.FULL, command="stop")
def stop(host: Host, sweep: SweepName, asked: StopRequest) -> Reply:
    """Asks a running sweep to stop; running trials finish first."""
    name = host.settled(sweep)
    if not running(host.repository, name):
        return Reply(sweep=name, message=f"{name} is not running; resume it with: sweeper resume {name}")
    host.repository.add_request(name, *to_stored(Stop(now=asked.now)))
    return Reply(sweep=name, message=f"asked the coordinator of {name} to stop; see: sweeper status {name}")


@verb("scale", "POST", "/sweeps/{sweep}/scale", Role.FULL, command="scale")
def scale(host: Host, sweep: SweepName, asked: ScaleRequest) -> Reply:
    """Changes how many trials a running sweep trains at once."""
    name = host.settled(sweep)
    require_running(host.repository, name)
    host.repository.add_request(name, *to_stored(Scale(asked.concurrency)))
    return Reply(sweep=name, message=f"asked the coordinator of {name} for at most {asked.concurrency} at once")


@verb("retry", "POST", "/sweeps/{sweep}/retry", Role.FULL, command="retry", status=202)
def retry(host: Host, sweep: SweepName, asked: RetryRequest) -> Reply:
    """Retries failed trials."""
    name = host.settled(sweep)
    check_services(host.settings)
    line, left = queue(host, name, asked.trials, failed=asked.failed)
    return Reply(sweep=name, message=f"{line}; {start(host, name)}" if left else line)


@verb("resume", "POST", "/sweeps/{sweep}/resume", Role.FULL, command="resume", status=202)
def resume(host: Host, sweep: SweepName, asked: ResumeRequest) -> Reply:
    """Resumes a stopped or killed sweep, from its checkpoints."""
    name = host.settled(sweep)
    return Reply(sweep=name, message=start(host, name, asked.limit, end_of(asked.hours)))


def end_of(hours: float | None) -> float | None:
    """When so many hours from now are over."""
    return None if hours is None else time.time() + 3600 * hours


def start(host: Host, sweep: str, limit: int | None = None, until: float | None = None) -> str:
    """Starts a coordinator of a stored sweep; a line that says so.

    Args:
        host: a service.
        sweep: its name.
        limit: at most so many trials are started, 0 for none.
        until: when it is to have ended, in seconds since 1970.

    Raises:
        LeaseHeldError: somebody runs the sweep.
        RayUnavailableError, ServerError: Ray or MLflow is unreachable.
        StartingError: the sweep is already being started.
        PluginError: the sweep was imported with code that may not run here.
    """
    refuse_running(host.repository, sweep)
    refuse_inert(host.repository.sweep(sweep))
    check_services(host.settings)
    host.starts.start(Start(sweep, time.time(), limit=limit, until=until))
    return BEING_STARTED.format(sweep)


def queue(host: Host, sweep: str, trials: Sequence[str], *, failed: bool) -> tuple[str, bool]:
    """Queues trials for a retry: those whose hashes start so, and all that have failed with `failed`.

    Returns:
        A line that says so, and whether there is something to run: a running coordinator does it by itself.

    Raises:
        GridError: no trial is named.
    """
    if not failed and not trials:
        raise GridError("say which trials: --failed, or --trial HASH")
    hashes = [host.repository.trial(prefix, sweep).hash for prefix in dict.fromkeys(trials)]
    if failed:
        hashes += [t.hash for t in host.repository.trials(sweep) if t.state is TrialState.FAILED]
    if not hashes:
        return f"no trial of {sweep} has failed", False
    hashes = list(dict.fromkeys(hashes))
    try:
        with LeaseKeeper(host.repository, sweep, host.settings.lease_seconds, running=False) as keeper:
            queued = keeper.write(host.repository.retry, hashes)
    except LeaseHeldError:
        host.repository.add_request(sweep, *to_stored(Retry(tuple(hashes))))
        return f"asked the coordinator of {sweep} to retry {len(hashes)} trials", False
    return f"{len(queued)} trials of {sweep} are queued for a retry", bool(queued)
