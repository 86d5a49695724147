"""What can be asked of sweeps, wherever they are: `LocalSweeps` by the database, `sweeper.server.client` by a service.

The commands use either, and print the same; the service is the HTTP face of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from storage.errors import LeaseHeldError, UnknownSweepError
from storage.repository import Repository
from sweeper.errors import GridError, MissingFileError
from sweeper.run.lease import LeaseKeeper, require_running, running
from sweeper.settings import Settings
from sweeper.views.result_tables import results_object, results_parquet
from sweeper.views.status import status_object, trial_object
from trials.states import TrialState

Table = Literal["scores", "trials"]
"""The two tables of results."""


class Sweeps(Protocol):
    """The verbs. Objects are JSON values; a line is for a person.

    Raises, each where it fits:
        UnknownSweepError, UnknownTrialError: there is none of that name or hash.
        ServerError: the service can't be reached, or refused.
    """

    def name(self, sweep: str | None) -> str:
        """The name of a sweep; of the newest for None."""

    def list(self) -> list[dict[str, Any]]:
        """Every sweep, newest first: name, state, counts."""

    def status(self, sweep: str, *, brief: bool = False) -> dict[str, Any]:
        """`sweeper.views.status.status_object`."""

    def stop(self, sweep: str, *, now: bool) -> str:
        """Asks the coordinator to stop; a line that says so."""

    def scale(self, sweep: str, concurrency: int) -> str:
        """Asks the coordinator for at most so many trials at once; a line that says so.

        Raises:
            NotRunningError: nobody is running the sweep.
        """

    def trial(self, prefix: str) -> dict[str, Any]:
        """`sweeper.views.status.trial_object`."""

    def log(self, prefix: str) -> str:
        """What the trial's training process wrote.

        Raises:
            MissingFileError: nothing of it is on that machine.
        """

    def results(self, sweep: str) -> dict[str, Any]:
        """`sweeper.views.result_tables.results_object`."""

    def results_parquet(self, sweep: str, table: Table) -> bytes:
        """One table of the results as a Parquet file."""


class LocalSweeps:
    """The verbs by this machine's settings and database."""

    def __init__(self, settings: Settings, repository: Repository) -> None:
        self.settings, self.repository = settings, repository

    def name(self, sweep: str | None) -> str:
        if sweep is not None:
            return self.repository.sweep(sweep).name
        sweeps = self.repository.sweeps()
        if not sweeps:
            raise UnknownSweepError(
                f"no sweep was launched yet in {self.settings.home}; try: sweeper launch --grid demo"
            )
        return max(sweeps, key=lambda s: s.created_at).name

    def list(self) -> list[dict[str, Any]]:
        return [
            {
                "sweep": sweep.name,
                "state": sweep.state.value,
                "reason": sweep.reason,
                "rehearsal": sweep.rehearsal,
                "counts": {state.value: n for state, n in self.repository.counts(sweep.name).items()},
                "created_at": sweep.created_at,
                "finished_at": sweep.finished_at,
            }
            for sweep in sorted(self.repository.sweeps(), key=lambda s: s.created_at, reverse=True)
        ]

    def status(self, sweep: str, *, brief: bool = False) -> dict[str, Any]:
        return status_object(self.repository, sweep, brief=brief)

    def stop(self, sweep: str, *, now: bool) -> str:
        if not running(self.repository, sweep):
            return f"{sweep} is not running; go on with: sweeper resume {sweep}"
        self.repository.add_request(sweep, "stop", {"now": now})
        return f"asked the coordinator of {sweep} to stop; see: sweeper status {sweep}"

    def scale(self, sweep: str, concurrency: int) -> str:
        require_running(self.repository, sweep)
        self.repository.add_request(sweep, "scale", {"concurrency": concurrency})
        return f"asked the coordinator of {sweep} for at most {concurrency} at once"

    def queue_again(self, sweep: str, trials: Sequence[str], *, failed: bool) -> tuple[str, bool]:
        """Queues trials again, by the first digits of their hashes or all that have failed.

        Returns:
            A line that says so, and whether there is something to run: a running coordinator does it by itself.

        Raises:
            GridError: no trial is named.
        """
        if not failed and not trials:
            raise GridError("say which trials: --failed, or --trial HASH")
        hashes = [self.repository.trial(prefix, sweep).hash for prefix in trials]
        if failed:
            hashes += [t.hash for t in self.repository.trials(sweep) if t.state is TrialState.FAILED]
        if not hashes:
            return f"no trial of {sweep} has failed", False
        hashes = list(dict.fromkeys(hashes))
        try:
            with LeaseKeeper(self.repository, sweep, self.settings.lease_seconds, running=False) as keeper:
                queued = keeper.write(self.repository.retry, hashes)
        except LeaseHeldError:
            self.repository.add_request(sweep, "retry", {"trials": hashes})
            return f"asked the coordinator of {sweep} to queue {len(hashes)} trials again", False
        return f"{len(queued)} trials of {sweep} are queued again", bool(queued)

    def trial(self, prefix: str) -> dict[str, Any]:
        return trial_object(self.repository, prefix)

    def log(self, prefix: str) -> str:
        path = self.settings.logs / f"{self.repository.trial(prefix).hash}.log"
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError as error:
            raise MissingFileError(f"no log of this trial on this machine ({path})") from error

    def results(self, sweep: str) -> dict[str, Any]:
        return results_object(self.repository, sweep)

    def results_parquet(self, sweep: str, table: Table) -> bytes:
        return results_parquet(self.repository, sweep, table)
