"""`sweeper db`: upgrade the database's tables, and carry a sweep into another database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sweeper.cli.options import SweepArgument, check_folder, chosen_sweep, console, open_session

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def db(context: typer.Context) -> None:
    """Upgrade the database, export a sweep, import one.

    Example: sweeper db export demo --to demo-export
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def upgrade() -> None:
    """Bring older tables to the newest schema (back up first).

    Example: sweeper db upgrade
    """
    from storage.database import schema_version
    from storage.database import upgrade as bring_to_newest
    from storage.faults import hide_password
    from sweeper.settings import load_settings

    url = load_settings().database
    before = schema_version(url)
    after = bring_to_newest(url)
    how = "has the newest schema already" if before == after else f"was upgraded from {before or 'no tables'}"
    _say(f"{hide_password(url)} {how}: {after}")


@app.command()
def export(
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="An empty or new folder.")],
    sweep: SweepArgument = None,
    format_: Annotated[
        Literal["parquet", "csv"], typer.Option("--format", help="Only parquet can be imported; csv is for reading.")
    ] = "parquet",
) -> None:
    """Write all of a sweep into a folder: one file for each table.

    Example: sweeper db export demo --to demo-export
    """
    from storage.transfer import export_sweep

    check_folder(to)
    with open_session() as now:
        name = chosen_sweep(now, sweep)
        _say(f"{name} is in {export_sweep(now.repository, name, to, format_)}")


@app.command("import")
def import_(folder: Annotated[Path, typer.Argument(metavar="DIR", help="What sweeper db export wrote.")]) -> None:
    """Take an exported sweep into this database.

    Example: sweeper db import demo-export
    """
    from storage.studies import Studies
    from storage.transfer import import_sweep, read_manifest

    read_manifest(folder)  # a wrong folder must not leave a new home and an empty database behind
    with open_session(create=True) as now:
        done = import_sweep(now.repository, folder)
        with Studies(now.repository.database) as studies:
            studies.record_finished(now.repository.trials(done.sweep))
        kept = f", {done.kept} stay as they were tried here" if done.kept else ""
        _say(f"{done.sweep}: {done.taken} trials imported{kept}; see: sweeper status {done.sweep}")


def _say(line: str) -> None:
    console().print(line, markup=False, highlight=False, soft_wrap=True)
