"""Options that several commands share, and what turns them into objects."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeper.errors import SettingsError

if TYPE_CHECKING:
    from sweeper.grids.schema import Grid
    from sweeper.server.client import Client
    from sweeper.session import Session
    from sweeper.settings import Settings
    from sweeper.verbs import Place


def _grid_names(incomplete: str) -> list[str]:
    """For the shell's completion; the shell completes file names itself."""
    from sweeper.grids.files import shipped

    return [name for name in shipped() if name.startswith(incomplete)]


def sweep_names(incomplete: str) -> list[str]:
    """For the shell's completion: none where there is no database, or none that can be read."""
    from trials.errors import ExpectedError

    try:
        with open_session() as session:
            return [s.name for s in session.repository.sweeps() if s.name.startswith(incomplete)]
    except ExpectedError:
        return []


GridOption = Annotated[
    str,
    typer.Option(
        "--grid",
        "-g",
        metavar="NAME|FILE",
        help="A shipped grid (sweeper grids), or a file.toml.",
        autocompletion=_grid_names,
    ),
]
DataOption = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Folder with one folder per data set.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the grid; may be repeated.")
]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="A file with losses, networks, data sets and so on."),
]
AllowOption = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="Let this code of an imported sweep run: a file of its content."),
]
NameOption = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Name of the sweep (default: the grid's name).")
]
RehearseOption = Annotated[
    bool, typer.Option("--rehearse", help="Run the same trials, but tiny and on synthetic files.")
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="Predict for this GPU: P100, A100 or H100.")
]
LimitOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Start at most N trials; the others stay queued.")
]
# A service that takes over from a coordinator which had reached its limit lets nothing more start: 0.
RestOption = Annotated[
    int | None, typer.Option("--limit", min=0, metavar="N", help="Start at most N trials; the others stay queued.")
]
HoursOption = Annotated[
    float | None, typer.Option("--hours", metavar="N", help="End after so many hours; `resume` continues.")
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="End by 07:00, or by 2030-01-31T07:00.")
]
DetachOption = Annotated[bool, typer.Option("--detach", help="Run in the background, or as a job of the cluster.")]
NotifyOption = Annotated[
    str | None, typer.Option("--notify", metavar="COMMAND|URL", help="Send JSON here when it ends, breaks or stalls.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")]
SweepArgument = Annotated[
    str | None,
    typer.Argument(metavar="[SWEEP]", help="Name of the sweep (default: the newest).", autocompletion=sweep_names),
]


def console() -> Console:
    """Where a person reads."""
    return _Told(soft_wrap=not sys.stdout.isatty())


class _Told(Console):
    """rich ends the process where the reader has gone; whether that is right is decided by who prints."""

    def on_broken_pipe(self) -> None:
        raise  # it is called while the error is handled


def coordinator_console(settings: Settings) -> Console:
    """Where a coordinator speaks: to a person, or into the log as JSON where SWEEPER_LOG_FORMAT asks for it."""
    if settings.log_format == "text" or sys.stdout.isatty():
        return console()
    from sweeper import logs

    logs.configure("json")
    return logs.log_console("sweeper.run.coordinator")


@contextmanager
def open_session(data: Path | None = None, *, notify: str | None = None, create: bool = False) -> Iterator[Session]:
    """A session by the environment.

    Args:
        data: the option `--data`.
        notify: the option `--notify`.
        create: whether to make the home folder and the database's tables where they are missing; a command that
            only looks makes nothing.

    Raises:
        SettingsError: the home folder cannot be made or written.
        StorageError: the database cannot be used.
        UnknownSweepError: there is no database yet, and none is to be made.
    """
    from storage.database import open_database
    from storage.errors import UnknownSweepError
    from storage.repository import Repository
    from sweeper.session import Session
    from sweeper.settings import load_settings

    settings = load_settings(data=data, notify=notify)
    embedded = not settings.database_url
    if not create and embedded and not (settings.home / "sweeper.db").exists():
        raise UnknownSweepError(f"no sweep was launched yet in {settings.home}; try: sweeper launch --grid demo")
    if create and embedded:
        settings.make_home()
    # With a server, that comes first: a wrong URL must not leave an empty home behind.
    with open_database(settings.database, create=create) as database:
        if create:
            settings.make_home()
        yield Session(settings, Repository(database), coordinator_console(settings))


def service() -> Client | None:
    """The service that `--server` or SWEEPER_SERVER names; None if the commands work on this machine.

    Raises:
        ServerError, SettingsError: its address or the token cannot be used.
    """
    if not _server:
        return None
    from sweeper.server.client import connect

    return connect(_server)


_server = ""


def use_server(url: str) -> None:
    """Sends the commands to a service; an empty address means this machine."""
    global _server
    _server = url


@contextmanager
def open_place() -> Iterator[Place]:
    """Where verbs are carried out: the service that was named, or this machine.

    Raises:
        ServerError: the service is unreachable.
        SettingsError, StorageError: see `open_session`.
    """
    from sweeper.verbs import Host

    if (there := service()) is not None:
        with there:
            yield there
        return
    with open_session() as session:
        yield Host(session.settings, session.repository)


def check_folder(path: Path) -> None:
    """Refuses a folder that was named and cannot be written, before any work is done for it.

    Raises:
        SettingsError: see above.
    """
    from sweeper.settings import write_fault

    if (fault := write_fault(path)) is not None:
        raise SettingsError(f"{path} cannot be written: {fault}; name another folder")


def check_file(path: Path) -> None:
    """The same for a file.

    Raises:
        SettingsError: see above.
    """
    if path.is_dir():
        raise SettingsError(f"{path} cannot be written: it is a folder; name a file in it")
    check_folder(path.parent)


def chosen_sweep(session: Session, name: str | None) -> str:
    """The named sweep, or the newest one.

    Raises:
        UnknownSweepError: no sweep of that name, or none at all.
    """
    from sweeper.verbs import Host

    return Host(session.settings, session.repository).name(name)


def chosen_grid(grid: str, sets: list[str] | None, name: str | None) -> Grid:
    """The grid with its changes, under the wanted name."""
    from sweeper.grids.files import load_grid

    changes = [*(sets or ()), *([f'name="{name}"'] if name else ())]
    return load_grid(grid, changes)


def say(line: str) -> None:
    """Prints a line as it is."""
    console().print(line, markup=False, highlight=False, soft_wrap=True)


def as_json_text(value: object) -> str:
    """A typed answer, or plain values, as JSON."""
    import json

    from pydantic_core import to_jsonable_python

    return json.dumps(to_jsonable_python(value), indent=2, allow_nan=False) + "\n"


def print_json(value: object) -> None:
    """Writes a value to standard output as JSON."""
    sys.stdout.write(as_json_text(value))


def as_csv_text(rows: Sequence[object]) -> str:
    """Typed rows, or plain tables of values, as CSV with a line of names; a value that is a table has a column for each
    of its own, such as `counts.failed`, and what is undefined is empty."""
    import csv
    import io

    from pydantic_core import to_jsonable_python

    from trials.spec import dotted

    plain = [dict(dotted(to_jsonable_python(row))) for row in rows]
    names = dict.fromkeys(name for row in plain for name in row)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(names), lineterminator="\n")
    writer.writeheader()
    for row in plain:
        writer.writerow({k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in row.items()})
    return out.getvalue()


def print_csv(rows: Sequence[object]) -> None:
    """Writes rows to standard output as CSV."""
    sys.stdout.write(as_csv_text(rows))


def printed(value: object, rows: Sequence[object], *, as_json: bool, as_csv: bool) -> bool:
    """Prints an answer for a program where one of the options asks for it; whether one does."""
    refuse_both(as_json=as_json, as_csv=as_csv)
    if as_json:
        print_json(value)
    elif as_csv:
        print_csv(rows)
    return as_json or as_csv


def print_descriptions(rows: Sequence[Mapping[str, str]], *, as_json: bool, as_csv: bool) -> None:
    """Prints things of a `name` with a `description` each, in the form that the options ask for."""
    if printed(rows, rows, as_json=as_json, as_csv=as_csv):
        return
    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(Text(row["name"], style="bold"), Text(row["description"]))
    console().print(table)


def refuse_both(*, as_json: bool, as_csv: bool) -> None:
    """Refuses two forms at once, before any work."""
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other; choose one")
