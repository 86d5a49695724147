"""Verbs on a grid: plan it, launch it."""

from __future__ import annotations

import time

from sweeper.errors import StartingError
from sweeper.run.lease import refuse_running
from sweeper.settings import Settings
from sweeper.verbs.control import BEING_STARTED, end_of
from sweeper.verbs.declaration import Role, verb
from sweeper.verbs.host import Host, Start
from sweeper.verbs.requests import LaunchRequest, PlanRequest
from sweeper.verbs.submissions import submitted_grid
from sweeper.views.objects import Launched, PlanObject


@verb("plan", "POST", "/plan", Role.READ, command="plan")
def plan(host: Host, asked: PlanRequest) -> PlanObject:
    """A grid's trials, and what those left to run will cost. Writes nothing."""
    return planned_here(asked, host.settings) if host.planners is None else host.planners.planned(asked)


def planned_here(asked: PlanRequest, settings: Settings) -> PlanObject:
    """The plan, made in this process."""
    from sweeper.run.plan import make_plan

    grid, differences = submitted_grid(asked, settings)
    return make_plan(grid, settings).shown(differences)


@verb("launch", "POST", "/sweeps", Role.FULL, command="launch", status=202)
def launch(host: Host, asked: LaunchRequest) -> Launched:
    """Submits a grid. It is checked at once; its data are prepared and it is run after the answer."""
    from sweeper.data.resolved import resolve
    from sweeper.run.launch import check_name_and_space, check_services_and_data

    grid, differences = submitted_grid(asked, host.settings)
    if host.starts.in_progress(grid.name):
        raise StartingError(f"{grid.name} is already being started; see: sweeper status {grid.name}")
    resolved = resolve(grid, host.settings)
    check_services_and_data(resolved, host.settings)
    if check_name_and_space(host.settings, host.repository, resolved, extend=asked.extend).trials:
        refuse_running(host.repository, grid.name)
    host.starts.start(Start(grid.name, time.time(), grid.to_dict(), asked.extend, asked.limit, end_of(asked.hours)))
    return Launched(sweep=grid.name, message=BEING_STARTED.format(grid.name), differences=differences)
