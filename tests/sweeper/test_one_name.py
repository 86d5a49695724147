"""A cell has one name: what each surface calls it, from a sweep's first plan to its report, is compared."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dashboards.board import content
from dashboards.board.source import Source
from dashboards.report.write import write_study_report
from storage.database import open_database
from storage.repository import Repository
from storage.studies import Studies
from sweeper.data.resolved import resolve
from sweeper.grids.files import load_grid, parse_grid
from sweeper.run.background import _event
from sweeper.run.closing import closing_text
from sweeper.run.coordinator import Coordinator, Running, Work
from sweeper.run.launch import new_trials
from sweeper.run.lease import LeaseKeeper
from sweeper.run.plan import make_plan
from sweeper.run.progress import _running_table
from sweeper.settings import Settings
from sweeper.study import read_study
from sweeper.timing.costs import learn_costs
from sweeper.views.plan import plan_text
from sweeper.views.result_tables import results_object
from sweeper.views.status import status_of, status_text, trial_of
from sweeper.views.terminal import take_picture
from tests.dashboards.unrendered import unrendered
from tests.sweeper.run.test_coordinator import Notes, finished
from workers.tracking import Spool
from workers.tracking.records import StartRecord
from workers.tracking.spool import read_lines

NETWORKS = [{"name": "unet"}, {"name": "attention_unet"}]
ISSUE = {
    "losses": [
        {"name": "tversky", "alpha": [0.3, 0.4]},
        {"name": "unified_focal_sym", "delta": 0.7, "gamma": [0.1, 0.5]},
    ],
    "models": NETWORKS,
}
SWEPT = {
    "losses": [{"name": "dice", "smooth": [1e-6, 1.0]}, {"name": "unified_focal_asym", "delta": [0.6, 0.7]}],
    "models": [{"base_filters": 4}, {"base_filters": 8}],
    "repeats": 2,
}
EXPECTED = {
    "issue": {
        "tversky",
        "tversky (attention_unet)",
        "tversky (alpha=0.4)",
        "tversky (alpha=0.4, attention_unet)",
        "unified_focal_sym (delta=0.7)",
        "unified_focal_sym (delta=0.7, attention_unet)",
    },
    "swept": {
        f"{loss}base_filters={size})"
        for loss in ("dice (", "dice (smooth=1, ", "unified_focal_asym (", "unified_focal_asym (delta=0.7, ")
        for size in (4, 8)
    },
}


@dataclass
class Surfaces:
    """What each surface calls the cells: by its name, variant or label by trial."""

    variants: dict[str, Mapping[str, str]] = field(default_factory=dict)
    labels: dict[str, Mapping[str, str]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def take(self, surface: str, rows: Any) -> None:
        self.variants[surface] = {row["hash"]: row["variant"] for row in rows}
        self.labels[surface] = {row["hash"]: row["label"] for row in rows}


def printed(what: Any) -> str:
    console = Console(width=300)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def collect(table: Mapping[str, Any], folder: Path) -> Surfaces:
    """Plans the grid, writes the sweep down, lets a coordinator finish every trial, and looks everywhere."""
    settings = Settings(home=folder, database_url=f"sqlite:///{folder / 'x.db'}", data=None)
    grid = parse_grid({**load_grid("demo").to_dict(), **table, "name": "s"}, "a test")
    found = Surfaces()
    plan = make_plan(grid, settings).shown()
    found.take("plan", [trial.model_dump() for trial in plan.trials])
    found.texts["plan"] = printed(plan_text(plan))
    resolved = resolve(grid, settings)
    specs = resolved.specs
    with open_database(settings.database) as database, Studies(database) as studies:
        repository = Repository(database)
        rows = new_trials(resolved, learn_costs([]))
        sweep = repository.create_sweep("s", grid=grid.to_dict(), trials=rows)
        run_all(repository, studies, sweep.name, folder, found)
        status = status_of(repository, "s")
        found.take("status", status.model_dump(mode="json")["trials"])
        found.texts["status"] = printed(status_text(status, trials=True))
        found.take("results", results_object(repository, "s")["trials"])
        found.take("frames", read_study(repository, "s").trials.to_dict("records"))
        found.labels["show"] = {spec.hash: trial_of(repository, spec.hash).label for spec in specs}
        answers = read_study(repository, "s").answers
        found.texts["closing line"] = printed(closing_text(settings, "s", answers, []))
        picture = take_picture(repository, "s")
        found.labels["watch"] = {t.hash: t.label for t in picture.trials}
        found.variants["watch"] = {
            t.hash: r.loss for r in picture.map.rows for cell in r.cells.values() for t in cell.trials
        }
        found.labels["follow"] = {
            t.hash: _event(t).removeprefix("finished ").partition(": test DSC")[0] for t in picture.trials
        }
        with unrendered():
            write_study_report(repository, read_study(repository, "s"), folder / "report", formats=("csv",))
    with (folder / "report" / "tables" / "results.csv").open(encoding="utf-8") as file:
        found.texts["report"] = "\n".join({row["variant"] for row in csv.DictReader(file)})
    source = Source(settings.database)
    snapshot = source.newest("s")
    found.labels["board"] = {t.hash: t.label for t in snapshot.trials}
    found.variants["board"] = {
        t.hash: loss
        for dataset, loss in content.grid(snapshot)["rows"]
        for column in content.grid(snapshot)["columns"]
        for t in content.trials_of(snapshot, dataset, loss, column)
    }
    found.texts["board's curves"] = "\n".join(snapshot.means["variant"])
    source.close()
    return found


def run_all(repository: Repository, studies: Studies, name: str, folder: Path, found: Surfaces) -> None:
    notes, spooled, shown, said = Notes(), {}, {}, {}
    with LeaseKeeper(repository, name, 60) as keeper:
        work = Work(folder, folder)
        sweep = repository.sweep(name)
        coordinator = Coordinator(repository, sweep, keeper, studies=studies, work=work, observer=notes)
        while (running := coordinator.next()) is not None:
            trial = running.trial.hash
            request = coordinator.request(running)
            with Spool(folder / "spools" / trial) as spool:
                spool.start(request.spec, label=request.label, sweep=request.sweep)
            (line,) = read_lines(folder / "spools" / trial)
            assert isinstance(line.record, StartRecord)
            spooled[trial] = line.record.name
            shown[trial] = next(iter(column_of(running)))
            coordinator.handle(trial, finished(trial, 0.4 + len(spooled) / 100))
            said[trial] = notes.lines[-1].removeprefix("finished ").partition(": test DSC")[0]
        coordinator.close()
    found.labels.update({"MLflow": spooled, "progress": shown, "log lines": said})


def column_of(running: Running) -> list[str]:
    return [str(cell) for cell in _running_table({running.trial.hash: running}).columns[0].cells]


@pytest.mark.slow
@pytest.mark.parametrize(("grid", "table"), [("issue", ISSUE), ("swept", SWEPT)])
def test_every_surface_gives_a_cell_the_same_name(grid: str, table: Mapping[str, Any], tmp_path: Path) -> None:
    found = collect(json.loads(json.dumps(table)), tmp_path)
    labels, variants = found.labels["plan"], found.variants["plan"]
    assert set(variants.values()) == EXPECTED[grid]
    assert len(set(labels.values())) == len(labels), "two cells have one name"
    for surface, other in found.labels.items():
        assert other == labels, surface
    for surface, other in found.variants.items():
        assert other == variants, surface
    for surface in ("plan", "status", "report", "board's curves"):
        for variant in set(variants.values()):
            assert variant in found.texts[surface], surface
    best = max(found.texts["closing line"].splitlines(), key=lambda line: "By validation scores alone" in line)
    chosen = best.partition("the choice is ")[2].partition(" on nuclei (mean")[0].partition(" at γ")[0]
    assert chosen in set(variants.values())
