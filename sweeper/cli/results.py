"""Commands about results: `report`, `list`, `results`, `compare` and `power`, on this machine or of a service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from sweeper.cli import remote
from sweeper.cli.options import (
    CsvOption,
    JsonOption,
    PluginOption,
    SweepArgument,
    as_csv_text,
    as_json_text,
    check_file,
    check_folder,
    chosen_sweep,
    console,
    open_place,
    open_session,
    printed,
    say,
    service,
    sweep_names,
)
from sweeper.errors import GridError

app = typer.Typer(rich_markup_mode=None)


@app.command()
def report(
    sweep: SweepArgument = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder to write to.")] = None,
    format_: Annotated[
        str, typer.Option("--format", help="html, pdf, latex, csv, md, or several with commas.")
    ] = "html",
    plugin: PluginOption = None,
) -> None:
    """Write the report of a sweep. Plug-ins may add tests, figures and sections; those of the launch are known.

    Example: sweeper report demo --out report --format html,latex
    """
    from sweeper.grids.details import details_of
    from sweeper.grids.plugged import allow_matching, inert_note
    from sweeper.run.publishing import report as write
    from trials.places import below
    from workers.plugins import load_plugin

    if out is not None:
        check_folder(out)
    if (there := service()) is not None:
        remote.refuse_plugins(plugin)
        with there:
            remote.report(there, there.name(sweep), out, format_)
        return
    with open_session() as session:
        name = chosen_sweep(session, sweep)
        for file in allow_matching(session.repository, name, plugin or ()):
            load_plugin(file)
        folder = out or below(session.settings.reports, name)
        done = write(session, name, folder, [f.strip() for f in format_.split(",")])
        for file in done.files:
            console().print(str(file), markup=False, highlight=False, soft_wrap=True)
        if note := inert_note(details_of(session.repository.sweep(name))):
            console().print(note, markup=False, highlight=False, soft_wrap=True)


@app.command("list")
def list_(as_json: JsonOption = False, as_csv: CsvOption = False) -> None:
    """List the sweeps, newest first.

    Example: sweeper list
    """
    from sweeper import verbs

    with open_place() as place:
        found = verbs.list_sweeps(place)
    if printed(found, found, as_json=as_json, as_csv=as_csv):
        return
    table = Table.grid(padding=(0, 2))
    for one in found:
        counts = ", ".join(f"{count} {state}" for state, count in one.counts.items() if count)
        state = f"{one.state}{' (REHEARSAL)' if one.rehearsal else ''}"
        table.add_row(Text(one.sweep, style="bold"), Text(state), Text(counts or one.reason))
    console().print(table)


@app.command()
def results(
    sweep: SweepArgument = None,
    format_: Annotated[
        Literal["json", "parquet", "csv"], typer.Option("--format", help="json holds both tables, the others one.")
    ] = "json",
    table: Annotated[
        Literal["scores", "trials"], typer.Option("--table", help="Table that a Parquet or CSV file holds.")
    ] = "scores",
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="File to write (default: standard output).")
    ] = None,
) -> None:
    """Write the trials, and their scores per image and class.

    Example: sweeper results demo --format parquet --to scores.parquet
    """
    from sweeper import verbs
    from sweeper.verbs.requests import ResultsRequest

    if to is not None:
        check_file(to)
    elif format_ == "parquet" and sys.stdout.isatty():
        raise GridError("a terminal cannot show a Parquet file; name a file with --to")
    with open_place() as place:
        kind: Literal["json", "parquet"] = "parquet" if format_ == "parquet" else "json"
        found = verbs.results(place, place.name(sweep), ResultsRequest(format=kind, table=table))
    if isinstance(found, verbs.File):
        content = found.content
    elif format_ == "csv":
        content = as_csv_text(found.trials if table == "trials" else found.scores).encode()
    else:
        content = as_json_text(found).encode()
    if to is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
    else:
        to.write_bytes(content)
        say(str(to))


@app.command()
def compare(
    sweeps: Annotated[
        list[str], typer.Argument(metavar="A B [C…]", help="Names of two sweeps or more.", autocompletion=sweep_names)
    ],
    metric: Annotated[str, typer.Option("--metric", metavar="NAME", help="The metric to show.")] = "dsc",
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Compare sweeps: shared trials, settings, differences.

    Example: sweeper compare demo demo-again
    """
    from sweeper import verbs
    from sweeper.run.compared import compared_lines
    from sweeper.verbs.requests import CompareRequest

    if len(sweeps) < 2:
        raise GridError("a comparison needs two sweeps or more: sweeper compare A B")
    with open_place() as place:
        first, *others = map(place.name, sweeps)
        found = verbs.compare(place, first, CompareRequest(others=",".join(others)))
    if printed(found, found.differences, as_json=as_json, as_csv=as_csv):
        return
    for line in compared_lines(found, metric):
        say(line)


@app.command()
def power(sweep: SweepArgument = None, as_json: JsonOption = False, as_csv: CsvOption = False) -> None:
    """Show which difference between losses a sweep can find.

    Example: sweeper power demo
    """
    from sweeper import verbs
    from sweeper.analysis.power import Enough, power_lines

    with open_place() as place:
        found = verbs.power(place, place.name(sweep))
    if printed(found, found.power, as_json=as_json, as_csv=as_csv):
        return
    for line in power_lines([Enough.from_dict(one.model_dump()) for one in found.power]):
        say(line)
