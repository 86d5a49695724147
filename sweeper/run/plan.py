"""What a grid would run: its trials, which are finished already, and what the rest will cost. Writes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from storage.database import open_database, schema_version
from storage.records import Trial
from storage.repository import Repository
from sweeper.analysis.power import Enough
from sweeper.data.preparation import where_to_get
from sweeper.data.resolved import ResolvedGrid, resolve
from sweeper.grids.names import Naming
from sweeper.grids.schema import Grid
from sweeper.run.devices import Devices, devices_at_hand, types_asked
from sweeper.run.launch import StoredSweep, predicted_bytes, stored_sweep
from sweeper.run.power import EarlierComponents, earlier_components, power_of_grid
from sweeper.search.adaptive import Search
from sweeper.settings import Settings, existing_part
from sweeper.timing.costs import CostModel, learn_costs
from sweeper.timing.measured import measured_costs
from sweeper.timing.schedule import finish_in
from sweeper.views.objects import DevicesObject, PlannedSearchObject, PlannedTrialObject, PlanObject, PowerObject
from trials.spec import TrialSpec
from trials.states import TrialState


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """A cell of the grid. `state` is that of the stored trial of the same hash, or `new`; `seconds` a prediction.

    `size`: training images, and voxels of each.
    """

    spec: TrialSpec
    state: TrialState | Literal["new"]
    sweep: str | None
    seconds: float
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class PlannedSearch:
    """A study whose values are chosen as it goes. `tried` counts the points that the sweep of this name has already,
    `seconds` predicts a trial that is not pruned. `size` as of a trial."""

    study: Search
    tried: int
    seconds: float
    size: tuple[int, int]

    @property
    def left(self) -> int:
        """How many trials it may still train, each point with every seed."""
        return (self.study.budget - self.tried) * len(self.study.cell.seeds)


@dataclass(frozen=True, slots=True)
class Plan:
    """A grid's trials and what they will cost on the devices at hand.

    `bytes_models` is for models and checkpoints, `bytes_prepared` for data that are here and not prepared yet. `power`
    says which differences the trials would find. `warnings` are of prepared data, and of GPUs that are not here.
    """

    grid: Grid
    naming: Naming
    trials: tuple[PlannedTrial, ...]
    devices: Devices
    costs: CostModel
    bytes_models: int
    bytes_prepared: int
    bytes_free: int
    missing: tuple[str, ...]
    unprepared: tuple[str, ...]
    searches: tuple[PlannedSearch, ...] = ()
    power: tuple[Enough, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def open(self) -> tuple[PlannedTrial, ...]:
        return tuple(t for t in self.trials if t.state != TrialState.FINISHED)

    @property
    def slots(self) -> int:
        """How many trials run at once; 0 where none fits."""
        return self.devices.slots_of(self.grid)

    @property
    def seconds(self) -> float:
        """Predicted seconds to the end, longest trial first; of searches at most, as if nothing were pruned."""
        searched = [s.seconds for s in self.searches for _ in range(s.left)]
        return finish_in([*(t.seconds for t in self.open), *searched], self.slots)

    def shown(self, differences: Sequence[str] = ()) -> PlanObject:
        """The plan as it is shown; `differences`: those of a rehearsal."""
        return PlanObject(
            grid=self.grid.name,
            rehearsal=self.grid.rehearsal,
            differences=list(differences),
            trials=[self._trial(planned) for planned in self.trials],
            searches=[self._search(planned) for planned in self.searches],
            finished=len(self.trials) - len(self.open),
            devices=DevicesObject(cpus=self.devices.cpus, gpus=self.devices.gpus, text=str(self.devices)),
            slots=self.slots,
            predicted_seconds=round(self.seconds, 1),
            predicted_finish=(datetime.now(UTC) + timedelta(seconds=self.seconds)).isoformat(timespec="seconds"),
            predicted_bytes=self.bytes_models + self.bytes_prepared,
            predicted_bytes_prepared=self.bytes_prepared,
            free_bytes=self.bytes_free,
            costs_measured=bool(self.costs.groups),
            cost_model_error=self.costs.error,
            missing_data=list(self.missing),
            missing_from=[where_to_get(self.grid.dataset(name)) for name in self.missing],
            unprepared_data=list(self.unprepared),
            power=[PowerObject.model_validate(one.to_dict()) for one in self.power],
            warnings=list(self.warnings),
        )

    def _trial(self, planned: PlannedTrial) -> PlannedTrialObject:
        spec = planned.spec
        return PlannedTrialObject(
            hash=spec.hash,
            label=self.naming.label(spec),
            dataset=spec.data.dataset,
            loss=spec.loss.name,
            variant=self.naming.variant(spec),
            gamma=spec.loss.gamma,
            repeat=spec.repeat,
            fold=spec.data.fold,
            seed=spec.seed,
            state=planned.state,
            sweep=planned.sweep,
            resolved=spec.resolved,
            predicted_seconds=round(planned.seconds, 1),
            spec=spec.to_dict(),
        )

    def _search(self, planned: PlannedSearch) -> PlannedSearchObject:
        template, details = planned.study.cell.template, planned.study.details
        return PlannedSearchObject(
            study=planned.study.name,
            variant=self.naming.variant(template),
            tried=planned.tried,
            trials_left=planned.left,
            epochs_at_most=planned.left * template.training.epochs,
            predicted_seconds=round(planned.seconds, 1),
            **details.to_dict(),
        )


def make_plan(grid: Grid, settings: Settings) -> Plan:
    """The plan of a grid now. Needs neither data nor a database; says what is missing.

    Raises:
        GridError: see `expand`.
        SettingsError, DataError: see `sweeper.data.preparation.identify`.
        StorageError: there is a database, and it cannot be read.
        RayUnavailableError: nobody answers at RAY_ADDRESS.
    """
    resolved = resolve(grid, settings)
    known = resolved.datasets
    stored, sweep, costs, components = _remembered(resolved, settings)
    trials = []
    for spec in resolved.specs:
        trial, size = stored.get(spec.hash), resolved.size(spec)
        sweep_of, seconds = trial.sweep if trial else None, costs.seconds(spec, *size)
        trials.append(PlannedTrial(spec, trial.state if trial else "new", sweep_of, seconds, size))
    planned = []
    for search in resolved.searches(sweep.studies):
        template = search.cell.template
        tried = search.points(t for t in sweep.trials if search.owns(t) and t.hash not in stored)
        size = resolved.size(template)
        planned.append(PlannedSearch(search, tried, costs.seconds(template, *size), size))
    to_train = [t.spec for t in trials if t.state != TrialState.FINISHED]
    to_train += [s.study.cell.template for s in planned for _ in range(s.left)]
    devices = devices_at_hand(settings, with_types=bool(types_asked(grid)))
    said = [f"{name}: {text}" for name, one in known.items() for text in one.warnings]
    return Plan(
        grid=grid,
        naming=resolved.naming,
        trials=tuple(trials),
        devices=devices,
        costs=costs,
        bytes_models=predicted_bytes(to_train),
        bytes_prepared=sum(one.bytes for one in known.values()),
        bytes_free=shutil.disk_usage(existing_part(settings.home)).free,
        missing=tuple(name for name, one in known.items() if one.source is None),
        unprepared=tuple(name for name, one in known.items() if one.source is not None and not one.identity.prepared),
        searches=tuple(planned),
        power=tuple(power_of_grid(resolved, components)),
        warnings=(*devices.lacking(grid), *said),
    )


def has_database(settings: Settings) -> bool:
    """Whether there is a database with tables already.

    Raises:
        StorageError: there is one, and it cannot be read.
    """
    file = settings.database_file
    return (file is None or file.exists()) and schema_version(settings.database) is not None


def _remembered(
    resolved: ResolvedGrid, settings: Settings
) -> tuple[Mapping[str, Trial], StoredSweep, CostModel, EarlierComponents]:
    """Stored trials of the grid's hashes, the sweep of its name, the cost model, and what earlier scores say of its
    data sets; nothing where there is no database yet."""
    if not has_database(settings):
        return {}, StoredSweep(None, []), learn_costs([]), {}
    with open_database(settings.database, create=False) as database:
        repository = Repository(database)
        found = repository.trials_by_hash([spec.hash for spec in resolved.specs])
        earlier = {} if resolved.grid.rehearsal else earlier_components(repository, resolved.datasets)
        return found, stored_sweep(repository, resolved.grid.name), measured_costs(repository), earlier
