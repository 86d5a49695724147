"""Commands on a sweep that runs or has run: watch it, change its concurrency, run one trial alone, clean up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import AllowOption, SweepArgument, chosen_sweep, console, open_place, open_session, say

app = typer.Typer(rich_markup_mode=None)
TrialArgument = Annotated[str, typer.Argument(metavar="HASH", help="The first digits of the trial's hash.")]


@app.command()
def attach(sweep: SweepArgument = None) -> None:
    """Show the progress of a running sweep; Ctrl-C does not stop it.

    Example: sweeper attach demo
    """
    from sweeper.run.background import follow
    from sweeper.run.lease import running

    with open_session() as session:
        name = chosen_sweep(session, sweep)
        if not running(session.repository, name):
            console().print(f"nobody is running {name}; resume it with: sweeper resume {name}", markup=False)
            return
        slots = max(len(session.repository.attempts_of_sweep(name)), 1)
        try:
            state = follow(session.repository, name, console(), min(slots, 64))
        except KeyboardInterrupt:
            console().print(f"{name} keeps running; stop it with: sweeper stop {name}", markup=False)
            return
        console().print(f"{name} is {state.value}; see: sweeper status {name}", markup=False, highlight=False)


@app.command()
def scale(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP")],
    trials: Annotated[int, typer.Argument(metavar="N", min=1, help="How many trials may run at once.")],
) -> None:
    """Change how many trials a running sweep trains at once.

    Example: sweeper scale demo 1
    """
    from sweeper import verbs
    from sweeper.verbs.requests import ScaleRequest, request

    with open_place() as place:
        say(verbs.scale(place, place.name(sweep), request(ScaleRequest, concurrency=trials)).message)


@app.command()
def run(
    trial: TrialArgument,
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="New folder for its files.")] = None,
    plugin: AllowOption = None,
) -> None:
    """Train one trial alone on this machine, to debug or reproduce it.

    Example: sweeper run 7d47f8
    """
    import tempfile

    from sweeper.grids.names import naming_of
    from sweeper.grids.plugged import allow_files
    from sweeper.run.single_trial import differences, run_alone

    with open_session() as session:
        stored = session.repository.trial(trial)
        if stored.sweep is not None:
            allow_files(session.repository, stored.sweep, plugin or ())
            (stored,) = naming_of(session.repository.sweep(stored.sweep).grid).labelled([stored])
        folder = to or Path(tempfile.mkdtemp(prefix=f"sweeper-{stored.hash[:8]}-"))
        out = console()
        out.print(f"{stored.label} in {folder}", markup=False, highlight=False, soft_wrap=True)
        result = run_alone(
            session.settings,
            session.repository,
            stored,
            folder,
            lambda line: out.print(line, markup=False, highlight=False),
        )
        if stored.best_epoch is None:
            out.print("finished; no stored result to compare with", markup=False)
            return
        differing = differences(session.repository, stored, result)
        for line in differing[:20]:
            out.print(line, markup=False, highlight=False)
        out.print(
            f"{len(differing)} of {len(result.scores)} scores differ from the stored ones"
            if differing
            else f"all {len(result.scores)} scores equal the stored ones",
            markup=False,
            highlight=False,
        )


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing.")] = False,
) -> None:
    """Remove checkpoints, logs and prepared data that nothing needs.

    Example: sweeper gc --dry-run
    """
    from sweeper.garbage import find_garbage
    from sweeper.run.upkeep import finish_changes

    with open_session() as session:
        for line in () if dry_run else finish_changes(session.settings, session.repository):
            console().print(line, markup=False, highlight=False, soft_wrap=True)
        found = find_garbage(session.settings, session.repository)
        for garbage in found:
            if not dry_run:
                garbage.remove()
            line = f"{garbage.size / 1e6:8.1f} MB  {garbage.path}: {garbage.why}"
            console().print(line, markup=False, highlight=False, soft_wrap=True)
        total = sum(g.size for g in found) / 1e6
        verb = "would free" if dry_run else "freed"
        console().print(f"{verb} {total:.1f} MB", markup=False, highlight=False)
