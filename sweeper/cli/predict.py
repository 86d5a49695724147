"""`sweeper predict`: applies a trained network to new images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import check_folder, open_session, say

app = typer.Typer()


@app.command()
def predict(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="Name of the sweep.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILES…", help="Images or volumes, or folders of them.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder to write to.")],
    dataset: Annotated[str | None, typer.Option(metavar="NAME", help="Data set, of a sweep with several.")] = None,
    trial: Annotated[str | None, typer.Option(metavar="HASH", help="The network of this trial.")] = None,
    loss: Annotated[str | None, typer.Option(metavar="NAME", help="The best network of this loss.")] = None,
    gamma: Annotated[float | None, typer.Option(metavar="G", help="The best network with this γ.")] = None,
    ensemble: Annotated[bool, typer.Option("--ensemble", help="Average the softmax of all repeats or folds.")] = False,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write the softmax.")] = False,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write a picture for each image.")] = False,
    masks: Annotated[Path | None, typer.Option(metavar="DIR", help="Masks of the same names, to score by.")] = None,
    fields: Annotated[Path | None, typer.Option(metavar="DIR", help="Masks of the field of view.")] = None,
) -> None:
    """Apply what validation chose to new images or volumes.

    The same command again resumes. Status 1 if an image failed.

    Example: sweeper predict demo images --to predicted --overlay
    """
    from sweeper.errors import GridError
    from sweeper.grids.names import naming_of
    from sweeper.run import prediction as work
    from workers.inference.applying import means

    if fields is not None and masks is None:
        raise GridError("--fields goes with --masks: it says which pixels are scored")
    work.check_apart(to, files)
    check_folder(to)
    with open_session() as session:
        choice = work.Choice(dataset, trial, loss, gamma, ensemble)
        trials = work.choose(session.repository, sweep, choice)
        stored = session.repository.sweep(sweep)
        request = work.make_request(
            session.settings,
            stored,
            trials,
            to=to,
            probabilities=probabilities,
            overlay=overlay,
        )
        label = naming_of(stored.grid).label(trials[0].spec)
    dsc = "undefined" if trials[0].val_dsc is None else f"{trials[0].val_dsc:.3f}"
    others = f" and {len(trials) - 1} more of its cell" if len(trials) > 1 else ""
    say(f"{label}, trial {trials[0].hash[:8]}{others}: validation DSC {dsc}")
    jobs, errors = work.find_jobs(request.recipe.intake, files)
    if masks is not None:
        jobs, without = work.with_masks(jobs, masks, fields)
        errors += without
    for error in errors:
        say(error)
    outcome = work.predict(
        request, jobs, work.identity_of(trials), lambda done, count, line: say(f"[{done}/{count}] {line}")
    )
    for name, mean in means(outcome.scores, "dsc"):
        cases = len({score.case for score in outcome.scores})
        say(f"mean DSC {name}: {mean:.4f} over {cases} image{'s' if cases != 1 else ''}")
    before = f", {outcome.kept} were there already" if outcome.kept else ""
    failed = len(errors) + len(outcome.errors)
    say(f"{outcome.done} predicted{before}{f', {failed} not' if failed else ''}: {to}")
    if failed:
        raise typer.Exit(1)
