"""A grid that comes over the network: checked as `launch` checks one, and that it names nothing outside of the data.

It may name shipped grids, readers, losses and networks of this installation, and folders below the data folder. It
brings no code: plug-ins are those that are installed beside the service.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from sweeper.data.rehearsal import differences, rehearsal_of
from sweeper.errors import GridError
from sweeper.grids.files import grid_of_text, load_grid, shipped
from sweeper.grids.limits import MAX_CELLS, check_trials
from sweeper.grids.schema import Grid, names_used
from sweeper.settings import Settings
from sweeper.verbs.requests import PlanRequest
from workers.errors import nearest
from workers.plugins import describe_for


def submitted_grid(asked: PlanRequest, settings: Settings) -> tuple[Grid, list[str]]:
    """The grid of a request, and how it differs from the one that was meant where it is a rehearsal.

    Raises:
        GridError, InputError: no such shipped grid, no TOML, a wrong key or value, too many trials, or a path that
            leads out of the data folder.
    """
    changes = [*asked.set, *([f'name="{asked.name}"'] if asked.name else ()), *(["share=false"] if asked.fresh else ())]
    if asked.toml is not None:
        grid = grid_of_text(asked.toml, changes)
    elif asked.grid in shipped():
        grid = load_grid(str(asked.grid), changes)
    else:
        raise GridError(
            f"unknown grid {asked.grid!r}{nearest(str(asked.grid), shipped())}; shipped: {', '.join(shipped())}; "
            'one of yours is sent as its text, "toml"'
        )
    _check(grid)
    describe_for((), **names_used(grid))
    if not asked.rehearse:
        return grid, []
    rehearsal = rehearsal_of(grid, settings.home / "rehearsal")
    return rehearsal, differences(grid, rehearsal)


def _check(grid: Grid) -> None:
    where = f"grid {grid.name!r}"
    if grid.rehearsal:
        raise GridError(f'{where}: a rehearsal is asked for by "rehearse", not by a key of the grid')
    check_trials(grid, MAX_CELLS, "a service")
    for dataset in grid.datasets:
        for text in _texts([dataset.folder, dataset.split.file, dataset.options]):
            if _leads_out(text):
                raise GridError(
                    f"{where}, data set {dataset.name!r}: {text!r} leads out of the service's data folder; name a "
                    "place below it, such as folder = 'drive/2024'"
                )


def _texts(value: object) -> Iterator[str]:
    """Every text in a table of options, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _texts(key)
            yield from _texts(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _texts(entry)


def _leads_out(text: str) -> bool:
    return text.startswith(("/", "~")) or ".." in PurePosixPath(text).parts or "\x00" in text
