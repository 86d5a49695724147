"""Lists sweeps and their results, here or of a service; and what other commands print of a service's answers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from sweeper.cli.options import JsonOption, SweepArgument, check_file, console, open_sweeps, print_json
from sweeper.errors import GridError, ServerError

if TYPE_CHECKING:
    from sweeper.server.client import Client

app = typer.Typer(rich_markup_mode=None)


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the sweeps, newest first.

    Example: sweeper list
    """
    with open_sweeps() as sweeps:
        found = sweeps.list()
    if as_json:
        print_json(found)
        return
    table = Table.grid(padding=(0, 2))
    for one in found:
        counts = ", ".join(f"{count} {state}" for state, count in one["counts"].items() if count)
        state = f"{one['state']}{' (REHEARSAL)' if one['rehearsal'] else ''}"
        table.add_row(Text(one["sweep"], style="bold"), Text(state), Text(counts or one["reason"]))
    console().print(table)


@app.command()
def results(
    sweep: SweepArgument = None,
    format_: Annotated[Literal["json", "parquet"], typer.Option("--format", help="json: both tables.")] = "json",
    table: Annotated[
        Literal["scores", "trials"], typer.Option("--table", help="Which one a Parquet file holds.")
    ] = "scores",
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Standard output unless named.")] = None,
) -> None:
    """Write the trials, and their scores per image and class.

    Example: sweeper results demo --format parquet --to scores.parquet
    """
    if to is not None:
        check_file(to)
    elif format_ == "parquet" and sys.stdout.isatty():
        raise GridError("a Parquet file is nothing for a terminal; name a file with --to")
    with open_sweeps() as sweeps:
        name = sweeps.name(sweep)
        if format_ == "json" and to is None:
            print_json(sweeps.results(name))
            return
        content = as_bytes(sweeps.results(name)) if format_ == "json" else sweeps.results_parquet(name, table)
    if to is None:
        sys.stdout.buffer.write(content)
    else:
        to.write_bytes(content)
        say(str(to))


def as_bytes(value: Any) -> bytes:
    """A JSON value as the content of a file."""
    import json

    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def say(line: str) -> None:
    """Prints a line as it is."""
    console().print(line, markup=False, highlight=False, soft_wrap=True)


def asked(
    grid: str,
    sets: list[str] | None,
    name: str | None,
    data: Path | None,
    plugins: list[Path] | None,
    *,
    rehearse: bool,
    fresh: bool = False,
) -> dict[str, Any]:
    """What a service is asked for: a grid file is sent as its text.

    Raises:
        ServerError: an option that means something on the service's machine alone.
        GridError: the file cannot be read.
    """
    if data is not None:
        raise ServerError("--data: a service has a data folder of its own; leave the option out")
    if plugins:
        raise ServerError("--plugin: a service takes no code; its administrator installs the plug-in as a package")
    chosen = {"toml": _text(grid)} if grid.endswith(".toml") or "/" in grid else {"grid": grid}
    return {**chosen, "set": sets or [], "name": name, "rehearse": rehearse, "fresh": fresh}


def refuse_notify(notify: str | None) -> None:
    """Refuses what a service would run or call for whoever asks it.

    Raises:
        ServerError: see above.
    """
    if notify is not None:
        raise ServerError("--notify: a service tells whom its own SWEEPER_NOTIFY names; leave the option out")


def launch(there: Client, wanted: Mapping[str, Any]) -> None:
    """Submits a grid and says where it is."""
    answer = there.launch(wanted)
    _say_differences(answer["sweep"], answer["differences"])
    say(answer["message"])


def plan(there: Client, wanted: Mapping[str, Any], *, as_json: bool) -> None:
    """Shows a service's plan as one of this machine is shown."""
    from sweeper.run.plan import plan_text

    found = there.plan(wanted)
    differences = found.pop("differences", [])
    if as_json:
        print_json(found)
        return
    _say_differences(found["grid"], differences)
    console().print(plan_text(found))


def report(there: Client, name: str, out: Path | None, format_: str) -> None:
    """Fetches the report that a sweep's coordinator wrote.

    Raises:
        ServerError: another format than HTML, or it is not written yet.
    """
    if format_ != "html":
        raise ServerError(f"--format {format_}: a service gives the report as html; for others, run it there")
    page = there.report(name)
    folder = out or Path(f"{name}-report")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text(page, encoding="utf-8")
    say(str(folder / "report.html"))


def _say_differences(name: str, differences: list[str]) -> None:
    if differences:
        meant = name.removesuffix("-rehearsal")
        say(f"REHEARSAL of {meant}: its scores say nothing about the losses. It differs in:")
        for line in differences:
            say(f"  {line}")


def _text(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GridError(f"grid file {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
