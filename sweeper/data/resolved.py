"""A grid with its trials and with what is known of its data on this machine.

A command makes it once. Plan, checks, creation and run take it, and nothing expands the grid again: when the data get
prepared, the cells get their keys.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from sweeper.data.preparation import KnownDataset, ReadyDataset, identify
from sweeper.grids.expansion import expand, search_cells, settings_of
from sweeper.grids.names import Naming, naming_of, study_name
from sweeper.grids.schema import Grid
from sweeper.search.adaptive import Search
from sweeper.search.space import SearchCell
from sweeper.settings import Settings
from trials.spec import TrialSpec


@dataclass(frozen=True)
class ResolvedGrid:
    """See the module.

    Attributes:
        grid: what was asked.
        datasets: what is known of each data set.
        specs: the trials that the grid lists, in its order.
        cells: what its search chooses; none without a search.
    """

    grid: Grid
    datasets: Mapping[str, KnownDataset]
    specs: tuple[TrialSpec, ...]
    cells: tuple[SearchCell, ...]

    @cached_property
    def naming(self) -> Naming:
        """How its cells are named."""
        return naming_of(self.grid.to_dict())

    @cached_property
    def networks(self) -> int:
        """How many networks it has."""
        return len({spec.model for spec in (*self.specs, *(cell.template for cell in self.cells))})

    def study(self, spec: TrialSpec, known: Collection[str]) -> str:
        """The name of a cell's Optuna study. `known`: those that the sweep has already."""
        return study_name(self.grid.name, spec, self.naming, known, models=self.networks)

    def searches(self, known: Collection[str] = ()) -> tuple[Search, ...]:
        """Its searches, one for each study."""
        if self.grid.search is None:
            return ()
        return tuple(
            Search(self.study(cell.template, known), cell, settings_of(self.grid.search, len(cell.domains)))
            for cell in self.cells
        )

    def size(self, spec: TrialSpec) -> tuple[int, int]:
        """The training images of a cell's data set, and the voxels of each."""
        known = self.datasets[spec.data.dataset]
        return known.images, known.voxels

    def with_data(self, ready: Mapping[str, ReadyDataset]) -> ResolvedGrid:
        """The same grid once its data are prepared: the cells have their final hashes."""

        def known(spec: TrialSpec) -> TrialSpec:
            identity = ready[spec.data.dataset].identity
            return replace(spec, data=identity.spec(spec.data.dataset, spec.repeat, spec.data.fold))

        return ResolvedGrid(
            self.grid,
            {
                name: KnownDataset(one.identity, self.datasets[name].source, one.images, one.voxels)
                for name, one in ready.items()
            },
            tuple(map(known, self.specs)),
            tuple(replace(cell, template=known(cell.template)) for cell in self.cells),
        )


def resolve(grid: Grid, settings: Settings) -> ResolvedGrid:
    """A grid with what is known of its data here. Prepares nothing and writes nothing.

    Raises:
        GridError: see `expand`.
        SettingsError, DataError: see `sweeper.data.preparation.identify`.
    """
    return resolve_known(grid, identify(grid, settings))


def resolve_ready(grid: Grid, ready: Mapping[str, ReadyDataset]) -> ResolvedGrid:
    """A grid whose data are prepared.

    Raises:
        GridError: see `expand`.
    """
    known = {name: KnownDataset(one.identity, None, one.images, one.voxels) for name, one in ready.items()}
    return resolve_known(grid, known)


def resolve_known(grid: Grid, datasets: Mapping[str, KnownDataset]) -> ResolvedGrid:
    """A grid whose data sets were identified.

    Raises:
        GridError: see `expand`.
    """
    data = {name: known.identity for name, known in datasets.items()}
    return ResolvedGrid(grid, datasets, expand(grid, data), search_cells(grid, data))
