"""`sweeper rename` and `sweeper delete`, on this machine or of a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.cli.options import open_place, say, sweep_names

if TYPE_CHECKING:
    from sweeper.views.objects import DeletedObject

app = typer.Typer(rich_markup_mode=None)
# A sweep is named here always: the newest would be a guess.
Sweep = Annotated[str, typer.Argument(metavar="SWEEP", help="Name of the sweep.", autocompletion=sweep_names)]


@app.command()
def rename(sweep: Sweep, new: Annotated[str, typer.Argument(metavar="NEW", help="A name that no sweep has.")]) -> None:
    """Give a sweep another name.

    Example: sweeper rename dmeo demo
    """
    from sweeper import verbs
    from sweeper.verbs.requests import RenameRequest, request

    with open_place() as place:
        say(verbs.rename(place, place.name(sweep), request(RenameRequest, to=new)).message)


@app.command()
def delete(sweep: Sweep, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete a sweep; trials that other sweeps share stay.

    Example: sweeper delete dmeo
    """
    from sweeper import verbs

    with open_place() as place:
        name = place.name(sweep)
        if not yes:
            for line in _lines(verbs.deletion(place, name)):
                say(line)
            if not _agreed(f"Delete {name}? It cannot be brought back"):
                say("\nnothing was deleted; to delete without being asked: --yes")
                raise typer.Exit(1)
        done = verbs.delete(place, name)
    if yes:
        for line in _lines(done):
            say(line)
    for line in done.left:
        say(line)
    say(f"{name} is deleted")


def _agreed(question: str) -> bool:
    """Asks; whoever is no terminal and says nothing does not agree."""
    try:
        return typer.confirm(question)
    except typer.Abort:
        return False


def _lines(found: DeletedObject) -> list[str]:
    stay = f"; {found.kept} that other sweeps have stay" if found.kept else ""
    return [
        f"database: {found.trials} trials with {found.attempts} attempts, {found.epochs} epochs and {found.scores} "
        f"scores go{stay}",
        f"Optuna: {len(found.studies)} studies go",
        f"MLflow: the runs of the sweep and of {found.trials} trials are marked as deleted (`mlflow gc` removes their "
        "files), and its registered models go",
        f"disk: {found.files} files and folders go, {found.bytes / 1e6:.1f} MB (networks, predictions, logs, report); "
        "prepared data stay, see: sweeper gc",
    ]
