"""What a grid would run: its trials, which are finished already, and what the rest will cost. Writes nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from storage.database import open_database, schema_version
from storage.errors import UnknownTrialError
from storage.records import Trial, TrialState
from storage.repository import Repository
from sweeper import data
from sweeper.grid import Grid, expand, variant
from sweeper.launch import learned_costs, predicted_bytes
from sweeper.progress import duration
from sweeper.schedule import CostModel, finish_in, learn_costs
from sweeper.settings import Settings, existing_part
from workers.spec import TrialSpec


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """A cell of the grid. `state` is that of the stored trial of the same hash, or `new`; `seconds` a prediction."""

    spec: TrialSpec
    state: str
    sweep: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A grid's trials and what they will cost on this machine."""

    grid: Grid
    trials: tuple[PlannedTrial, ...]
    slots: int
    costs: CostModel
    bytes_needed: int
    bytes_free: int
    missing: tuple[str, ...]
    unprepared: tuple[str, ...]

    @property
    def open(self) -> tuple[PlannedTrial, ...]:
        return tuple(t for t in self.trials if t.state != TrialState.FINISHED)

    @property
    def seconds(self) -> float:
        """Predicted seconds to the end, longest trial first."""
        return finish_in([t.seconds for t in self.open], self.slots)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON values; `trials` holds each spec with its hash."""
        return {
            "grid": self.grid.name,
            "rehearsal": self.grid.rehearsal,
            "trials": [
                {
                    "hash": t.spec.hash,
                    "label": t.spec.label,
                    "dataset": t.spec.data.dataset,
                    "loss": t.spec.loss.name,
                    "variant": variant(t.spec),
                    "gamma": t.spec.loss.gamma,
                    "repeat": t.spec.repeat,
                    "seed": t.spec.seed,
                    "state": t.state,
                    "sweep": t.sweep,
                    "resolved": t.spec.resolved,
                    "predicted_seconds": round(t.seconds, 1),
                    "spec": t.spec.to_dict(),
                }
                for t in self.trials
            ],
            "finished": len(self.trials) - len(self.open),
            "slots": self.slots,
            "predicted_seconds": round(self.seconds, 1),
            "predicted_bytes": self.bytes_needed,
            "free_bytes": self.bytes_free,
            "costs_measured": bool(self.costs.groups),
            "cost_model_error": self.costs.error,
            "missing_data": list(self.missing),
            "unprepared_data": list(self.unprepared),
        }


def make_plan(grid: Grid, settings: Settings) -> Plan:
    """The plan of a grid on this machine. Needs neither data nor a database; says what is missing.

    Raises:
        GridError: see `expand`.
        SettingsError, DataError: see `sweeper.data.identify`.
        StorageError: there is a database, and it cannot be read.
    """
    known = data.identify(grid, settings)
    specs = expand(grid, {name: one.identity for name, one in known.items()})
    stored, costs = _remembered(specs, settings)
    trials = []
    for spec in specs:
        trial, size = stored.get(spec.hash), known[spec.data.dataset]
        seconds = costs.seconds(spec.to_dict(), size.images, size.voxels)
        trials.append(PlannedTrial(spec, trial.state if trial else "new", trial.sweep if trial else None, seconds))
    cpus = len(os.sched_getaffinity(0))
    return Plan(
        grid=grid,
        trials=tuple(trials),
        slots=max(int(cpus // grid.resources.cpus), 1),
        costs=costs,
        bytes_needed=predicted_bytes(specs),
        bytes_free=shutil.disk_usage(existing_part(settings.home)).free,
        missing=tuple(name for name, one in known.items() if one.source is None),
        unprepared=tuple(name for name, one in known.items() if one.source is not None and not one.identity.prepared),
    )


def plan_text(plan: Mapping[str, Any]) -> RenderableType:
    """What `Plan.to_dict` gives, for a person: a line for each trial, then what they will cost and what is missing."""
    trials = plan["trials"]
    with_model = len({json.dumps(t["spec"]["model"], sort_keys=True) for t in trials}) > 1
    with_repeat = len({t["repeat"] for t in trials}) > 1
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("trial", no_wrap=True)
    table.add_column("data set", no_wrap=True)
    table.add_column("loss", overflow="fold")
    table.add_column("γ", justify="right", no_wrap=True)
    if with_repeat:
        table.add_column("repeat", justify="right")
    table.add_column("state", no_wrap=True)
    table.add_column("predicted", justify="right", no_wrap=True)
    for t in trials:
        loss = f"{t['variant']} · {t['spec']['model']['name']}" if with_model else t["variant"]
        cells = [t["hash"][:8], t["dataset"], loss, "" if t["gamma"] is None else f"{t['gamma']:.3g}"]
        if with_repeat:
            cells.append(str(t["repeat"]))
        finished = t["state"] == TrialState.FINISHED
        table.add_row(*map(Text, cells), t["state"], "" if finished else duration(t["predicted_seconds"]))
    return Group(table, Text("\n".join(_closing(plan))))


def _closing(plan: Mapping[str, Any]) -> Sequence[str]:
    total, done, error = len(plan["trials"]), plan["finished"], plan["cost_model_error"]
    lines = ["", f"grid {plan['grid']}: {total} trials, {done} finished, {total - done} to run"]
    if done < total:
        basis = (
            "a first guess, nothing was measured yet"
            if not plan["costs_measured"]
            else "learned from finished trials" + (f", mean error {error:.0%}" if error is not None else "")
        )
        lines.append(f"predicted: {duration(plan['predicted_seconds'])} with {plan['slots']} at once ({basis})")
        needed, free = plan["predicted_bytes"], plan["free_bytes"]
        lines.append(f"disk: {needed / 1e9:.2f} GB needed, {free / 1e9:.0f} GB free")
    if plan["missing_data"] and plan["rehearsal"]:
        lines.append(f"synthetic files that `launch` writes first: {', '.join(plan['missing_data'])}")
    elif plan["missing_data"]:
        lines.append(f"missing data sets: {', '.join(plan['missing_data'])}; `sweeper data list` says how to get each")
    if plan["unprepared_data"]:
        names = ", ".join(plan["unprepared_data"])
        lines.append(f"not prepared yet: {names}; hashes are final after `sweeper data prepare`")
    return lines


def _remembered(specs: Sequence[TrialSpec], settings: Settings) -> tuple[Mapping[str, Trial], CostModel]:
    """Stored trials of these hashes, and the cost model; nothing where there is no database yet."""
    file = settings.database_file
    if (file is not None and not file.exists()) or schema_version(settings.database) is None:
        return {}, learn_costs([])
    with open_database(settings.database, create=False) as database:
        repository = Repository(database)
        found = {}
        for spec in specs:
            try:
                found[spec.hash] = repository.trial(spec.hash)
            except UnknownTrialError:
                continue
        return found, learned_costs(repository)
