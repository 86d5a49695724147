"""Adaptive γ against the grid: what a search loses of the grid's best validation DSC, and how many epochs it trains.

Trains the paper's nine values of γ for both unified losses on the demo's nuclei, with three seeds, through `sweeper
launch`; then lets searches of the same trials choose. Training is deterministic, and a trial is known by the hash of
its spec however its γ was chosen: a search that would train γ = 0.3 gets, epoch by epoch, the numbers that the grid's
trial of γ = 0.3 has. So each trial is trained once, and the searches read its recorded epochs; the deciding code is
the coordinator's own (`sweeper.search.suggestions`).

SWEEPER_BENCH_HOME names a folder that keeps the trained grid for the next time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Measured, Row, Setting
from storage.database import open_database
from storage.repository import Repository
from sweeper.grids.expansion import DataIdentity, search_cells
from sweeper.grids.schema import Grid
from sweeper.search.samplers import SearchSettings
from sweeper.search.space import SearchCell
from sweeper.search.suggestions import Seen, Suggester
from trials.states import TrialState

GAMMAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
VARIANTS = ("unified_focal_sym", "unified_focal_asym")
SEEDS = (0, 1, 2)
DRAWS = 20
"""Searches of each study, which differ in the seed of their sampler alone."""

GRID = """
name = "nine"
extends = "demo"
seeds = {seeds}
losses = [{losses}]
{more}
"""
FEWER = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Values of γ of the quick setting."""
TINY = """
datasets = [{ name = "nuclei", options = { size = [32, 32] } }]
model = { base_filters = 4, depth = 2 }
training = { epochs = 2 }
resources = { cpus = CORES }
""".replace("CORES", str(max(1.0, 0.75 * len(os.sched_getaffinity(0)))))
"""One process trains it: the start of a second one takes longer than all of it."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A trained trial: validation DSC after each epoch, at its end, and its standard error over the images."""

    scores: tuple[float, ...]
    value: float
    error: float


Curves = Mapping[float, Curve]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to: the best value of a finished trial, and the epochs that it trained."""

    value: float
    epochs: int
    finished: int
    pruned: int


def measure(setting: Setting) -> Measured:
    """See the module."""
    kept, draws = os.environ.get("SWEEPER_BENCH_HOME"), 2 if setting is Setting.QUICK else DRAWS
    with tempfile.TemporaryDirectory() as scratch:
        studies = trained(Path(kept or scratch), quick=setting is Setting.QUICK)
    ways: dict[str, Callable[[Curves, int], Found]] = {
        "TPE with pruning": lambda c, s: searched(c, ours(s)),
        "random search": lambda c, s: searched(c, rival(s)),
        "random search with pruning": lambda c, s: searched(c, ours(s, sampler="random")),
        "CMA-ES with pruning": lambda c, s: searched(c, ours(s, sampler="cmaes")),
        "QMC with pruning": lambda c, s: searched(c, ours(s, sampler="qmc")),
        "γ = 0.5 alone": lambda c, s: Found(c[0.5].value, len(c[0.5].scores), 1, 0),
    }
    found = {
        name: [(study, draw, way(curves, draw)) for study, curves in studies.items() for draw in range(draws)]
        for name, way in ways.items()
    }
    rows: list[Row] = []
    raw: dict[str, Any] = {"error_of_best": {" ".join(map(str, k)): best(c).error for k, c in studies.items()}}
    for name, runs in found.items():
        regret = [best(studies[study]).value - f.value for study, _, f in runs]
        errors = [r / best(studies[study]).error for r, (study, _, _) in zip(regret, runs, strict=True)]
        share = [f.epochs / sum(len(c.scores) for c in studies[study].values()) for study, _, f in runs]
        own = name == "TPE with pruning"
        rows.append(harness.ratio(f"epochs of {name}", "the nine-value grid", share, goal=("≤", 0.5) if own else None))
        rows.append(
            harness.amount(
                f"regret of {name} in validation DSC", errors, "standard errors",
                goal=("≤", 1.0) if own else None, detail=f"median {statistics.median(regret):.4f}, {_quantile(regret)}",
            )
        )  # fmt: skip
        raw[name] = {
            "regret": regret, "epochs": [f.epochs for *_, f in runs], "finished": [f.finished for *_, f in runs],
            "pruned": [f.pruned for *_, f in runs], "mean_regret": statistics.mean(regret),
            "within_one_error": sum(e <= 1 for e in errors) / len(errors),
        }  # fmt: skip
    return Measured(rows, raw)


def ours(seed: int, **changed: Any) -> SearchSettings:
    """The shipped grid `adaptive`, but for the seed of its sampler and what is `changed`."""
    from sweeper.grids.expansion import settings_of
    from sweeper.grids.files import load_grid

    search = load_grid("adaptive").search
    if search is None:
        raise ValueError("the grid `adaptive` has no search")
    return settings_of(search.model_copy(update={"seed": seed, **changed}), 1)


def rival(seed: int) -> SearchSettings:
    """Random search as one would write it: γ at random, every trial to its end, for half of the grid's trials."""
    return SearchSettings("random", trials=len(GAMMAS) // 2, seed=seed, from_default=False, pruner="none")


def searched(curves: Curves, settings: SearchSettings) -> Found:
    """Lets a search choose among the trained trials, one after the other."""
    cell = _cell(sorted(curves))
    seen: list[Seen] = []
    while (point := Suggester(cell, settings, seen).suggest()) is not None:
        curve, name = curves[point["gamma"]], str(point["gamma"])
        running = Suggester(cell, settings, [*seen, Seen(name, point, TrialState.RUNNING)])
        scores: dict[int, float] = {}
        pruned = False
        for epoch, score in enumerate(curve.scores, start=1):
            scores[epoch] = score
            if running.report(name, epoch, score) and epoch < len(curve.scores):
                pruned = True
                break
        state = TrialState.PRUNED if pruned else TrialState.FINISHED
        seen.append(Seen(name, point, state, None if pruned else curve.value, scores))
    values = [one.value for one in seen if one.value is not None]
    return Found(max(values), sum(len(one.scores) for one in seen), len(values), len(seen) - len(values))


def best(curves: Curves) -> Curve:
    """The grid's answer: the trial of the highest validation DSC."""
    return max(curves.values(), key=lambda curve: curve.value)


def trained(home: Path, *, quick: bool) -> dict[tuple[str, int], Curves]:
    """The grid's curves by loss and seed, trained where `home` does not hold them yet."""
    seeds = SEEDS[:1] if quick else SEEDS
    variants = VARIANTS[:1] if quick else VARIANTS
    gammas = FEWER if quick else GAMMAS
    losses = ", ".join(f'{{ name = "{name}", gamma = {list(gammas)} }}' for name in variants)
    file = home / "nine.toml"
    home.mkdir(parents=True, exist_ok=True)
    file.write_text(GRID.format(seeds=list(seeds), losses=losses, more=TINY if quick else ""), encoding="utf-8")
    command = [sys.executable, "-m", "sweeper", "launch", "--grid", str(file)]
    subprocess.run(command, env={**os.environ, "SWEEPER_HOME": str(home)}, check=True, stdout=subprocess.DEVNULL)
    with open_database(f"sqlite:///{home / 'sweeper.db'}", create=False) as database:
        repository = Repository(database)
        errors = _errors(repository.score_columns("nine"))
        found: dict[tuple[str, int], dict[float, Curve]] = {}
        for trial in repository.trials("nine"):
            if trial.val_dsc is None or trial.gamma is None:
                raise RuntimeError(f"{trial.label} has not finished")
            scores = tuple(epoch.val_dsc for epoch in repository.epochs(trial.hash))
            curve = Curve(scores, trial.val_dsc, errors[trial.hash])
            found.setdefault((trial.loss, trial.seed), {})[trial.gamma] = curve
    return dict(found)


def _errors(columns: Mapping[str, Sequence[Any]]) -> dict[str, float]:
    """The standard error of each trial's mean validation DSC over the images."""
    values: dict[str, list[float]] = {}
    for trial, partition, dsc in zip(columns["trial"], columns["partition"], columns["dsc"], strict=True):
        if partition == "validation" and dsc is not None:
            values.setdefault(trial, []).append(dsc)
    return {trial: statistics.stdev(dsc) / len(dsc) ** 0.5 for trial, dsc in values.items()}


def _cell(gammas: Sequence[float]) -> SearchCell:
    """One study over the values that were trained; which loss it names plays no part."""
    grid = Grid.model_validate(
        {
            "name": "nine",
            "datasets": [{"name": "nuclei"}],
            "losses": [{"name": "unified_focal_asym", "gamma": list(gammas)}],
            "search": "tpe",
        }
    )
    (cell,) = search_cells(grid, {"nuclei": DataIdentity(("background", "nucleus"), 2)})
    return cell


def _quantile(values: Sequence[float]) -> str:
    cuts = statistics.quantiles(values, n=20)
    return f"90% of the searches between {cuts[0]:.4f} and {cuts[-1]:.4f}"


if __name__ == "__main__":
    sys.exit(harness.main("search", __doc__, measure))
