"""Commands that plan, launch, resume, stop and retry a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.cli import remote
from sweeper.cli.options import (
    AllowOption,
    CsvOption,
    DataOption,
    DetachOption,
    DeviceOption,
    GridOption,
    HoursOption,
    JsonOption,
    LimitOption,
    NameOption,
    NotifyOption,
    PluginOption,
    RehearseOption,
    RestOption,
    SetOption,
    SweepArgument,
    UntilOption,
    chosen_grid,
    chosen_sweep,
    console,
    open_place,
    open_session,
    print_descriptions,
    print_json,
    printed,
    refuse_both,
    say,
    service,
)

if TYPE_CHECKING:
    from sweeper.data.resolved import ResolvedGrid
    from sweeper.grids.schema import Grid
    from sweeper.session import Session
    from sweeper.settings import Settings
    from trials.messages import PluginSource

app = typer.Typer(rich_markup_mode=None)


@app.command()
def launch(
    grid: GridOption = "demo",
    data: DataOption = None,
    sets: SetOption = None,
    name: NameOption = None,
    plugin: PluginOption = None,
    limit: LimitOption = None,
    hours: HoursOption = None,
    until: UntilOption = None,
    rehearse: RehearseOption = False,
    extend: Annotated[bool, typer.Option("--extend", help="Add the grid's new cells to an existing sweep.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Also train cells that other sweeps have finished.")] = False,
    detach: DetachOption = False,
    notify: NotifyOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run; write nothing.")] = False,
) -> None:
    """Run a grid: prepare the data, train the trials, write the report.

    Example: sweeper launch --grid paper --data ~/data
    """
    from sweeper.data.rehearsal import write_files
    from sweeper.data.resolved import resolve
    from sweeper.run.deadline import deadline, now
    from sweeper.run.launch import check_services_and_data, create
    from sweeper.settings import load_settings

    end = deadline(hours, until, now())
    if (there := service()) is not None:
        remote.refuse_notify(notify)
        wanted = remote.chosen_grid(grid, sets, name, data, plugin, rehearse=rehearse, fresh=fresh)
        with there:
            if dry_run:
                remote.plan(there, wanted, as_json=False)
            else:
                remote.launch(there, {**wanted, "extend": extend, "limit": limit, "hours": remote.hours_until(end)})
        return
    settings = load_settings(data=data, notify=notify)
    chosen, messages = _grid(grid, [*(sets or ()), *(["share=false"] if fresh else ())], name, plugin)
    if rehearse:
        chosen = _rehearsal(chosen, settings)
    if dry_run:
        _print_plan(chosen, settings, as_json=False)
        return
    resolved = resolve(chosen, settings)
    check_services_and_data(resolved, settings)
    if rehearse:
        settings.make_home()
        write_files(chosen)
    with open_session(data, notify=notify, create=True) as session:
        created = create(session, resolved, messages, extend=extend)
        _run(session, created.sweep.name, detach=detach, limit=limit, until=end, prepared=created.grid)


@app.command()
def plan(
    grid: GridOption = "demo",
    data: DataOption = None,
    sets: SetOption = None,
    name: NameOption = None,
    plugin: PluginOption = None,
    rehearse: RehearseOption = False,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Show a grid's trials and what the remaining ones will cost.

    Example: sweeper plan --grid paper --json
    """
    from sweeper.settings import load_settings

    refuse_both(as_json=as_json, as_csv=as_csv)
    if (there := service()) is not None:
        remote.refuse_device(device)
        with there:
            wanted = remote.chosen_grid(grid, sets, name, data, plugin, rehearse=rehearse)
            remote.plan(there, wanted, as_json=as_json, as_csv=as_csv)
        return
    settings = load_settings(data=data)
    chosen, _ = _grid(grid, sets, name, plugin)
    if rehearse:
        chosen = _rehearsal(chosen, settings, say=not (as_json or as_csv))
    _print_plan(chosen, settings, device, as_json=as_json, as_csv=as_csv)


@app.command()
def resume(
    sweep: SweepArgument = None,
    limit: RestOption = None,
    hours: HoursOption = None,
    until: UntilOption = None,
    detach: DetachOption = False,
    notify: NotifyOption = None,
    plugin: AllowOption = None,
) -> None:
    """Resume a stopped or killed sweep from its checkpoints.

    Example: sweeper resume demo
    """
    from sweeper import verbs
    from sweeper.grids.plugged import allow_files
    from sweeper.run.deadline import deadline, now
    from sweeper.verbs.requests import ResumeRequest, request

    end = deadline(hours, until, now())
    if (there := service()) is not None:
        remote.refuse_notify(notify)
        remote.refuse_plugins(plugin)
        with there:
            asked = request(ResumeRequest, limit=limit, hours=remote.hours_until(end))
            say(verbs.resume(there, there.name(sweep), asked).message)
        return
    with open_session(notify=notify) as session:
        name = chosen_sweep(session, sweep)
        allow_files(session.repository, name, plugin or ())
        _make_ready(session)
        _run(session, name, detach=detach, limit=limit, until=end)


@app.command()
def stop(
    sweep: SweepArgument = None,
    now: Annotated[bool, typer.Option("--now", help="Stop running trials after their current epoch.")] = False,
) -> None:
    """Ask a running sweep to stop; running trials finish first.

    Example: sweeper stop demo --now
    """
    from sweeper import verbs
    from sweeper.verbs.requests import StopRequest

    with open_place() as place:
        say(verbs.stop(place, place.name(sweep), StopRequest(now=now)).message)


@app.command()
def retry(
    sweep: SweepArgument = None,
    failed: Annotated[bool, typer.Option("--failed", help="Retry every failed trial.")] = False,
    trial: Annotated[
        list[str] | None, typer.Option("--trial", metavar="HASH", help="Retry this trial; may be repeated.")
    ] = None,
    detach: DetachOption = False,
    notify: NotifyOption = None,
) -> None:
    """Retry failed trials.

    Example: sweeper retry demo --failed
    """
    from sweeper import verbs
    from sweeper.errors import GridError
    from sweeper.verbs.control import queue
    from sweeper.verbs.requests import RetryRequest, request

    if not failed and not trial:
        raise GridError("say which trials: --failed, or --trial HASH")
    if (there := service()) is not None:
        remote.refuse_notify(notify)
        with there:
            asked = request(RetryRequest, trials=trial or [], failed=failed)
            say(verbs.retry(there, there.name(sweep), asked).message)
        return
    with open_session(notify=notify) as session:
        name = chosen_sweep(session, sweep)
        _make_ready(session)
        host = verbs.Host(session.settings, session.repository)
        line, left = queue(host, name, trial or (), failed=failed)
        session.console.print(line, markup=False, highlight=False)
        if left:
            _run(session, name, detach=detach)


@app.command()
def grids(
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of a grid file.")] = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List the shipped grids.

    Example: sweeper grids
    """
    from sweeper.grids.files import load_grid, shipped
    from sweeper.grids.schema import Grid

    if schema:
        print_json(Grid.model_json_schema())
        return
    rows = [{"name": name, "description": " ".join(load_grid(name).description.split())} for name in shipped()]
    print_descriptions(rows, as_json=as_json, as_csv=as_csv)


def _grid(
    grid: str, sets: list[str] | None, name: str | None, plugins: list[Path] | None
) -> tuple[Grid, list[PluginSource]]:
    """The chosen grid, and the plug-ins that its workers load: those that were named, and installed ones."""
    from sweeper.grids.schema import names_used
    from workers.plugins import describe_for, describe_plugin

    for file in plugins or ():  # before the grid is read: it may name a sampler of theirs, or extend a grid
        describe_plugin(file)
    chosen = chosen_grid(grid, sets, name)
    return chosen, list(describe_for(plugins or (), **names_used(chosen)))


def _rehearsal(grid: Grid, settings: Settings, *, say: bool = True) -> Grid:
    """The rehearsal of a grid; prints how it differs."""
    from sweeper.data.rehearsal import differences, rehearsal_of

    rehearsal = rehearsal_of(grid, settings.home / "rehearsal")
    if say:
        console().print(
            f"REHEARSAL of {grid.name}: its scores say nothing about the losses. Differences:", markup=False
        )
        for line in differences(grid, rehearsal):
            console().print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    return rehearsal


def _make_ready(session: Session) -> None:
    """Checks what a run needs besides a sweep: a home folder to write to, and servers that answer."""
    from sweeper.run.alerts import check_target
    from sweeper.services import check_services

    check_target(session.settings.notify)
    check_services(session.settings)
    session.settings.make_home()


def _print_plan(
    grid: Grid, settings: Settings, device: str | None = None, *, as_json: bool, as_csv: bool = False
) -> None:
    from sweeper.run.on_paper import plan_on_paper
    from sweeper.run.plan import make_plan
    from sweeper.timing.on_paper import device_named
    from sweeper.views.plan import plan_rows, plan_text

    chosen = None if device is None else device_named(device)
    made = make_plan(grid, settings)
    plan, on_paper = made.shown(), None if chosen is None else plan_on_paper(made, chosen, settings)
    whole = plan.model_dump(mode="json", exclude={"differences"})
    if on_paper is not None:
        whole["on_paper"] = on_paper.model_dump(mode="json")
    if not printed(whole, plan_rows(plan, on_paper), as_json=as_json, as_csv=as_csv):
        console().print(plan_text(plan, on_paper))


def _run(
    session: Session,
    name: str,
    *,
    detach: bool = False,
    limit: int | None = None,
    until: float | None = None,
    prepared: ResolvedGrid | None = None,
) -> None:
    """Runs a sweep here to its end, or starts a coordinator for it: in the background, or as a job of the cluster."""
    from sweeper.run.background import start_detached
    from sweeper.run.closing import closing_text
    from sweeper.run.launch import run
    from sweeper.run.publishing import finish, report_prepared
    from sweeper.run.ray_job import in_cluster, start_job

    if detach:
        if in_cluster(session.settings):
            job = start_job(session.settings, session.repository, name, limit, until)
            where, prints = f"as job {job} of the cluster", f"ray job logs {job}"
        else:
            log = start_detached(session.settings, session.repository, name, limit, until)
            where, prints = "in the background", str(log)
        console().print(
            f"{name} runs {where}; watch it with: sweeper attach {name} (its output: {prints})",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return
    with report_prepared():
        run(session, name, limit=limit, until=until, prepared=prepared)
    done = finish(session, name)
    session.console.print(closing_text(session.settings, name, done.study.answers, done.files, done.mlflow))
