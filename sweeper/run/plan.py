"""What a grid would run: its trials, which are finished already, and what the rest will cost. Writes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from storage.database import open_database, schema_version
from storage.errors import UnknownTrialError
from storage.records import Trial
from storage.repository import Repository
from sweeper.analysis.power import Enough, plan_lines
from sweeper.data.resolved import ResolvedGrid, resolve
from sweeper.grids.names import Naming, number
from sweeper.grids.schema import Grid
from sweeper.run.devices import Devices, devices_at_hand
from sweeper.run.launch import StoredSweep, predicted_bytes, stored_sweep
from sweeper.run.power import EarlierComponents, earlier_components, power_of_grid
from sweeper.search.adaptive import Search
from sweeper.search.space import domain_of
from sweeper.settings import Settings, existing_part
from sweeper.timing.costs import CostModel, learn_costs
from sweeper.timing.measured import measured_costs
from sweeper.timing.schedule import finish_in
from sweeper.units import duration, size
from trials.spec import TrialSpec
from trials.states import TrialState


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """A cell of the grid. `state` is that of the stored trial of the same hash, or `new`; `seconds` a prediction."""

    spec: TrialSpec
    state: str
    sweep: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class PlannedSearch:
    """A study whose values are chosen as it goes. `tried` counts the points that the sweep of this name has already,
    `seconds` predicts a trial that is not pruned."""

    study: Search
    tried: int
    seconds: float

    @property
    def left(self) -> int:
        """How many trials it may still train, each point with every seed."""
        return (self.study.budget - self.tried) * len(self.study.cell.seeds)


@dataclass(frozen=True, slots=True)
class Plan:
    """A grid's trials and what they will cost on the devices at hand.

    `bytes_models` is for models and checkpoints, `bytes_prepared` for data that are here and not prepared yet. `power`
    says which differences the trials would find. `warnings` are of data that are prepared.
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

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON values; `trials` holds each spec with its hash."""
        naming = self.naming
        return {
            "grid": self.grid.name,
            "rehearsal": self.grid.rehearsal,
            "trials": [
                {
                    "hash": t.spec.hash,
                    "label": naming.label(t.spec),
                    "dataset": t.spec.data.dataset,
                    "loss": t.spec.loss.name,
                    "variant": naming.variant(t.spec),
                    "gamma": t.spec.loss.gamma,
                    "repeat": t.spec.repeat,
                    "fold": t.spec.data.fold,
                    "seed": t.spec.seed,
                    "state": t.state,
                    "sweep": t.sweep,
                    "resolved": t.spec.resolved,
                    "predicted_seconds": round(t.seconds, 1),
                    "spec": t.spec.to_dict(),
                }
                for t in self.trials
            ],
            "searches": [
                {
                    "study": s.study.name,
                    "variant": naming.variant(s.study.cell.template),
                    **s.study.details.to_dict(),
                    "tried": s.tried,
                    "trials_left": s.left,
                    "epochs_at_most": s.left * s.study.cell.template.training.epochs,
                    "predicted_seconds": round(s.seconds, 1),
                }
                for s in self.searches
            ],
            "finished": len(self.trials) - len(self.open),
            "devices": {"cpus": self.devices.cpus, "gpus": self.devices.gpus, "text": str(self.devices)},
            "slots": self.slots,
            "predicted_seconds": round(self.seconds, 1),
            "predicted_finish": (datetime.now(UTC) + timedelta(seconds=self.seconds)).isoformat(timespec="seconds"),
            "predicted_bytes": self.bytes_models + self.bytes_prepared,
            "predicted_bytes_prepared": self.bytes_prepared,
            "free_bytes": self.bytes_free,
            "costs_measured": bool(self.costs.groups),
            "cost_model_error": self.costs.error,
            "missing_data": list(self.missing),
            "unprepared_data": list(self.unprepared),
            "power": [one.to_dict() for one in self.power],
            "warnings": list(self.warnings),
        }


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
        trial, seconds = stored.get(spec.hash), costs.seconds(spec, *resolved.size(spec))
        trials.append(PlannedTrial(spec, trial.state if trial else "new", trial.sweep if trial else None, seconds))
    planned = []
    for search in resolved.searches(sweep.studies):
        template = search.cell.template
        tried = search.points(t for t in sweep.trials if search.owns(t) and t.hash not in stored)
        planned.append(PlannedSearch(search, tried, costs.seconds(template, *resolved.size(template))))
    to_train = [t.spec for t in trials if t.state != TrialState.FINISHED]
    to_train += [s.study.cell.template for s in planned for _ in range(s.left)]
    return Plan(
        grid=grid,
        naming=resolved.naming,
        trials=tuple(trials),
        devices=devices_at_hand(settings),
        costs=costs,
        bytes_models=predicted_bytes(to_train),
        bytes_prepared=sum(one.bytes for one in known.values()),
        bytes_free=shutil.disk_usage(existing_part(settings.home)).free,
        missing=tuple(name for name, one in known.items() if one.source is None),
        unprepared=tuple(name for name, one in known.items() if one.source is not None and not one.identity.prepared),
        searches=tuple(planned),
        power=tuple(power_of_grid(resolved, components)),
        warnings=tuple(f"{name}: {text}" for name, one in known.items() for text in one.warnings),
    )


def plan_text(plan: Mapping[str, Any]) -> RenderableType:
    """What `Plan.to_dict` gives, for a person: a line for each trial, then what they will cost and what is missing."""
    trials = plan["trials"]
    with_repeat = len({t["repeat"] for t in trials}) > 1
    with_fold = any(t["fold"] is not None for t in trials)
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("trial", no_wrap=True)
    table.add_column("data set", no_wrap=True)
    table.add_column("loss", overflow="fold")
    table.add_column("γ", justify="right", no_wrap=True)
    if with_repeat:
        table.add_column("repeat", justify="right")
    if with_fold:
        table.add_column("fold", justify="right")
    table.add_column("state", no_wrap=True)
    table.add_column("predicted", justify="right", no_wrap=True)
    for t in trials:
        cells = [t["hash"][:8], t["dataset"], t["variant"], "" if t["gamma"] is None else number(t["gamma"])]
        if with_repeat:
            cells.append(str(t["repeat"]))
        if with_fold:
            cells.append("" if t["fold"] is None else str(t["fold"]))
        finished = t["state"] == TrialState.FINISHED
        table.add_row(*map(Text, cells), t["state"], "" if finished else duration(t["predicted_seconds"]))
    for s in plan.get("searches", ()):
        chosen = "; ".join(str(domain_of(d)) for d in s["domains"])
        cells = ["", s["dataset"], f"{s['variant']}: {chosen}", f"{s['tried']} of {s['points']}"]
        if with_repeat:
            cells.append("")
        table.add_row(*map(Text, cells), "searched", f"{s['trials_left']} × {duration(s['predicted_seconds'])}")
    return Group(table, Text("\n".join(_closing(plan))))


def _closing(plan: Mapping[str, Any]) -> Sequence[str]:
    trials, done = plan["trials"], plan["finished"]
    total = len(trials)
    finished = [t for t in trials if t["state"] == TrialState.FINISHED]
    elsewhere = [t["sweep"] for t in finished if t["sweep"] not in (None, plan["grid"])]
    shared = f" ({len(elsewhere)} of them by {', '.join(dict.fromkeys(elsewhere))})" if elsewhere else ""
    lines = ["", f"grid {plan['grid']}: {total} trials, {done} finished{shared}, {total - done} to run"]
    searched = sum(s["trials_left"] for s in plan.get("searches", ()))
    if searched:
        epochs = sum(s["epochs_at_most"] for s in plan["searches"])
        lines[-1] += f", and at most {searched} that a search chooses ({epochs} epochs if none is pruned)"
    if done < total or searched:
        lines += [*_time(plan), _disk(plan)]
    lines += plan_lines([Enough.from_dict(one) for one in plan.get("power", ())])
    if plan["missing_data"] and plan["rehearsal"]:
        lines.append(f"synthetic files that `launch` writes first: {', '.join(plan['missing_data'])}")
    elif plan["missing_data"]:
        lines.append(f"missing data sets: {', '.join(plan['missing_data'])}; `sweeper data list` says how to get each")
    if plan["unprepared_data"]:
        names = ", ".join(plan["unprepared_data"])
        lines.append(f"not prepared yet: {names}; `launch` does that first, and the trials' hashes change with it")
    return [*lines, *(f"warning: {text}" for text in plan.get("warnings", ()))]


def _time(plan: Mapping[str, Any]) -> Iterator[str]:
    """How long it will take, where and until when, and how good that prediction is."""
    where = plan["devices"]["text"]
    if not plan["slots"]:
        yield f"no trial fits on {where}: lower [resources] in the grid"
    else:
        finish = datetime.fromisoformat(plan["predicted_finish"]).astimezone()
        yield f"time: {duration(plan['predicted_seconds'])} on {where}, {plan['slots']} at once"
        yield f"finish: about {finish:%Y-%m-%d %H:%M}, if started now"
    error = plan["cost_model_error"]
    if not plan["costs_measured"]:
        yield "how sure: a first guess for a CPU core; it learns from the trials that finish here"
    else:
        wrong = "" if error is None else f"; predicting each from the others is {error:.0%} off on average"
        yield f"how sure: learned from finished trials{wrong}"


def _disk(plan: Mapping[str, Any]) -> str:
    """What it will take on the disk, and whether that is there."""
    needed, prepared, free = plan["predicted_bytes"], plan["predicted_bytes_prepared"], plan["free_bytes"]
    of = f" ({size(prepared)} of it prepared data)" if prepared else ""
    without = ", without the data that are missing" if plan["missing_data"] and not plan["rehearsal"] else ""
    return f"disk: {size(needed)}{of}{without}; {size(free)} are free" + (
        ": TOO LITTLE, `launch` will refuse" if needed > free else ""
    )


def _remembered(
    resolved: ResolvedGrid, settings: Settings
) -> tuple[Mapping[str, Trial], StoredSweep, CostModel, EarlierComponents]:
    """Stored trials of the grid's hashes, the sweep of its name, the cost model, and what earlier scores say of its
    data sets; nothing where there is no database yet."""
    file = settings.database_file
    if (file is not None and not file.exists()) or schema_version(settings.database) is None:
        return {}, StoredSweep(None, []), learn_costs([]), {}
    with open_database(settings.database, create=False) as database:
        repository = Repository(database)
        found = {}
        for spec in resolved.specs:
            try:
                found[spec.hash] = repository.trial(spec.hash)
            except UnknownTrialError:
                continue
        earlier = {} if resolved.grid.rehearsal else earlier_components(repository, resolved.datasets)
        return found, stored_sweep(repository, resolved.grid.name), measured_costs(repository), earlier
