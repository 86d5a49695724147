"""`sweeper data`: list, check, prepare, split, show and synthesise data sets."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from sweeper.cli.options import (
    CsvOption,
    DataOption,
    GridOption,
    JsonOption,
    check_file,
    check_folder,
    console,
    printed,
)

if TYPE_CHECKING:
    from sweeper.data.preparation import ReadyDataset
    from sweeper.grids.schema import Grid
    from workers.datasets.prepared import PreparedDataset

app = typer.Typer(rich_markup_mode=None)
DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET", help="A data set's name (sweeper data list).")]


@app.callback(invoke_without_command=True)
def data(context: typer.Context) -> None:
    """List, check, prepare, split, show and synthesise data sets.

    Example: sweeper data list
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
def list_(data: DataOption = None, as_json: JsonOption = False, as_csv: CsvOption = False) -> None:
    """List the built-in data sets: where each is, or how to get it.

    Example: sweeper data list --data ~/data
    """
    from sweeper.data.preparation import locate
    from sweeper.grids.schema import DatasetTable
    from sweeper.settings import load_settings
    from workers.datasets import get_reader, names
    from workers.errors import DataError

    settings = load_settings(data=data)
    if as_json or as_csv:
        rows = []
        for name in names():
            about = get_reader(name).about
            row = {"name": name, "title": about.title, "page": about.page, "licence": about.licence, "folder": ""}
            if about.licence != "your own":
                with suppress(DataError):
                    row["folder"] = str(locate(DatasetTable(name=name), settings))
            rows.append(row)
        printed(rows, rows, as_json=as_json, as_csv=as_csv)
        return
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
    """Measure a data set; find damaged files and what `launch` refuses.

    Example: sweeper data check drive --data ~/data
    """
    from sweeper.data.preparation import check_data
    from sweeper.settings import load_settings

    found = check_data(_grid_of(dataset, grid), load_settings(data=data))
    console().print(found.text(), markup=False, highlight=False)
    if not found.ok:
        raise typer.Exit(1)


@app.command()
def prepare(dataset: DatasetArgument, grid: GridOption = "paper", data: DataOption = None) -> None:
    """Preprocess a data set once, for all trials.

    Example: sweeper data prepare brats20 --data ~/data
    """
    from workers.datasets.coverage import emptied_masks
    from workers.datasets.reader import listed

    whole = _prepared(_grid_of(dataset, grid), data)
    console().print(f"{len(whole.cases)} cases in {whole.path}", markup=False, highlight=False, soft_wrap=True)
    for line in listed(whole.excluded):
        console().print(f"left out {line}", markup=False, highlight=False)
    for case, label in emptied_masks(whole.cases, whole.classes):
        console().print(f"lost by resizing: class {label!r} of {case}", markup=False, highlight=False)


@app.command()
def split(
    dataset: DatasetArgument,
    grid: GridOption = "paper",
    data: DataOption = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="The CSV file to write, for split.file in a grid.")
    ] = None,
) -> None:
    """Show how a data set is split, or write its split as CSV.

    Example: sweeper data split nuclei --grid demo --export split.csv
    """
    from workers.datasets.own_splits import split_table
    from workers.files import atomic_write

    if export is not None:
        check_file(export)
    one = _grid_of(dataset, grid)
    ready = _ready(one, data)
    for fold, own in {fold: own for (repeat, fold), own in ready.splits.items() if repeat == 0}.items():
        place = "" if fold is None else f"fold {fold}: "
        sizes = f"{len(own.train)} training, {len(own.validation)} validation and {len(own.test)} test cases"
        console().print(f"{place}{sizes} (split {own.hash})", markup=False, highlight=False)
    if one.datasets[0].split.resplit:
        console().print("each repeat draws anew: this is the split of the first", markup=False, highlight=False)
    if export is not None:
        with atomic_write(export) as file:
            file.write(split_table(ready.splits).encode())
        console().print(str(export), markup=False, highlight=False, soft_wrap=True)


@app.command()
def show(
    dataset: DatasetArgument,
    grid: GridOption = "paper",
    data: DataOption = None,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The PNG to write.")] = Path("contact-sheet.png"),
    augmented: Annotated[
        int, typer.Option(min=0, max=20, metavar="N", help="Show N augmented samples beside each image.")
    ] = 0,
) -> None:
    """Write a contact sheet: images with masks, augmented samples.

    Example: sweeper data show nuclei --grid demo --augmented 4
    """
    from sweeper.data.preparation import augmented_samples
    from workers.datasets import contact_sheet

    check_file(to)
    one = _grid_of(dataset, grid)
    whole = _prepared(one, data)
    contact_sheet(whole, to, augmented=augmented_samples(one, whole) if augmented else None, samples=augmented)
    console().print(str(to), markup=False, highlight=False, soft_wrap=True)


@app.command()
def synth(
    dataset: DatasetArgument,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="An empty or new folder.")],
    cases: Annotated[int, typer.Option(min=3, metavar="N", help="How many cases.")] = 10,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of all that is random.")] = 0,
    size: Annotated[
        str | None,
        typer.Option(metavar="N,N[,N]", help="Height,width or slices,rows,columns (default: as the real set)."),
    ] = None,
) -> None:
    """Write a small synthetic data set in the layout of a public one.

    Example: sweeper data synth kits19 --cases 6 --to /tmp/kits19
    """
    from workers.datasets.synthetic import synthesise

    check_folder(to)
    synthesise(dataset, cases, to, seed, _sizes(size))
    console().print(f"{cases} synthetic cases of {dataset} in {to}", markup=False, highlight=False, soft_wrap=True)


def _sizes(text: str | None) -> tuple[int, ...] | None:
    """`48,64` as numbers."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: whole numbers with commas, such as 48,64") from error


def _grid_of(dataset: str, grid: str) -> Grid:
    """The grid with that data set alone: as in the grid, or with its reader's defaults if the grid lacks it."""
    from sweeper.grids.files import load_grid
    from sweeper.grids.schema import DatasetTable
    from workers.datasets import get_reader

    whole = load_grid(grid)
    table = next((t for t in whole.datasets if t.name == dataset), None)
    if table is None:
        get_reader(dataset)
        table = DatasetTable(name=dataset)
    return whole.model_copy(update={"datasets": (table,)})


def _prepared(grid: Grid, data: Path | None) -> PreparedDataset:
    """The grid's only data set, prepared."""
    return _ready(grid, data).prepared


def _ready(grid: Grid, data: Path | None) -> ReadyDataset:
    """The grid's only data set, prepared and split."""
    from sweeper.data.preparation import prepare as prepare_all
    from sweeper.run.launch import damage_line, preparation_line, say_warnings
    from sweeper.settings import load_settings

    settings = load_settings(data=data)
    settings.make_home()
    ready = prepare_all(grid, settings, preparation_line(console()), damaged=damage_line(console()))
    say_warnings(console(), ready)
    return ready[grid.datasets[0].name]
