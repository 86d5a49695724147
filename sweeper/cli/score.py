"""`sweeper score`: masks that were made elsewhere, into the tables of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import SweepArgument, chosen_sweep, console, open_session

app = typer.Typer()


@app.command()
def score(
    predictions: Annotated[Path, typer.Option(metavar="DIR", help="Folder with a mask for each test image.")],
    dataset: Annotated[str, typer.Option(metavar="NAME", help="The sweep's data set that they are of.")],
    label: Annotated[str, typer.Option(metavar="NAME", help="Their name in tables and figures, such as nnunet.")],
    sweep: SweepArgument = None,
    pattern: Annotated[str, typer.Option(metavar="PATTERN", help="Their files; {id} is the case.")] = "{id}.*",
) -> None:
    """Score masks made elsewhere into a sweep's tables.

    Example: sweeper score demo --predictions DIR --dataset nuclei --label nnunet
    """
    from sweeper.run.external_masks import score_masks
    from sweeper.run.publishing import finish

    with open_session() as now:
        name = chosen_sweep(now, sweep)
        scored = score_masks(
            now.repository, now.settings, name, dataset=dataset, label=label, folder=predictions, pattern=pattern
        )
        dsc = "undefined" if scored.trial.test_dsc is None else f"{scored.trial.test_dsc:.3f}"
        others = ", the validation images as well" if scored.validation else ""
        console().print(
            f"{label} on {dataset}: test DSC {dsc} over {scored.images} images{others}; trial {scored.trial.hash[:8]}",
            markup=False,
            highlight=False,
        )
        page = finish(now, name)[0]
        console().print(str(page), markup=False, highlight=False, soft_wrap=True)
