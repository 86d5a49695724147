"""`sweeper score`: adds masks that another program made to a sweep, or metrics that its scores lack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.cli.options import SweepArgument, chosen_sweep, console, open_session

if TYPE_CHECKING:
    from sweeper.session import Session

app = typer.Typer()


@app.command()
def score(
    sweep: SweepArgument = None,
    predictions: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with a mask for each test image.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Data set of the sweep that they belong to.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name in tables and figures, such as nnunet.")
    ] = None,
    pattern: Annotated[str, typer.Option(metavar="PATTERN", help="File names; {id} stands for the case.")] = "{id}.*",
) -> None:
    """Score masks of another program, or add metrics that scores lack.

    Without --predictions, metrics that scores lack are added, as by `rescore`.

    Example: sweeper score demo --predictions DIR --dataset nuclei --label nnunet
    """
    from sweeper.errors import GridError
    from sweeper.run.external_masks import score_masks
    from sweeper.run.publishing import finish

    given = {"--predictions": predictions, "--dataset": dataset, "--label": label}
    absent = [option for option, value in given.items() if value is None]
    if absent and len(absent) < len(given):
        raise GridError(f"masks of another program need {', '.join(given)}; missing: {', '.join(absent)}")
    with open_session() as session:
        name = chosen_sweep(session, sweep)
        if predictions is None or dataset is None or label is None:
            _rescore(session, name, ())
            return
        scored = score_masks(
            session.repository,
            session.settings,
            name,
            dataset=dataset,
            label=label,
            folder=predictions,
            pattern=pattern,
        )
        dsc = "undefined" if scored.trial.test_dsc is None else f"{scored.trial.test_dsc:.3f}"
        others = ", the validation images as well" if scored.validation else ""
        console().print(
            f"{label} on {dataset}: test DSC {dsc} over {scored.images} images{others}; trial {scored.trial.hash[:8]}",
            markup=False,
            highlight=False,
        )
        page = finish(session, name).files[0]
        console().print(str(page), markup=False, highlight=False, soft_wrap=True)


@app.command()
def rescore(
    sweep: SweepArgument = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME", help="A further metric, such as nsd or 'nsd(tolerance=2)'."),
    ] = None,
) -> None:
    """Add metrics to the scores of finished trials.

    From kept predictions and networks: nothing is trained.

    Added are those that the grid asks for, those of --metric, and each structure's size. No hash changes.

    Example: sweeper rescore demo --metric nsd
    """
    from sweeper.errors import GridError
    from sweeper.run.filling import asked_metrics
    from trials import metrics

    with open_session() as session:
        name = chosen_sweep(session, sweep)
        asked_metrics(session.repository.sweep(name))  # loads the metrics of its plug-ins
        further = []
        for one in metric or ():
            found = metrics.find(one) if "(" in one else metrics.choose(one)
            if found is None:
                raise GridError(f"--metric {one!r}: no such metric or setting, see docs/metrics.md")
            further.append(found.name)
        _rescore(session, name, further)


def _rescore(session: Session, name: str, further: Sequence[str]) -> None:
    from sweeper.run.filling import fill
    from sweeper.run.publishing import finish

    filled = fill(session, name, described=True, further=further)
    if not filled.trials and not filled.unfilled:
        console().print("no score lacks a metric that was asked for", markup=False, highlight=False)
    console().print(str(finish(session, name).files[0]), markup=False, highlight=False, soft_wrap=True)
