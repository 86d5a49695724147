"""`sweeper db`: upgrade the database's tables, export a sweep, import one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sweeper.cli.options import SweepArgument, check_folder, chosen_sweep, open_session, say

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
    """Upgrade the tables to the newest schema (back up first).

    Example: sweeper db upgrade
    """
    from storage.database import schema_version
    from storage.database import upgrade as bring_to_newest
    from sweeper.settings import load_settings
    from trials.addresses import hide_password

    url = load_settings().database
    before = schema_version(url)
    after = bring_to_newest(url)
    how = "already has the newest schema" if before == after else f"was upgraded from {before or 'no tables'}"
    say(f"{hide_password(url)} {how}: {after}")


@app.command()
def export(
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="An empty or new folder.")],
    sweep: SweepArgument = None,
    format_: Annotated[
        Literal["parquet", "csv"], typer.Option("--format", help="Only parquet can be imported; csv is for reading.")
    ] = "parquet",
) -> None:
    """Write a whole sweep into a folder: one file per table.

    Example: sweeper db export demo --to demo-export
    """
    from storage.transfer import export_sweep

    check_folder(to)
    with open_session() as session:
        name = chosen_sweep(session, sweep)
        say(f"{name} is in {export_sweep(session.repository, name, to, format_)}")


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What sweeper db export wrote.")],
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Let the plug-ins that came with the sweep run here.")
    ] = False,
) -> None:
    """Import an exported sweep into this database. It comes in as stopped, and code in it does not run.

    Example: sweeper db import demo-export
    """
    from storage.transfer import read_manifest
    from sweeper.grids.plugged import named
    from sweeper.run.importing import bring_in

    read_manifest(folder)  # a wrong folder must not leave a new home and an empty database
    with open_session(create=True) as session:
        found = bring_in(session.repository, folder, allow_code=allow_code)
    done = found.done
    kept = f", {done.kept} keep what this database has of them" if done.kept else ""
    say(f"{done.sweep}: {done.taken} trials imported{kept}; see: sweeper status {done.sweep}")
    if found.allowed:
        say(f"code that may run here from now on: {named(found.allowed)}")
    if found.inert:
        say(
            f"code that came with it and does not run: {named(found.inert)}; read it, then allow it with: "
            f"sweeper db import {folder} --allow-code"
        )
