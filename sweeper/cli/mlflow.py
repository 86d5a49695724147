"""`sweeper mlflow`: look at a sweep in MLflow, and fill its store anew."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeper.cli.options import SweepArgument, chosen_sweep, open_session, say

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def mlflow(context: typer.Context) -> None:
    """Look at a sweep in MLflow, or fill its store anew.

    Example: sweeper mlflow ui demo
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def ui(
    sweep: SweepArgument = None,
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="Port to bind; 0 takes a free one.")
    ] = 5000,
) -> None:
    """Open MLflow's page on a sweep's trials; Ctrl-C ends it.

    It listens on this machine alone. With MLFLOW_TRACKING_URI nothing is
    started: the address is that server's.

    Example: sweeper mlflow ui demo
    """
    from sweeper.run.mlflow_ui import show

    with open_session() as session:
        show(session, chosen_sweep(session, sweep), port, typer.echo)  # at once, also into a pipe


@app.command()
def rebuild(sweep: SweepArgument = None) -> None:
    """Fill MLflow's store anew from what is stored here.

    Of one sweep, or of all, and nothing twice. A damaged store is put aside, a
    deleted experiment restored.

    Example: sweeper mlflow rebuild
    """
    from sweeper.run.rebuilding import rebuild as fill

    with open_session() as session:
        session.settings.make_home()
        fill(session, None if sweep is None else session.repository.sweep(sweep).name, say)
