"""The commands of a sweep's life; those for data sets are in `sweeper.cli.data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.cli import data as data_commands
from sweeper.cli.options import (
    DataOption,
    GridOption,
    JsonOption,
    NameOption,
    PluginOption,
    RehearseOption,
    SetOption,
    SweepArgument,
    chosen_grid,
    chosen_sweep,
    console,
    open_session,
    print_json,
)

if TYPE_CHECKING:
    from sweeper.grid import Grid
    from sweeper.launch import Session

app = typer.Typer(
    name="sweeper",
    help="Runs a loss-function study in medical image segmentation, and answers its question.\n\n"
    "Example: sweeper launch --grid demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_commands.app, name="data")


@app.command()
def launch(
    grid: GridOption = "demo",
    data: DataOption = None,
    sets: SetOption = None,
    name: NameOption = None,
    plugin: PluginOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Start at most so many trials; the rest stays queued.")
    ] = None,
    rehearse: RehearseOption = False,
    extend: Annotated[bool, typer.Option("--extend", help="Grow an existing sweep by the grid's new cells.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and write nothing.")] = False,
) -> None:
    """Run a grid: prepare data, train what is not trained yet, report.

    Example: `sweeper launch --grid paper --data ~/data`
    """
    from sweeper.launch import create, run

    chosen, messages = _grid(grid, sets, name, plugin)
    if rehearse:
        chosen, data = _rehearsal(chosen, write=not dry_run)
    if dry_run:
        _print_plan(chosen, data, as_json=False)
        return
    with open_session(data) as now:
        sweep = create(now, chosen, messages, extend=extend)
        run(now, sweep.name, limit=limit)
        _finish(now, sweep.name)


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
    """Show a grid's trials, what is finished already, and what the rest will cost.

    Example: `sweeper plan --grid paper --json`
    """
    chosen, _ = _grid(grid, sets, name, plugin)
    if rehearse:
        chosen, data = _rehearsal(chosen, write=False, say=not as_json)
    _print_plan(chosen, data, as_json=as_json)


@app.command()
def resume(sweep: SweepArgument = None) -> None:
    """Go on with a sweep that was stopped or killed, from its checkpoints.

    Example: `sweeper resume demo`
    """
    from sweeper.launch import run

    with open_session() as now:
        name = chosen_sweep(now, sweep)
        run(now, name)
        _finish(now, name)


@app.command()
def status(sweep: SweepArgument = None, as_json: JsonOption = False) -> None:
    """Show how a sweep stands, trial by trial.

    Example: `sweeper status demo`
    """
    from sweeper.status import status_object, status_text

    with open_session() as now:
        name = chosen_sweep(now, sweep)
        if as_json:
            print_json(status_object(now.repository, name))
        else:
            console().print(status_text(now.repository, name))


@app.command()
def stop(
    sweep: SweepArgument = None,
    now_: Annotated[bool, typer.Option("--now", help="End running trials after their current epoch.")] = False,
) -> None:
    """Ask a running sweep to stop; running trials go on to their end.

    Example: `sweeper stop demo --now`
    """
    with open_session() as now:
        name = chosen_sweep(now, sweep)
        if now.repository.lease(name) is None:
            console().print(f"{name} is not running; go on with: sweeper resume {name}", markup=False)
            return
        now.repository.add_request(name, "stop", {"now": now_})
        console().print(f"asked the coordinator of {name} to stop; see: sweeper status {name}", markup=False)


@app.command()
def retry(
    sweep: SweepArgument = None,
    failed: Annotated[bool, typer.Option("--failed", help="Every failed trial of the sweep.")] = False,
    trial: Annotated[
        list[str] | None, typer.Option("--trial", metavar="HASH", help="This trial; may be repeated.")
    ] = None,
) -> None:
    """Queue failed trials again, and run them.

    Example: `sweeper retry demo --failed`
    """
    from storage.records import TrialState
    from sweeper.errors import GridError
    from sweeper.launch import retry_trials, run

    if not failed and not trial:
        raise GridError("say which trials: --failed, or --trial HASH")
    with open_session() as now:
        name = chosen_sweep(now, sweep)
        hashes = [now.repository.trial(prefix).hash for prefix in trial or ()]
        if failed:
            hashes += [t.hash for t in now.repository.trials(name) if t.state is TrialState.FAILED]
        if not hashes:
            console().print(f"no trial of {name} has failed", markup=False)
            return
        if retry_trials(now, name, hashes):
            run(now, name)
            _finish(now, name)


@app.command()
def report(
    sweep: SweepArgument = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where to write it.")] = None,
    format_: Annotated[str, typer.Option("--format", help="html, pdf, latex, csv; several with commas.")] = "html",
) -> None:
    """Write the report of a sweep.

    Example: `sweeper report demo --out report --format html,latex`
    """
    from sweeper.launch import report as write

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

    Example: `sweeper grids`
    """
    from sweeper.grid import Grid
    from sweeper.grids import load_grid, shipped

    if schema:
        print_json(Grid.model_json_schema())
        return
    for name in shipped():
        console().print(f"{name:10} {' '.join(load_grid(name).description.split())}", markup=False, highlight=False)


@app.command()
def doctor() -> None:
    """Say what this machine has, what is missing, and how to get it.

    Example: `sweeper doctor`
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

    Example: `sweeper show 7d47f8`
    """
    from sweeper.status import trial_text

    with open_session() as now:
        console().print(trial_text(now.repository, trial))


@app.command()
def logs(trial: Annotated[str, typer.Argument(metavar="HASH", help="The first digits of the trial's hash.")]) -> None:
    """Print what the training process of a trial wrote.

    Example: `sweeper logs 7d47f8`
    """
    from sweeper.errors import GridError

    with open_session() as now:
        path = now.settings.logs / f"{now.repository.trial(trial).hash}.log"
        try:
            typer.echo(path.read_text(encoding="utf-8", errors="replace"), nl=False)
        except FileNotFoundError as error:
            raise GridError(f"no log of this trial on this machine ({path})") from error


def _grid(
    grid: str, sets: list[str] | None, name: str | None, plugins: list[Path] | None
) -> tuple[Grid, list[dict[str, str]]]:
    """The chosen grid, and what its workers need of the plug-ins."""
    from workers.plugins import describe_plugin

    messages = [describe_plugin(path).to_message() for path in plugins or ()]
    return chosen_grid(grid, sets, name), messages


def _rehearsal(grid: Grid, *, write: bool, say: bool = True) -> tuple[Grid, Path]:
    """The rehearsal of a grid and the folder of its synthetic files; prints how it differs."""
    from sweeper.rehearsal import differences, rehearsal_of, write_files
    from sweeper.settings import load_settings

    settings = load_settings()
    rehearsal, root = rehearsal_of(grid), settings.home / "rehearsal"
    if say:
        console().print("REHEARSAL on synthetic files. It differs from the grid in:", markup=False)
        for line in differences(grid, rehearsal):
            console().print(f"  {line}", markup=False, highlight=False)
    if write:
        settings.make_home()
        write_files(rehearsal, root)
    return rehearsal, root


def _print_plan(grid: Grid, data: Path | None, *, as_json: bool) -> None:
    from sweeper.plan import make_plan, plan_text
    from sweeper.settings import load_settings

    plan = make_plan(grid, load_settings(data=data))
    if as_json:
        print_json(plan.to_dict())
    else:
        console().print(plan_text(plan))


def _finish(now: Session, name: str) -> None:
    """The report, and the three commands to look at what was found."""
    from sweeper.launch import report as write
    from sweeper.status import closing_text

    files = write(now, name, now.settings.reports / name)
    console().print(closing_text(now, name, files))
