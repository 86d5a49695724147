"""Commands that look at a sweep and its trials: their state, one trial whole, and its output."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Annotated

import typer

from sweeper.cli.options import (
    CsvOption,
    JsonOption,
    SweepArgument,
    chosen_sweep,
    console,
    open_place,
    open_session,
    print_csv,
    print_json,
    printed,
    service,
)
from sweeper.errors import ServerError

FOLLOW_SECONDS = 1.0
"""How often `logs --follow` looks for what is new."""

app = typer.Typer(rich_markup_mode=None)


@app.command()
def status(
    sweep: SweepArgument = None,
    trials: Annotated[bool, typer.Option("--trials", help="List every trial.")] = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    follow: Annotated[
        bool, typer.Option("--watch", help="Show a live heat map of the grid; Ctrl-C leaves it.")
    ] = False,
) -> None:
    """Show the state of a sweep, loss by loss, and of its trials.

    Example: sweeper status demo --trials
    """
    from sweeper import verbs
    from sweeper.verbs.requests import StatusRequest
    from sweeper.views.status import status_text

    if sum((follow, as_json, as_csv)) > 1:
        raise typer.BadParameter("--watch, --json and --csv exclude each other; choose one")
    if follow and service() is not None:
        raise ServerError("--watch needs the database itself; use the board of the service instead")
    if follow:
        from sweeper.views.terminal import watch

        with open_session() as session:
            watch(session.repository, chosen_sweep(session, sweep), console())
        return
    with open_place() as place:
        found = verbs.status(place, place.name(sweep), StatusRequest(brief=not (as_json or as_csv)))
    if as_json:
        print_json(found)
    elif as_csv:
        print_csv(found.trials if trials or not found.groups else found.groups)
    else:
        console().print(status_text(found, trials=trials))


@app.command()
def show(
    trial: Annotated[str, typer.Argument(metavar="HASH", help="The first digits of the trial's hash.")],
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Show everything about one trial; as CSV, its attempts.

    Example: sweeper show 7d47f8
    """
    from sweeper import verbs
    from sweeper.views.status import trial_text

    with open_place() as place:
        found = verbs.trial(place, trial)
    if not printed(found, found.attempts, as_json=as_json, as_csv=as_csv):
        console().print(trial_text(found))


@app.command()
def logs(
    trial: Annotated[str, typer.Argument(metavar="HASH", help="The first digits of the trial's hash.")],
    tail: Annotated[
        int | None, typer.Option("--tail", min=0, max=1_000_000, metavar="N", help="Only the last N lines.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Also print what follows, until the trial ends; Ctrl-C leaves it.")
    ] = False,
) -> None:
    """Print the output of a trial's training process.

    Example: sweeper logs 7d47f8 --tail 20 --follow
    """
    from sweeper import verbs
    from sweeper.verbs.requests import LogPartRequest

    with open_place() as place, suppress(KeyboardInterrupt):
        if tail is None and not follow:
            typer.echo(verbs.trial_log(place, trial), nl=False)
            return
        part = verbs.trial_log_part(place, trial, LogPartRequest(tail=tail))
        while True:
            typer.echo(part.text, nl=False)
            if not part.text and not (follow and part.running):
                return
            if not part.text:
                time.sleep(FOLLOW_SECONDS)
            part = verbs.trial_log_part(place, part.trial, LogPartRequest(after=part.after))
