"""Sweeps of which some trials are finished, without training. Not a test module."""

from __future__ import annotations

from storage.database import open_database
from storage.repository import Repository
from sweeper.data.resolved import resolve
from sweeper.grids.schema import Grid
from sweeper.run.launch import new_trials
from sweeper.settings import Settings
from sweeper.timing.costs import learn_costs
from tests.results import result, scored
from trials.results import Epoch
from trials.spec import TrialSpec

SECONDS = 30.0


def specs_of(grid: Grid, settings: Settings) -> tuple[TrialSpec, ...]:
    return resolve(grid, settings).specs


def finish(settings: Settings, grid: Grid, count: int, device: str = "CPU") -> None:
    """Stores a sweep of the grid with its first `count` trials finished on a device, in `SECONDS` each."""
    resolved = resolve(grid, settings)
    specs = resolved.specs
    with open_database(settings.database) as database:
        repository = Repository(database)
        details = {"data": {"nuclei": {"images": 38, "voxels": 128 * 128}}}
        trials = new_trials(resolved, learn_costs([]))
        repository.create_sweep(grid.name, grid=grid.to_dict(), trials=trials, details=details)
        lease = repository.acquire_lease(grid.name, "test", 60)
        for spec in specs[:count]:
            attempt = repository.claim(lease, spec.hash, host="host")
            assert attempt is not None
            history = tuple(Epoch(n + 1, 0.5, 0.5, 0.5, 0.1, 19, 1.0) for n in range(spec.training.epochs))
            scores = (scored(part, "x", "nucleus", 0.5) for part in ("validation", "test"))
            done = result(spec.hash, scores, history, train_seconds=SECONDS, environment={"device": device})
            repository.finish(lease, attempt.id, done)
