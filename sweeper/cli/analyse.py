"""`sweeper analyse`: the report of scores that another program made. It needs no database and no sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import PluginOption, check_folder, say

app = typer.Typer()


@app.command()
def analyse(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Scores as .csv or .parquet.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write to.")],
    format_: Annotated[
        str, typer.Option("--format", help="html, pdf, latex, csv, md, or several with commas.")
    ] = "html",
    plugin: PluginOption = None,
) -> None:
    """Write the report of scores made elsewhere, without a database.

    One row per dataset, class, loss, run and case, with dsc and other metrics.

    Example: sweeper analyse scores.csv --out report
    """
    from sweeper.run.publishing import report_scores
    from workers.plugins import load_plugin

    check_folder(out)
    for one in plugin or ():
        load_plugin(one)
    for written in report_scores(file, out, [f.strip() for f in format_.split(",")]):
        say(str(written))
