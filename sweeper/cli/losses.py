"""`sweeper losses`: list, show and check loss functions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from sweeper.cli.options import console
from sweeper.errors import SettingsError

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def losses(context: typer.Context) -> None:
    """List, show and check loss functions.

    Example: sweeper losses list
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
def list_() -> None:
    """List the losses, each in one sentence.

    Example: sweeper losses list
    """
    from workers.losses import definition, names

    table = Table.grid(padding=(0, 2))
    for name in names():
        table.add_row(Text(name, style="bold"), Text(definition(name).doc))
    console().print(table)


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A loss (sweeper losses list), or a sum such as dice+ce.")
    ],
) -> None:
    """Show a loss: equation, source, use, traps, parameters.

    Example: sweeper losses show tversky
    """
    from workers.losses.text import shown

    for line in shown(name):
        console().print(Text(line))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A plug-in: a Python file that registers a loss.")],
) -> None:
    """Check a loss of your own, and its cost against ce.

    Shapes, range, gradients, order of pixels and images, XLA and more.

    Example: sweeper losses check my_loss.py
    """
    if not file.is_file():
        raise SettingsError(f"{file} is no file; name a Python file that registers a loss (docs/recipes/loss.md)")
    # A process of its own: the checks import TensorFlow, and the file is a program.
    done = subprocess.run([sys.executable, "-m", "workers.plugins.checking", str(file)], check=False)
    if done.returncode:
        raise typer.Exit(done.returncode)
