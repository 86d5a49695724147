"""`sweeper data`: list, check, prepare, show and synthesise data sets."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from sweeper.cli.options import DataOption, GridOption, check_file, check_folder, console

if TYPE_CHECKING:
    from sweeper.grid import DatasetTable
    from workers.prepared import PreparedDataset

app = typer.Typer(rich_markup_mode=None)
DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET", help="A data set's name (sweeper data list).")]


@app.callback(invoke_without_command=True)
def data(context: typer.Context) -> None:
    """List, check, prepare, show and synthesise data sets.

    Example: sweeper data list
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
def list_(data: DataOption = None) -> None:
    """List the built-in data sets: where each is, or how to get it.

    Example: sweeper data list --data ~/data
    """
    from sweeper.data import locate
    from sweeper.grid import DatasetTable
    from sweeper.settings import load_settings
    from workers.datasets import get_reader, names
    from workers.errors import DataError

    settings = load_settings(data=data)
    for name in names():
        about = get_reader(name).about
        lines = [about.title]
        if about.licence != "your own":
            try:
                place = f"here     {locate(DatasetTable(name=name), settings)}"
            except DataError:
                place = f"missing  expected in {settings.data_root / name}"
            lines += [f"page     {about.page}", f"licence  {about.licence}", place]
        lines.append(f"files    {indent(about.layout, ' ' * 9).strip()}")
        console().print(Text(name, style="bold"))
        console().print(Text(indent("\n".join(lines), "  ")), soft_wrap=True)


@app.command()
def check(dataset: DatasetArgument, grid: GridOption = "paper", data: DataOption = None) -> None:
    """Count, measure, look for damaged files; compare with the paper.

    Example: sweeper data check drive --data ~/data
    """
    from sweeper.data import locate, reader_of
    from sweeper.settings import load_settings
    from workers.datasets import check as examine

    table = _table(dataset, grid)
    found = examine(reader_of(table), locate(table, load_settings(data=data)))
    console().print(found.text(), markup=False, highlight=False)
    if found.problems:
        raise typer.Exit(1)


@app.command()
def prepare(dataset: DatasetArgument, grid: GridOption = "paper", data: DataOption = None) -> None:
    """Preprocess a data set once, for all trials.

    Example: sweeper data prepare brats20 --data ~/data
    """
    whole = _prepared(dataset, grid, data)
    console().print(f"{len(whole.cases)} cases in {whole.path}", markup=False, highlight=False, soft_wrap=True)
    for case, reason in whole.excluded:
        console().print(f"left out {case}: {reason}", markup=False, highlight=False)


@app.command()
def show(
    dataset: DatasetArgument,
    grid: GridOption = "paper",
    data: DataOption = None,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The PNG to write.")] = Path("contact-sheet.png"),
) -> None:
    """Write a contact sheet: images with masks, augmented samples.

    Example: sweeper data show nuclei --grid demo --to nuclei.png
    """
    from workers.datasets import contact_sheet

    check_file(to)
    contact_sheet(_prepared(dataset, grid, data), to)
    console().print(str(to), markup=False, highlight=False, soft_wrap=True)


@app.command()
def synth(
    dataset: DatasetArgument,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="An empty or new folder.")],
    cases: Annotated[int, typer.Option(min=3, metavar="N", help="How many cases.")] = 10,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of everything random.")] = 0,
) -> None:
    """Write a small synthetic set in the layout of a public one.

    Example: sweeper data synth kits19 --cases 6 --to /tmp/kits19
    """
    from workers.datasets.synthetic import synthesise

    check_folder(to)
    synthesise(dataset, cases, to, seed)
    console().print(f"{cases} synthetic cases of {dataset} in {to}", markup=False, highlight=False, soft_wrap=True)


def _table(dataset: str, grid: str) -> DatasetTable:
    """The data set as the grid has it, or with its reader's defaults where the grid lacks it."""
    from sweeper.grid import DatasetTable
    from sweeper.grids import load_grid
    from workers.datasets import get_reader

    for table in load_grid(grid).datasets:
        if table.name == dataset:
            return table
    get_reader(dataset)
    return DatasetTable(name=dataset)


def _prepared(dataset: str, grid: str, data: Path | None) -> PreparedDataset:
    from sweeper.data import locate, reader_of
    from sweeper.settings import load_settings
    from workers.prepared import prepare as prepare_folder

    table, settings = _table(dataset, grid), load_settings(data=data)
    settings.make_home()
    return prepare_folder(reader_of(table), locate(table, settings), settings.prepared, exclude=table.exclude)
