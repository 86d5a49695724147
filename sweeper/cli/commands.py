"""The commands of a sweep's life; those for data sets are in `sweeper.cli.data`, the database's in `sweeper.cli.db`."""

from __future__ import annotations

import time
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from sweeper.cli import analyse as analyse_commands
from sweeper.cli import control as control_commands
from sweeper.cli import data as data_commands
from sweeper.cli import db as db_commands
from sweeper.cli import doctor as doctor_commands
from sweeper.cli import init as init_commands
from sweeper.cli import losses as losses_commands
from sweeper.cli import mlflow as mlflow_commands
from sweeper.cli import predict as predict_commands
from sweeper.cli import remote
from sweeper.cli import results as results_commands
from sweeper.cli import score as score_commands
from sweeper.cli import serve as serve_commands
from sweeper.cli import upkeep as upkeep_commands
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
    check_folder,
    chosen_grid,
    chosen_sweep,
    console,
    open_place,
    open_session,
    print_csv,
    print_json,
    printed,
    refuse_both,
    say,
    service,
    use_server,
)
from sweeper.errors import ServerError

if TYPE_CHECKING:
    from sweeper.data.resolved import ResolvedGrid
    from sweeper.grids.schema import Grid
    from sweeper.session import Session
    from sweeper.settings import Settings
    from trials.messages import PluginSource

FOLLOW_SECONDS = 1.0
"""How often `logs --follow` looks for what is new."""

app = typer.Typer(
    name="sweeper",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(init_commands.app)
app.add_typer(control_commands.app)
app.add_typer(results_commands.app)
app.add_typer(score_commands.app)
app.add_typer(predict_commands.app)
app.add_typer(analyse_commands.app)
app.add_typer(serve_commands.app)
app.add_typer(upkeep_commands.app)
app.add_typer(doctor_commands.app)
app.add_typer(data_commands.app, name="data")
app.add_typer(db_commands.app, name="db")
app.add_typer(losses_commands.app, name="losses")
app.add_typer(mlflow_commands.app, name="mlflow")
OFFERED = sorted(entry_points(group="sweeper.commands"), key=lambda entry: entry.name)
"""Commands of packages above this one, such as the live board; their modules import what is heavy when called."""

for offered in OFFERED:
    app.command(offered.name)(offered.load())


@app.callback(invoke_without_command=True)
def sweeper(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    server: Annotated[
        str,
        typer.Option(
            "--server",
            metavar="URL",
            envvar="SWEEPER_SERVER",
            show_envvar=False,
            help="Send the command to a service.",
        ),
    ] = "",
) -> None:
    """\b
    Compares loss functions for medical image segmentation.
    Example: sweeper launch --grid demo
    """
    from importlib.metadata import version as installed

    if version:
        typer.echo(f"sweeper {installed('sweeper')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        use_server(server)
        say(f"\n{_next_step()}")
    elif server and not _reads_the_variable_itself(context):
        remote.check_command(context.invoked_subcommand)
    use_server(server)


def _next_step() -> str:
    """What a person would do next, who has only typed `sweeper`."""
    from storage.errors import UnknownSweepError
    from sweeper import verbs
    from sweeper.verbs.requests import StatusRequest
    from sweeper.views.status import next_step
    from trials.errors import ExpectedError

    try:
        with open_place() as place:
            found = verbs.list_sweeps(place)
            newest = place.name(None) if found else None
            return next_step(None if newest is None else verbs.status(place, newest, StatusRequest(brief=True)))
    except UnknownSweepError:
        return next_step(None)
    except ExpectedError as error:
        return f"Next: sweeper doctor ({error})"


def _reads_the_variable_itself(context: typer.Context) -> bool:
    """Whether the command is another package's, which may have its own use for SWEEPER_SERVER, as the board has."""
    source = context.get_parameter_source("server")
    from_environment = source is not None and source.name == "ENVIRONMENT"
    return from_environment and context.invoked_subcommand in {one.name for one in OFFERED}


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
def status(
    sweep: SweepArgument = None,
    trials: Annotated[bool, typer.Option("--trials", help="List every trial.")] = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    follow: Annotated[
        bool, typer.Option("--watch", help="Show a live heat map of the grid; Ctrl-C leaves it.")
    ] = False,
) -> None:
    """Show the state of a sweep, loss by loss, and of its trials.

    Example: sweeper status demo --trials
    """
    from sweeper import verbs
    from sweeper.verbs.requests import StatusRequest
    from sweeper.views.status import status_text

    if sum((follow, as_json, as_csv)) > 1:
        raise typer.BadParameter("--watch, --json and --csv exclude each other; choose one")
    if follow and service() is not None:
        raise ServerError("--watch needs the database itself; use the board of the service instead")
    if follow:
        from sweeper.views.terminal import watch

        with open_session() as session:
            watch(session.repository, chosen_sweep(session, sweep), console())
        return
    with open_place() as place:
        found = verbs.status(place, place.name(sweep), StatusRequest(brief=not (as_json or as_csv)))
    if as_json:
        print_json(found)
    elif as_csv:
        print_csv(found.trials if trials or not found.groups else found.groups)
    else:
        console().print(status_text(found, trials=trials))


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
def report(
    sweep: SweepArgument = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder to write to.")] = None,
    format_: Annotated[
        str, typer.Option("--format", help="html, pdf, latex, csv, md, or several with commas.")
    ] = "html",
    plugin: PluginOption = None,
) -> None:
    """Write the report of a sweep. Plug-ins may add tests, figures and sections; those of the launch are known.

    Example: sweeper report demo --out report --format html,latex
    """
    from sweeper.grids.details import details_of
    from sweeper.grids.plugged import allow_matching, inert_note
    from sweeper.run.publishing import report as write
    from trials.places import below
    from workers.plugins import load_plugin

    if out is not None:
        check_folder(out)
    if (there := service()) is not None:
        remote.refuse_plugins(plugin)
        with there:
            remote.report(there, there.name(sweep), out, format_)
        return
    with open_session() as session:
        name = chosen_sweep(session, sweep)
        for file in allow_matching(session.repository, name, plugin or ()):
            load_plugin(file)
        folder = out or below(session.settings.reports, name)
        done = write(session, name, folder, [f.strip() for f in format_.split(",")])
        for file in done.files:
            console().print(str(file), markup=False, highlight=False, soft_wrap=True)
        if note := inert_note(details_of(session.repository.sweep(name))):
            console().print(note, markup=False, highlight=False, soft_wrap=True)


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
    if printed(rows, rows, as_json=as_json, as_csv=as_csv):
        return
    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(Text(row["name"], style="bold"), Text(row["description"]))
    console().print(table)


@app.command()
def show(
    trial: Annotated[str, typer.Argument(metavar="HASH", help="The first digits of the trial's hash.")],
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Show everything about one trial; as CSV, its attempts.

    Example: sweeper show 7d47f8
    """
    from sweeper import verbs
    from sweeper.views.status import trial_text

    with open_place() as place:
        found = verbs.trial(place, trial)
    if not printed(found, found.attempts, as_json=as_json, as_csv=as_csv):
        console().print(trial_text(found))


@app.command()
def logs(
    trial: Annotated[str, typer.Argument(metavar="HASH", help="The first digits of the trial's hash.")],
    tail: Annotated[
        int | None, typer.Option("--tail", min=0, max=1_000_000, metavar="N", help="Only the last N lines.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Also print what follows, until the trial ends; Ctrl-C leaves it.")
    ] = False,
) -> None:
    """Print the output of a trial's training process.

    Example: sweeper logs 7d47f8 --tail 20 --follow
    """
    from sweeper import verbs
    from sweeper.verbs.requests import LogPartRequest

    with open_place() as place, suppress(KeyboardInterrupt):
        if tail is None and not follow:
            typer.echo(verbs.trial_log(place, trial), nl=False)
            return
        part = verbs.trial_log_part(place, trial, LogPartRequest(tail=tail))
        while True:
            typer.echo(part.text, nl=False)
            if not part.text and not (follow and part.running):
                return
            if not part.text:
                time.sleep(FOLLOW_SECONDS)
            part = verbs.trial_log_part(place, part.trial, LogPartRequest(after=part.after))


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
    from sweeper.run.publishing import finish, report_imported
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
    with report_imported():
        run(session, name, limit=limit, until=until, prepared=prepared)
    done = finish(session, name)
    session.console.print(closing_text(session.settings, name, done.study.answers, done.files, done.mlflow))
