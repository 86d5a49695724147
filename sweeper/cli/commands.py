"""The commands of a sweep's life; those for data sets are in `sweeper.cli.data`, the database's in `sweeper.cli.db`."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from sweeper.cli import control as control_commands
from sweeper.cli import data as data_commands
from sweeper.cli import db as db_commands
from sweeper.cli import remote as remote_commands
from sweeper.cli import score as score_commands
from sweeper.cli import serve as serve_commands
from sweeper.cli.options import (
    DataOption,
    DetachOption,
    GridOption,
    JsonOption,
    LimitOption,
    NameOption,
    NotifyOption,
    PluginOption,
    RehearseOption,
    RestOption,
    SetOption,
    SweepArgument,
    check_folder,
    chosen_grid,
    chosen_sweep,
    console,
    open_session,
    open_sweeps,
    print_json,
    service,
    use_server,
)
from sweeper.errors import ServerError

if TYPE_CHECKING:
    from sweeper.grids.schema import Grid
    from sweeper.session import Session
    from sweeper.settings import Settings
    from trials.messages import PluginSource

app = typer.Typer(
    name="sweeper",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
REMOTE = ("launch", "plan", "resume", "status", "stop", "retry", "scale", "list", "results", "report", "show", "logs")
"""Commands that a service does, too."""

app.add_typer(control_commands.app)
app.add_typer(remote_commands.app)
app.add_typer(score_commands.app)
app.add_typer(serve_commands.app)
app.add_typer(data_commands.app, name="data")
app.add_typer(db_commands.app, name="db")
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
            help="Ask a service.",
        ),
    ] = "",
) -> None:
    """\b
    Runs a loss-function study in medical image segmentation and reports on it.
    Example: sweeper launch --grid demo
    """
    from importlib.metadata import version as installed

    if version:
        typer.echo(f"sweeper {installed('sweeper')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
    elif server and context.invoked_subcommand not in REMOTE and not _reads_the_variable_itself(context):
        raise ServerError(
            f"`sweeper {context.invoked_subcommand}` works on this machine alone; leave --server out, or unset "
            f"SWEEPER_SERVER (a service does: {', '.join(REMOTE)})"
        )
    use_server(server)


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
    rehearse: RehearseOption = False,
    extend: Annotated[bool, typer.Option("--extend", help="Grow an existing sweep by the grid's new cells.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train cells that other sweeps have finished, too.")] = False,
    detach: DetachOption = False,
    notify: NotifyOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and write nothing.")] = False,
) -> None:
    """Run a grid: prepare data, train what is not trained yet, report.

    Example: sweeper launch --grid paper --data ~/data
    """
    from sweeper.data.rehearsal import write_files
    from sweeper.run.launch import check_services_and_data, create
    from sweeper.settings import load_settings

    if (there := service()) is not None:
        remote_commands.refuse_notify(notify)
        asked = remote_commands.asked(grid, sets, name, data, plugin, rehearse=rehearse, fresh=fresh)
        with there:
            if dry_run:
                remote_commands.plan(there, asked, as_json=False)
            else:
                remote_commands.launch(there, {**asked, "extend": extend, "limit": limit})
        return
    settings = load_settings(data=data, notify=notify)
    chosen, messages = _grid(grid, [*(sets or ()), *(["share=false"] if fresh else ())], name, plugin)
    if rehearse:
        chosen = _rehearsal(chosen, settings)
    if dry_run:
        _print_plan(chosen, settings, as_json=False)
        return
    check_services_and_data(chosen, settings)
    if rehearse:
        settings.make_home()
        write_files(chosen)
    with open_session(data, notify=notify, create=True) as now:
        sweep = create(now, chosen, messages, extend=extend)
        _go(now, sweep.name, detach=detach, limit=limit)


@app.command()
def plan(
    grid: GridOption = "demo",
    data: DataOption = None,
    sets: SetOption = None,
    name: NameOption = None,
    plugin: PluginOption = None,
    rehearse: RehearseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show a grid's trials, and what those left to run will cost.

    Example: sweeper plan --grid paper --json
    """
    from sweeper.settings import load_settings

    if (there := service()) is not None:
        with there:
            asked = remote_commands.asked(grid, sets, name, data, plugin, rehearse=rehearse)
            remote_commands.plan(there, asked, as_json=as_json)
        return
    settings = load_settings(data=data)
    chosen, _ = _grid(grid, sets, name, plugin)
    if rehearse:
        chosen = _rehearsal(chosen, settings, say=not as_json)
    _print_plan(chosen, settings, as_json=as_json)


@app.command()
def resume(
    sweep: SweepArgument = None,
    limit: RestOption = None,
    detach: DetachOption = False,
    notify: NotifyOption = None,
) -> None:
    """Go on with a stopped or killed sweep, from its checkpoints.

    Example: sweeper resume demo
    """
    if (there := service()) is not None:
        remote_commands.refuse_notify(notify)
        with there:
            remote_commands.say(there.resume(there.name(sweep), limit=limit))
        return
    with open_session(notify=notify) as now:
        name = chosen_sweep(now, sweep)
        _make_ready(now)
        _go(now, name, detach=detach, limit=limit)


@app.command()
def status(
    sweep: SweepArgument = None,
    as_json: JsonOption = False,
    follow: Annotated[
        bool, typer.Option("--watch", help="The grid as a heat map that follows the sweep; Ctrl-C leaves.")
    ] = False,
) -> None:
    """Show how a sweep stands, trial by trial.

    Example: sweeper status demo --watch
    """
    from sweeper.views.status import status_text

    if follow and as_json:
        raise typer.BadParameter("--watch is for a person and --json for a program; choose one")
    if follow and service() is not None:
        raise ServerError("--watch needs the database itself; ask the service again and again, or look at its board")
    if follow:
        from sweeper.views.terminal import watch

        with open_session() as now:
            watch(now.repository, chosen_sweep(now, sweep), console())
        return
    with open_sweeps() as sweeps:
        found = sweeps.status(sweeps.name(sweep), brief=not as_json)
    if as_json:
        print_json(found)
    else:
        console().print(status_text(found))


@app.command()
def stop(
    sweep: SweepArgument = None,
    now_: Annotated[bool, typer.Option("--now", help="End running trials after their current epoch.")] = False,
) -> None:
    """Ask a running sweep to stop; running trials go on to their end.

    Example: sweeper stop demo --now
    """
    with open_sweeps() as sweeps:
        remote_commands.say(sweeps.stop(sweeps.name(sweep), now=now_))


@app.command()
def retry(
    sweep: SweepArgument = None,
    failed: Annotated[bool, typer.Option("--failed", help="Every failed trial of the sweep.")] = False,
    trial: Annotated[
        list[str] | None, typer.Option("--trial", metavar="HASH", help="This trial; may be repeated.")
    ] = None,
    detach: DetachOption = False,
    notify: NotifyOption = None,
) -> None:
    """Queue failed trials again, and run them.

    Example: sweeper retry demo --failed
    """
    from sweeper.errors import GridError
    from sweeper.verbs import LocalSweeps

    if not failed and not trial:
        raise GridError("say which trials: --failed, or --trial HASH")
    if (there := service()) is not None:
        remote_commands.refuse_notify(notify)
        with there:
            remote_commands.say(there.retry(there.name(sweep), trial or (), failed=failed))
        return
    with open_session(notify=notify) as now:
        name = chosen_sweep(now, sweep)
        _make_ready(now)
        line, open_ = LocalSweeps(now.settings, now.repository).queue_again(name, trial or (), failed=failed)
        now.console.print(line, markup=False, highlight=False)
        if open_:
            _go(now, name, detach=detach)


@app.command()
def report(
    sweep: SweepArgument = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where to write it.")] = None,
    format_: Annotated[str, typer.Option("--format", help="html, pdf, latex, csv; several with commas.")] = "html",
) -> None:
    """Write the report of a sweep.

    Example: sweeper report demo --out report --format html,latex
    """
    from sweeper.run.publishing import report as write

    if out is not None:
        check_folder(out)
    if (there := service()) is not None:
        with there:
            remote_commands.report(there, there.name(sweep), out, format_)
        return
    with open_session() as now:
        name = chosen_sweep(now, sweep)
        files = write(now, name, out or now.settings.reports / name, [f.strip() for f in format_.split(",")])
        for file in files:
            console().print(str(file), markup=False, highlight=False, soft_wrap=True)


@app.command()
def grids(
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of a grid file.")] = False,
) -> None:
    """List the shipped grids.

    Example: sweeper grids
    """
    from sweeper.grids.files import load_grid, shipped
    from sweeper.grids.schema import Grid

    if schema:
        print_json(Grid.model_json_schema())
        return
    table = Table.grid(padding=(0, 2))
    for name in shipped():
        table.add_row(Text(name, style="bold"), Text(" ".join(load_grid(name).description.split())))
    console().print(table)


@app.command()
def doctor() -> None:
    """Say what this machine has, what is missing, and how to get it.

    Example: sweeper doctor
    """
    from sweeper.doctor import examine
    from sweeper.settings import load_settings

    findings = examine(load_settings())
    for finding in findings:
        console().print(finding.line(), markup=False, highlight=False, soft_wrap=True)
    if any(f.state == "bad" for f in findings):
        raise typer.Exit(1)


@app.command()
def show(trial: Annotated[str, typer.Argument(metavar="HASH", help="The first digits of the trial's hash.")]) -> None:
    """Show everything about one trial.

    Example: sweeper show 7d47f8
    """
    from sweeper.views.status import trial_text

    with open_sweeps() as sweeps:
        console().print(trial_text(sweeps.trial(trial)))


@app.command()
def logs(trial: Annotated[str, typer.Argument(metavar="HASH", help="The first digits of the trial's hash.")]) -> None:
    """Print what the training process of a trial wrote.

    Example: sweeper logs 7d47f8
    """
    with open_sweeps() as sweeps:
        typer.echo(sweeps.log(trial), nl=False)


def _grid(
    grid: str, sets: list[str] | None, name: str | None, plugins: list[Path] | None
) -> tuple[Grid, list[PluginSource]]:
    """The chosen grid, and what its workers need of the plug-ins that were named or are installed."""
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
            f"REHEARSAL of {grid.name}: its scores say nothing about the losses. It differs in:", markup=False
        )
        for line in differences(grid, rehearsal):
            console().print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    return rehearsal


def _make_ready(now: Session) -> None:
    """What a run needs besides a sweep: a home to write to, and servers that answer."""
    from sweeper.run.alerts import check_target
    from sweeper.services import check_services

    check_target(now.settings.notify)
    check_services(now.settings)
    now.settings.make_home()


def _print_plan(grid: Grid, settings: Settings, *, as_json: bool) -> None:
    from sweeper.run.plan import make_plan, plan_text

    plan = make_plan(grid, settings)
    if as_json:
        print_json(plan.to_dict())
    else:
        console().print(plan_text(plan.to_dict()))


def _go(now: Session, name: str, *, detach: bool = False, limit: int | None = None) -> None:
    """Runs a sweep here to its end, or starts a coordinator for it: in the background, or as a job of the cluster."""
    from sweeper.run.background import start_detached
    from sweeper.run.launch import run
    from sweeper.run.publishing import finish
    from sweeper.run.ray_job import in_cluster, start_job
    from sweeper.views.status import closing_text

    if detach:
        if in_cluster(now.settings):
            job = start_job(now.settings, now.repository, name, limit)
            where, prints = f"as job {job} of the cluster", f"ray job logs {job}"
        else:
            where, prints = "in the background", str(start_detached(now.settings, now.repository, name, limit))
        console().print(
            f"{name} runs {where}; watch it with: sweeper attach {name} (what it prints: {prints})",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return
    run(now, name, limit=limit)
    now.console.print(closing_text(now, name, finish(now, name)))
