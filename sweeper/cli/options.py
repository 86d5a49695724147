"""Options that several commands share, and what turns them into objects."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from sweeper.grid import Grid
    from sweeper.launch import Session

GridOption = Annotated[
    str, typer.Option("--grid", "-g", metavar="NAME|FILE", help="A shipped grid (`sweeper grids`) or a TOML file.")
]
DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Folder that holds each data set under its name.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the grid; may be repeated.")
]
PluginOption = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="FILE", help="A Python file with losses, networks, data sets.")
]
NameOption = Annotated[str | None, typer.Option("--name", help="Name of the sweep; the grid's name unless given.")]
RehearseOption = Annotated[
    bool, typer.Option("--rehearse", help="The same trials on small synthetic files, for a few epochs.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
SweepArgument = Annotated[str | None, typer.Argument(metavar="[SWEEP]", help="The newest sweep unless named.")]


def console() -> Console:
    """Where a person reads."""
    return Console(soft_wrap=not sys.stdout.isatty())


@contextmanager
def open_session(data: Path | None = None) -> Iterator[Session]:
    """A session by the environment."""
    from sweeper.launch import session
    from sweeper.settings import load_settings

    with session(load_settings(data=data), console()) as now:
        yield now


def chosen_sweep(now: Session, name: str | None) -> str:
    """The named sweep, or the newest one.

    Raises:
        UnknownSweepError: no sweep of that name, or none at all.
    """
    from storage.errors import UnknownSweepError

    if name is not None:
        return now.repository.sweep(name).name
    sweeps = now.repository.sweeps()
    if not sweeps:
        raise UnknownSweepError("no sweep was launched yet; try: sweeper launch --grid demo")
    return max(sweeps, key=lambda s: s.created_at).name


def chosen_grid(grid: str, sets: list[str] | None, name: str | None) -> Grid:
    """The grid with its changes, under the wanted name."""
    from sweeper.grids import load_grid

    changes = [*(sets or ()), *([f'name="{name}"'] if name else ())]
    return load_grid(grid, changes)


def print_json(value: Any) -> None:
    """Writes one JSON value to standard output."""
    import json

    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
