"""What thousands of finished trials in the database add to `sweeper plan` and to the start of `sweeper launch`.

    python -m benchmarks.history [--setting quick|normal|long]

The demo's grid is planned, and written down as a sweep, beside one finished sweep on the same data set and beside an
empty database, in turn, in one process that has imported everything and has read nothing: the specs that it keeps are
dropped before each. The finished sweep has 22 images a trial and 99 values of γ, and one of its five data sets is the
grid's: what it tells of costs and of the power is read each time. The seconds are the processor's.
"""

from __future__ import annotations

import io
import itertools
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from sqlalchemy import update

from benchmarks import harness
from benchmarks.harness import ROUNDS, Measured, Row, Setting
from benchmarks.scale import fill
from storage.database import open_database
from storage.models import SweepRow
from storage.repository import Repository
from sweeper.data.resolved import resolve
from sweeper.grids.files import load_grid
from sweeper.grids.schema import Grid
from sweeper.run.launch import create
from sweeper.run.plan import make_plan
from sweeper.session import Session
from sweeper.settings import Settings
from trials.spec import TrialSpec

TRIALS = {Setting.QUICK: 50, Setting.NORMAL: 10_000, Setting.LONG: 10_000}
DATASETS = [f"set{number}" for number in range(5)]
"""Those of `benchmarks.plain.nothing`."""
GOAL = ("≤", 1.0)


def measure(setting: Setting) -> Measured:
    trials, rounds = TRIALS[setting], 2 if setting is Setting.QUICK else ROUNDS
    with tempfile.TemporaryDirectory(prefix="sweeper-bench-") as folder:
        homes = {name: Path(folder) / name for name in ("empty", "half", "whole")}
        for home, number in zip(homes.values(), (0, trials // 2, trials), strict=True):
            home.mkdir()
            _fill(home, number)
        numbers = itertools.count()
        plans = harness.interleaved({name: lambda h=home: _plan(h) for name, home in homes.items()}, rounds + 1)
        starts = harness.interleaved(
            {name: lambda h=home: _start(h, next(numbers)) for name, home in homes.items()}, rounds + 1
        )
    # The first round imports, and prepares the data.
    seconds = {
        verb: {name: each[1:] for name, each in one.items()} for verb, one in (("plan", plans), ("start", starts))
    }
    return Measured([*_rows("`sweeper plan`", trials, seconds["plan"]), *_rows(
        "the start of `sweeper launch`", trials, seconds["start"])], seconds)  # fmt: skip


def _rows(what: str, trials: int, seconds: dict[str, list[float]]) -> list[Row]:
    added = {
        name: [more - none for more, none in zip(seconds[name], seconds["empty"], strict=True)]
        for name in ("half", "whole")
    }
    half = harness.number(sorted(added["half"])[len(added["half"]) // 2])
    detail = f"{trials // 2:,} add {half} s"
    return [
        harness.amount(f"what {trials:,} finished trials add to {what}", added["whole"], "s", goal=GOAL, detail=detail)
    ]


def _settings(home: Path) -> Settings:
    return Settings(home=home, database_url=f"sqlite:///{home / 'sweeper.db'}", data=None)


def _grid(name: str) -> Grid:
    return load_grid("demo", [f'name="{name}"', f'datasets=[{{name="{DATASETS[0]}", reader="nuclei"}}]'])


def _fill(home: Path, trials: int) -> None:
    """A home whose database has so many finished trials."""
    if trials:
        fill(home, trials)
    with open_database(_settings(home).database) as database, database.engine.begin() as connection:
        data = {name: {"images": 38, "voxels": 128 * 128, "provenance": "real"} for name in DATASETS}
        connection.execute(update(SweepRow).values(details={"data": data, "plugins": []}))


def _plan(home: Path) -> float:
    TrialSpec.from_json.cache_clear()
    begin = time.process_time()
    make_plan(_grid("next"), _settings(home))
    return time.process_time() - begin


def _start(home: Path, number: int) -> float:
    settings, grid = _settings(home), _grid(f"start-{number}")
    TrialSpec.from_json.cache_clear()
    begin = time.process_time()
    with open_database(settings.database) as database:
        session = Session(settings, Repository(database), Console(file=io.StringIO()))
        create(session, resolve(grid, settings), ())
    return time.process_time() - begin


if __name__ == "__main__":
    sys.exit(harness.main("history", __doc__ or "", measure))
