"""This machine as a place for verbs: its settings, its database, and where coordinators are started for others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from storage.errors import UnknownSweepError
from storage.repository import Repository
from sweeper.errors import ServerError, StartingError
from sweeper.settings import Settings
from sweeper.verbs.declaration import Verb
from sweeper.verbs.requests import PlanRequest
from sweeper.views.objects import PlanObject
from trials.places import below

P = ParamSpec("P")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a coordinator: it makes the sweep by its grid (None: the sweep exists), and runs it until a time.

    `grid` is a checked grid as a plain table; `failure` the last words of a start that failed, None until then; `at`
    seconds since the epoch.
    """

    sweep: str
    at: float
    grid: Mapping[str, object] | None = None
    extend: bool = False
    limit: int | None = None
    until: float | None = None
    failure: str | None = None


class Starts(Protocol):
    """The starts of coordinators that the database does not know yet."""

    def start(self, start: Start) -> None:
        """Starts, and returns at once.

        Raises:
            StartingError: the sweep is already being started.
        """

    def of(self, sweep: str) -> Start | None:
        """The sweep's start that is in progress or has failed; None for none, or one that succeeded."""

    def in_progress(self, sweep: str) -> bool:
        """Whether the sweep is being started now."""

    def all(self) -> list[Start]:
        """Every start that is in progress or has failed, newest first."""

    def log(self, sweep: str) -> Path:
        """What starts of the sweep print."""


class Planners(Protocol):
    """Makes plans of grids that others sent, apart from this process."""

    def planned(self, asked: PlanRequest) -> PlanObject:
        """The plan.

        Raises:
            BusyError: as many plans are being made as there may be at once.
            ExpectedError: what is wrong with the grid, or that the plan takes too long or too much memory.
        """


class Host:
    """A place with the database at hand.

    Args:
        settings: where things are.
        repository: the database.
        starts: of coordinators. Only a service has them; the commands start coordinators themselves.
        planners: of a service; None makes plans in this process.
    """

    def __init__(
        self,
        settings: Settings,
        repository: Repository,
        starts: Starts | None = None,
        planners: Planners | None = None,
    ) -> None:
        self.settings, self.repository, self.planners = settings, repository, planners
        self.starts: Starts = starts or _NoStarts(settings)

    def name(self, sweep: str | None) -> str:
        if sweep is not None:
            return self.repository.sweep(sweep).name
        found = self.repository.sweeps()
        if not found:
            raise UnknownSweepError(
                f"no sweep was launched yet in {self.settings.home}; try: sweeper launch --grid demo"
            )
        return max(found, key=lambda s: s.created_at).name

    def settled(self, sweep: str) -> str:
        """The name of a stored sweep that is not being started at the moment.

        Raises:
            UnknownSweepError: there is none.
            StartingError: it is being started.
        """
        if self.starts.in_progress(sweep):
            raise StartingError(f"{sweep} is being started; ask again when it runs (sweeper status {sweep})")
        return self.name(sweep)

    def ask(self, verb: Verb[P, Answer], *args: P.args, **kwargs: P.kwargs) -> Answer:
        return verb.handler(self, *args, **kwargs)


class _NoStarts:
    """Of a host that is no service."""

    def __init__(self, settings: Settings) -> None:
        self._logs = settings.logs

    def start(self, start: Start) -> None:
        raise ServerError(f"only a service starts a coordinator for others; run it here: sweeper resume {start.sweep}")

    def of(self, sweep: str) -> Start | None:
        return None

    def in_progress(self, sweep: str) -> bool:
        return False

    def all(self) -> list[Start]:
        return []

    def log(self, sweep: str) -> Path:
        return below(self._logs, f"{sweep}.start.log")
