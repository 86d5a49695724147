"""`sweeper mlflow`: fill MLflow's store anew."""

from __future__ import annotations

import typer

from sweeper.cli.options import SweepArgument, open_session, say

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def mlflow(context: typer.Context) -> None:
    """Fill MLflow's store anew.

    Example: sweeper mlflow rebuild
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


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
