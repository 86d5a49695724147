"""`sweeper init`: a grid for a folder of images and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import check_file, say
from sweeper.errors import GridError, SettingsError

app = typer.Typer(rich_markup_mode=None)

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Images and masks of one data set.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The grid to write (default: NAME.toml here).")
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="TIME", help="How long it may take, such as 10m, 2h or 1d.")
    ] = None,
    gpus: Annotated[int | None, typer.Option("--gpus", min=1, metavar="N", help="GPUs that train at once.")] = None,
    losses: Annotated[
        str,
        typer.Option(
            "--losses", metavar="paper|small|NAMES", help="The losses, with commas (default: three usual ones)."
        ),
    ] = "",
) -> None:
    """Look at a folder of images and masks, and write a grid for it.

    Example: sweeper init ~/data/cells --budget 2h
    """
    from sweeper.drafts.make import draft, place_of
    from sweeper.settings import load_settings
    from workers.files import atomic_write

    if out is not None:
        _refuse_existing(out)
        check_file(out)
    seconds = None if budget is None else _seconds(budget)
    data = place_of(folder).parent
    done = draft(folder, load_settings(data=data), budget=seconds, gpus=gpus, losses=losses)
    target = out or Path(f"{done.name}.toml")
    _refuse_existing(target)
    check_file(target)
    with atomic_write(target) as file:
        file.write(done.text.encode())
    for line in done.lines:
        say(line)
    say(f"written: {target}; next: sweeper plan --grid {target} --data {data}")


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise SettingsError(f"{path} exists and is not overwritten; name another file with --out")


def _seconds(text: str) -> float:
    """`10m`, `2h`, `1.5d` as seconds."""
    try:
        seconds = float(text[:-1]) * _UNITS[text[-1:]]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise GridError(f"--budget {text}: expected a number with m, h or d, such as 10m, 2h or 1d")
    return seconds
