"""What answers the API: the verbs by the database, with the starts that the database does not know of yet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from storage.errors import UnknownSweepError
from sweeper.errors import MissingFileError, StartingError
from sweeper.run.launch import check_name_and_space, check_services_and_data
from sweeper.run.lease import refuse_running
from sweeper.run.plan import make_plan
from sweeper.server.schemas import Launched, LaunchRequest, PlanRequest
from sweeper.server.starts import Start, Starts, now
from sweeper.server.submissions import submitted_grid
from sweeper.services import check_services
from sweeper.verbs import LocalSweeps
from trials.states import TrialState

LOG_BYTES = 64 << 10
"""So much of a log's end is shown."""

_BEING_STARTED = "{0} is being started; see: sweeper status {0}"


class Service:
    """The verbs of one service.

    Args:
        sweeps: those that the database knows.
        starts: of coordinators.
    """

    def __init__(self, sweeps: LocalSweeps, starts: Starts) -> None:
        self.sweeps, self.starts = sweeps, starts

    def list(self) -> list[dict[str, Any]]:
        """Every sweep, and before them those that are being started or could not be."""
        stored = self.sweeps.list()
        known = {one["sweep"] for one in stored}
        return [*(_not_stored(start) for start in self.starts.all() if start.sweep not in known), *stored]

    def status(self, sweep: str, *, brief: bool = False) -> dict[str, Any]:
        start = self.starts.of(sweep)
        try:
            status = self.sweeps.status(sweep, brief=brief)
        except UnknownSweepError:
            if start is None:
                raise
            return {**_not_stored(start), "lease": None, "failures": {}, "again": {}, "trials": []}
        lease = status["lease"]
        if start is not None and (lease is None or lease["expired"]):
            status["reason"] = _reason(start)
        return status

    def report(self, sweep: str) -> str:
        """The report as HTML.

        Raises:
            MissingFileError: it is not written yet, or elsewhere.
        """
        path = self.sweeps.settings.reports / self.sweeps.name(sweep) / "report.html"
        if not path.is_file():
            raise MissingFileError(
                f"no report of {sweep} is on the service's machine; its coordinator writes it at its end"
            )
        return path.read_text(encoding="utf-8")

    def log(self, sweep: str) -> str:
        """The ends of what the sweep's last start and its coordinator printed.

        Raises:
            MissingFileError: neither is on the service's machine.
        """
        files = [self.starts.log(sweep), self.sweeps.settings.logs / f"{sweep}.coordinator.log"]
        found = [_tail(path) for path in files if path.is_file()]
        if not found:
            raise MissingFileError(f"no log of {sweep} is on the service's machine")
        return "".join(found)

    def settled(self, sweep: str) -> str:
        """The name of a stored sweep that is not just being started.

        Raises:
            UnknownSweepError: there is none.
            StartingError: it is being started.
        """
        if self.starts.under_way(sweep):
            raise StartingError(f"{sweep} is being started; ask again when it runs (sweeper status {sweep})")
        return self.sweeps.name(sweep)

    def plan(self, asked: PlanRequest) -> dict[str, Any]:
        grid, differences = submitted_grid(asked, self.sweeps.settings)
        return {**make_plan(grid, self.sweeps.settings).to_dict(), "differences": differences}

    def launch(self, asked: LaunchRequest) -> Launched:
        """Checks a grid as `launch` does, and leaves the rest to a process of its own: preparing data takes minutes."""
        settings, repository = self.sweeps.settings, self.sweeps.repository
        grid, differences = submitted_grid(asked, settings)
        if self.starts.under_way(grid.name):
            raise StartingError(f"{grid.name} is being started already; see: sweeper status {grid.name}")
        check_services_and_data(grid, settings)
        if check_name_and_space(settings, repository, grid, extend=asked.extend):
            refuse_running(repository, grid.name)
        start = Start(grid.name, now(), grid.to_dict(), asked.extend, asked.limit)
        self.starts.begin(start)
        return Launched(sweep=grid.name, message=_BEING_STARTED.format(grid.name), differences=differences)

    def resume(self, sweep: str, limit: int | None = None) -> str:
        refuse_running(self.sweeps.repository, sweep)
        check_services(self.sweeps.settings)
        self.starts.begin(Start(sweep, now(), limit=limit))
        return _BEING_STARTED.format(sweep)

    def retry(self, sweep: str, trials: Sequence[str], *, failed: bool) -> str:
        check_services(self.sweeps.settings)
        line, open_ = self.sweeps.queue_again(sweep, trials, failed=failed)
        return f"{line}; {self.resume(sweep)}" if open_ else line


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - LOG_BYTES, 0))
        return file.read().decode("utf-8", "replace")


def _not_stored(start: Start) -> dict[str, Any]:
    return {
        "sweep": start.sweep,
        "state": "starting" if start.failure is None else "failed",
        "reason": _reason(start),
        "rehearsal": bool((start.grid or {}).get("rehearsal", False)),
        "counts": dict.fromkeys((state.value for state in TrialState), 0),
        "created_at": start.at,
        "finished_at": None,
    }


def _reason(start: Start) -> str:
    return "being started" if start.failure is None else f"could not be started: {start.failure}"
