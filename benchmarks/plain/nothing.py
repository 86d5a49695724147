"""Trials that do nothing: by plain Tune, or by the coordinator.

    python -m benchmarks.plain.nothing tune|coordinator --trials 2000 --home DIR [--workers N] [--database URL]

Each trial reports three times, as one of a single epoch does: that it has started, its epoch, and its end. Prints as
JSON the seconds after which each trial was done and all was over, the processor's seconds of this process at the same
moments, and its resident memory (MiB) at every tenth of them. The coordinator writes 22 images' scores for each, and
records it in one of five Optuna studies.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

# First of all: it says to Ray what is to be left out, for both alike.
from sweeper.run.ray_cluster import ray_cluster

from sweeper.run.ray_tune import execute  # isort: skip

from ray import tune
from rich.console import Console

from storage.database import open_database
from storage.records import NewTrial
from storage.repository import Repository
from storage.studies import Studies
from sweeper.grids.names import Naming
from sweeper.run.coordinator import Coordinator, Work
from sweeper.run.lease import LeaseKeeper
from sweeper.run.progress import display
from trials.messages import EpochEnded, Finished, Report, Started, Tracking, Worker, read_task, to_json
from trials.results import Epoch, Score, TrialResult
from trials.spec import DataSpec, LossSpec, TrialSpec

SWEEP = "nothing"
DATASETS = 5
SCORES = {"dsc": 0.8, "iou": 0.7, "precision": 0.8, "recall": 0.8}
EPOCH = Epoch(1, 0.5, 0.4, 0.8, 0.1, 19, 0.7)


class Nothing(tune.Trainable):
    """Answers like `sweeper.run.trainable.WarmTrainable`, at once. By plain Tune its results are as large."""

    def setup(self, config: Mapping[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        if "task" in new_config:
            read_task(new_config["task"])
        self._hash = str(new_config.get("hash", new_config.get("number")))
        self._place = 0
        return True

    def step(self) -> dict[str, Any]:
        self._place += 1
        reports = (
            lambda: Report(Started(), worker=Worker(1, "here", "CPU")),
            lambda: Report(EpochEnded(EPOCH)),
            lambda: Report(Finished(result(self._hash))),
        )
        return {"message": to_json(reports[self._place - 1]()), "done": self._place == len(reports)}


class Watch:
    """When each trial was done, what that took, and how the memory grew."""

    def __init__(self, trials: int) -> None:
        self.trials, self.begin = trials, time.perf_counter()
        self.done: list[float] = []
        self.cpu: list[float] = []
        self.memory: list[int] = []

    def tick(self) -> None:
        self.done.append(round(time.perf_counter() - self.begin, 4))
        self.cpu.append(round(time.process_time(), 4))
        if len(self.done) % max(self.trials // 10, 1) == 0:
            self.memory.append(psutil.Process().memory_info().rss // 2**20)


class Ticks(tune.Callback):
    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.watch.tick()


def result(trial_hash: str) -> TrialResult:
    """A result of the usual size."""
    scores = tuple(
        Score(partition, f"{partition}-{number}", "thing", SCORES)
        for partition, cases in (("validation", 10), ("test", 12))
        for number in range(cases)
    )
    return TrialResult(trial_hash, scores, (EPOCH,), 1, False, 0, 19, 1000, 0.7, 0.1, 500.0, {"device": "CPU"})


def new_trials(trials: int) -> list[NewTrial]:
    """A sweep of many trials: five data sets, γ from 0 to 0.98, repeats."""
    rows = []
    for number in range(trials):
        dataset, gamma, repeat = f"set{number % DATASETS}", number // DATASETS % 99 / 100, number // DATASETS // 99
        spec = TrialSpec(
            DataSpec(dataset, ("background", "thing"), 2, "p" * 16, "s" * 16),
            LossSpec("unified_focal_asym", {"gamma": gamma, "delta": 0.6}),
            repeat=repeat,
            seed=repeat,
        )
        rows.append(
            NewTrial(
                hash=spec.hash,
                spec=spec,
                label=Naming().label(spec),
                dataset=dataset,
                loss=spec.loss.name,
                gamma=gamma,
                repeat=repeat,
                seed=repeat,
                results_version=spec.results_version,
                study=f"{SWEEP}/{dataset}/{spec.loss.name}",
                cost=10.0,
            )
        )
    return rows


def cpus_of(workers: int) -> float:
    """The part of this machine's CPUs that each of so many workers takes."""
    return (os.cpu_count() or 1) / workers


def by_tune(trials: int, home: Path, workers: int) -> Watch:
    watch = Watch(trials)
    with ray_cluster(""):
        watch.begin = time.perf_counter()
        tune.Tuner(
            tune.with_resources(Nothing, {"cpu": cpus_of(workers)}),
            param_space={"number": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                name="plain",
                storage_path=str(home),
                verbose=0,
                callbacks=[Ticks(watch)],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
            ),
        ).fit()
    return watch


def by_coordinator(trials: int, home: Path, workers: int, url: str) -> Watch:
    watch = Watch(trials)
    with open_database(url) as database:
        repository = Repository(database)
        sweep = repository.create_sweep(SWEEP, grid={}, trials=new_trials(trials))
        console = Console(file=(home / "printed").open("w"))
        with LeaseKeeper(repository, SWEEP, 30.0) as keeper, Studies(database) as studies, ray_cluster(""):
            watch.begin = time.perf_counter()
            with display(console, workers) as shown:
                coordinator = Coordinator(
                    repository, sweep, keeper, studies=studies, work=Work(home, home), observer=_Ticking(shown, watch)
                )
                execute(
                    coordinator,
                    tracking=Tracking("", "", ""),
                    logs=home,
                    resources={f"set{number}": {"CPU": cpus_of(workers), "GPU": 0.0} for number in range(DATASETS)},
                    trainable=Nothing,
                )
                coordinator.close()
    return watch


class _Ticking:
    """A display that counts what it is told."""

    def __init__(self, shown: Any, watch: Watch) -> None:
        self.changed, self._shown, self._watch = shown.changed, shown, watch

    def say(self, line: str) -> None:
        self._shown.say(line)
        if line.startswith("finished "):
            self._watch.tick()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("which", choices=("tune", "coordinator"))
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--database", metavar="URL", help="by default SQLite in the home")
    arguments = parser.parse_args()
    trials, home, workers = arguments.trials, arguments.home, arguments.workers
    if arguments.which == "tune":
        watch = by_tune(trials, home, workers)
    else:
        watch = by_coordinator(trials, home, workers, arguments.database or f"sqlite:///{home / 'sweeper.db'}")
    ended = round(time.perf_counter() - watch.begin, 4)
    cpu_ended = round(time.process_time(), 4)
    print(
        json.dumps(
            {"done": watch.done, "cpu": watch.cpu, "ended": ended, "cpu_ended": cpu_ended, "memory": watch.memory}
        )
    )


if __name__ == "__main__":
    main()
