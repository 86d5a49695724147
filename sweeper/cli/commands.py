"""All commands together, and what `sweeper` alone does. The modules beside have the commands."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Annotated

import typer

from sweeper.cli import analyse as analyse_commands
from sweeper.cli import control as control_commands
from sweeper.cli import data as data_commands
from sweeper.cli import db as db_commands
from sweeper.cli import doctor as doctor_commands
from sweeper.cli import init as init_commands
from sweeper.cli import lifecycle as lifecycle_commands
from sweeper.cli import losses as losses_commands
from sweeper.cli import mlflow as mlflow_commands
from sweeper.cli import predict as predict_commands
from sweeper.cli import remote
from sweeper.cli import results as results_commands
from sweeper.cli import score as score_commands
from sweeper.cli import serve as serve_commands
from sweeper.cli import status as status_commands
from sweeper.cli import upkeep as upkeep_commands
from sweeper.cli.options import open_place, say, use_server

app = typer.Typer(
    name="sweeper",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(lifecycle_commands.app)
app.add_typer(status_commands.app)
app.add_typer(results_commands.app)
app.add_typer(init_commands.app)
app.add_typer(control_commands.app)
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
