"""`sweeper losses`: list, show, draw and check loss functions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from sweeper.cli.options import CsvOption, JsonOption, check_folder, console, print_descriptions, say
from sweeper.errors import SettingsError

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def losses(context: typer.Context) -> None:
    """List, show, draw and check loss functions.

    Example: sweeper losses list
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
def list_(as_json: JsonOption = False, as_csv: CsvOption = False) -> None:
    """List the losses, each in one sentence.

    Example: sweeper losses list
    """
    from workers.losses import definition, names

    rows = [{"name": name, "description": definition(name).doc} for name in names()]
    print_descriptions(rows, as_json=as_json, as_csv=as_csv)


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
def plot(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A loss (sweeper losses list), or a sum such as dice+ce.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder to write loss-NAME.svg and .png to.")
    ] = Path(),
) -> None:
    """Draw a loss: value and slope over p and over overlap.

    Example: sweeper losses plot focal --out figures
    """
    from sweeper.run.publishing import draw_loss
    from workers.losses import definition

    definition(name)  # what is unknown is refused before a process starts
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    # A process of its own, since it imports TensorFlow.
    command = [sys.executable, "-m", "workers.losses.curves", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SettingsError(f"loss {name!r} can't be drawn: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
    for file in draw_loss(name, json.loads(done.stdout), out):
        say(str(file))


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
