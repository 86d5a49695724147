"""What a sweep could find, and what earlier sweeps say about the scores of a planned one. Reads the database alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from storage.repository import Repository
from sweeper.analysis import AnalysisError
from sweeper.analysis.power import ASSUMED, Components, Design, Enough, enough, enough_of
from sweeper.data.resolved import ResolvedGrid
from sweeper.grids.details import details_of
from sweeper.study import read_run_scores

EarlierComponents = Mapping[str, Sequence[tuple[str, Components]]]
"""Of each data set, the components of each class."""

_LOOKED_AT = 3
"""So many of the newest sweeps on a data set are read, which takes half a second for each 10,000 trials on it."""


def power_of_sweep(repository: Repository, name: str, datasets: Collection[str] | None = None) -> tuple[Enough, ...]:
    """What a sweep could find, for each data set and class with two losses; `datasets`: on these alone.

    Raises:
        UnknownSweepError: there is no such sweep.
        AnalysisError: a stored score is impossible.
    """
    return enough_of(read_run_scores(repository, name, datasets), name)


def power_of_grid(resolved: ResolvedGrid, earlier: EarlierComponents) -> list[Enough]:
    """What a grid's trials would find on each data set with two losses; nothing of a rehearsal.

    Args:
        resolved: the grid.
        earlier: `earlier_components`.
    """
    if resolved.grid.rehearsal:
        return []
    specs = [*resolved.specs, *(cell.template for cell in resolved.cells)]
    found = []
    for dataset in resolved.grid.used_datasets:
        own = [spec for spec in specs if spec.data.dataset == dataset.name]
        seeds = [len(cell.seeds) for cell in resolved.cells if cell.template.data.dataset == dataset.name]
        split, known = dataset.split, resolved.datasets[dataset.name]
        design = Design(
            losses=len({resolved.naming.variant(spec) for spec in own}),
            runs=max([len({spec.repeat for spec in own}), *seeds]),
            units=known.tested,
            folds=split.folds if split.folds is not None and split.fold is None else 1,
        )
        if design.losses > 1:
            for label, components in earlier.get(dataset.name) or [("", ASSUMED)]:
                found.append(enough(dataset.name, label, known.tested_unit, design, components))
    return found


def earlier_components(repository: Repository, datasets: Iterable[str]) -> EarlierComponents:
    """The components of the newest sweep with repeats on each data set, by class; nothing where there is none.

    Rehearsals and synthetic images do not count, nor a sweep whose stored scores are damaged.
    """
    left = set(datasets)
    looked_at = dict.fromkeys(left, 0)
    found: dict[str, list[tuple[str, Components]]] = {}
    for sweep in sorted(repository.sweeps(), key=lambda one: one.created_at, reverse=True):
        data = details_of(sweep).data
        here = {name for name in left & data.keys() if data[name].provenance == "real"}
        if sweep.rehearsal or not here:
            continue
        for one in _power_of_sound(repository, sweep.name, here):
            if not one.components.assumed:
                found.setdefault(one.dataset, []).append((one.label, one.components))
        for name in here:
            looked_at[name] += 1
        left -= {name for name in here if name in found or looked_at[name] >= _LOOKED_AT}
    return found


def _power_of_sound(repository: Repository, name: str, datasets: Collection[str]) -> tuple[Enough, ...]:
    try:
        return power_of_sweep(repository, name, datasets)
    except AnalysisError:
        return ()
