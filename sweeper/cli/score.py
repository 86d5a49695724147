"""`sweeper score`: adds masks that another program made to a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import SweepArgument, chosen_sweep, console, open_session

app = typer.Typer()


@app.command()
def score(
    predictions: Annotated[Path, typer.Option(metavar="DIR", help="Folder with a mask for each test image.")],
    dataset: Annotated[str, typer.Option(metavar="NAME", help="Data set of the sweep that they belong to.")],
    label: Annotated[str, typer.Option(metavar="NAME", help="Name in tables and figures, such as nnunet.")],
    sweep: SweepArgument = None,
    pattern: Annotated[str, typer.Option(metavar="PATTERN", help="File names; {id} stands for the case.")] = "{id}.*",
) -> None:
    """Score masks of another program and add them to a sweep.

    Example: sweeper score demo --predictions DIR --dataset nuclei --label nnunet
    """
    from sweeper.run.external_masks import score_masks
    from sweeper.run.publishing import finish

    with open_session() as session:
        name = chosen_sweep(session, sweep)
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
        page = finish(session, name)[0]
        console().print(str(page), markup=False, highlight=False, soft_wrap=True)
