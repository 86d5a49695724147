"""A sweep against the physical limit: the training, validation and prediction steps of its trials, and nothing else.

    python -m benchmarks.limit [--setting quick|normal|long]

The 24 trials are those of `benchmarks.sweep`, short ones of 0.65 s and long ones of 10 s, on one worker. In each round
`sweeper launch` trains them (in a home that has been used before: the data are prepared, the trials are new), and
`benchmarks.plain.steps` makes the same steps in one warm process, with every batch in memory and every graph traced. Of
the pure steps one trial for each loss is measured, since all values of γ take the same. Where something happened in a
sweep is read from what it leaves: each trial's spool says when an epoch ended, the database when a result was stored.

- First step: the end of the first epoch, less what of a usual epoch follows its first step.
- Its rival is the bare Keras script (`benchmarks.plain.script`), from its start to the end of its first step.
- From the last step to the report: of the demo, from the end of the last epoch of all to the page on the disk. The
  normal setting trains the demo's trials for one epoch, the long one for all.

The normal setting has full sizes and five rounds: three quarters of an hour on two quiet cores.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.bare import bare_steps
from benchmarks.harness import ROUNDS, Measured, Row, Setting
from benchmarks.sweep import GAMMAS, LONG, LOSSES, ONE_WORKER, SHORT, arrays, grid_text
from storage.database import open_database
from storage.repository import Repository
from sweeper.data import preparation
from sweeper.data.resolved import resolve_ready
from sweeper.grids.files import load_grid
from sweeper.settings import Settings
from trials.spec import TrialSpec

DEMO = "demo"


@dataclass(frozen=True, slots=True)
class Extent:
    """Losses and values of γ of each, epochs of a long trial (0: none are run), and of the demo's (0: it is not)."""

    losses: int
    gammas: int
    long: int
    demo: int
    rounds: int


EXTENTS = {
    Setting.QUICK: Extent(1, 2, 0, 0, 1),
    Setting.NORMAL: Extent(len(LOSSES), len(GAMMAS), LONG, 1, ROUNDS),
    Setting.LONG: Extent(len(LOSSES), len(GAMMAS), LONG, 12, ROUNDS),
}


@dataclass(frozen=True, slots=True)
class Launched:
    """What a launch left.

    Attributes:
        began, ended: of the command, in seconds since 1970.
        first: when the first optimiser step was done.
        last: when the last epoch of all ended.
        stored: when the last result was.
        report: when the report was written.
        traces: seconds that first epochs took longer than usual ones of their loss, above all to trace its graph.
    """

    began: float
    ended: float
    first: float
    last: float
    stored: float
    report: float
    traces: float


class Bench:
    """Runs the commands in a scratch folder."""

    def __init__(self, scratch: Path, extent: Extent) -> None:
        self.scratch, self.extent = scratch, extent
        self.settings = Settings(home=scratch / "home", database_url=f"sqlite:///{scratch / 'home' / 'sweeper.db'}")
        self.data = arrays(scratch)  # as a script reads them; prepared in the home by the way
        self._number = 0
        # The first launch of a home makes its stores.
        self.launch(self._grid(1, 1, SHORT), [])

    def sweep(self, epochs: int) -> Launched:
        """The trials, by one worker."""
        return self.launch(self._grid(self.extent.losses, self.extent.gammas, epochs), ["--fresh"])

    def demo(self) -> Launched:
        """The demo, by as many workers as there are cores."""
        return self.launch(DEMO, ["--fresh", "--set", f"training.epochs={self.extent.demo}"])

    def launch(self, grid: str, options: Sequence[str]) -> Launched:
        self._number += 1
        name = f"limit-{self._number}"
        command = [sys.executable, "-m", "sweeper", "launch", "--grid", grid, "--name", name, *options]
        began = time.time()
        harness.output_of(command, {"SWEEPER_HOME": str(self.settings.home), "COLUMNS": "200"})
        ended = time.time()
        with open_database(self.settings.database, create=False) as database:
            trials = Repository(database).trials(name)
        ends = {trial.hash: _epoch_ends(self.settings.trials / trial.hash) for trial in trials}
        seconds = {trial.hash: self._seconds(trial.hash) for trial in trials}
        usual = statistics.median(one for own in seconds.values() for one in own)
        first = min(ends, key=lambda trial: ends[trial][0])
        steps = _steps(self.settings.trials / first)
        traces = [
            max(seconds[trial.hash][0] for trial in trials if trial.loss == loss) - usual
            for loss in {trial.loss for trial in trials}
        ]
        return Launched(
            began=began,
            ended=ended,
            first=ends[first][0] - usual * (1 - 1 / steps),
            last=max(own[-1] for own in ends.values()),
            stored=max(trial.finished_at or 0.0 for trial in trials),
            report=(self.settings.reports / name / "report.html").stat().st_mtime,
            traces=sum(traces),
        )

    def steps(self, epochs: int) -> float:
        """The pure steps of all trials of a sweep."""
        found = bare_steps(self._specs(epochs), self.settings.prepared, self.scratch)
        return self.extent.gammas * sum(one.train + one.predict for one in found)

    def script(self) -> float:
        """Seconds from the start of the bare script to the end of its first step."""
        out = self.scratch / f"script-{time.time_ns()}"
        command = [sys.executable, "-m", "benchmarks.plain.script", "--data", str(self.data), "--epochs", "1"]
        begin = time.time()
        printed = harness.output_of([*command, "--first-step", "--out", str(out), f"{LOSSES[0]}:{GAMMAS[0]}"], {})
        (line,) = (line for line in printed.splitlines() if line.startswith("first step "))
        return float(line.removeprefix("first step ")) - begin

    def _grid(self, losses: int, gammas: int, epochs: int) -> str:
        cpus = max(ONE_WORKER * len(os.sched_getaffinity(0)), 1.0)
        path = self.scratch / f"speed-{losses}-{gammas}-{epochs}.toml"
        path.write_text(grid_text(gammas, epochs, cpus, losses))
        return str(path)

    def _specs(self, epochs: int) -> list[TrialSpec]:
        """One trial of each loss."""
        grid = load_grid(self._grid(self.extent.losses, 1, epochs))
        return list(resolve_ready(grid, preparation.prepare(grid, self.settings, lambda *_: None)).specs)

    def _seconds(self, trial: str) -> list[float]:
        result = json.loads((self.settings.trials / trial / "result.json").read_text())
        return [float(epoch["seconds"]) for epoch in result["history"]]


def _steps(folder: Path) -> int:
    """Optimiser steps in an epoch of a trial."""
    return int(json.loads((folder / "result.json").read_text())["history"][0]["steps"])


def _epoch_ends(folder: Path) -> list[float]:
    """When each epoch of a trial ended, in seconds since 1970."""
    lines = (json.loads(line) for line in (folder / "spool.jsonl").read_text().splitlines())
    return [line["at"] / 1000 for line in lines if line["kind"] == "metrics"]


def measure(setting: Setting) -> Measured:
    extent = EXTENTS[setting]
    with tempfile.TemporaryDirectory(prefix="sweeper-bench-") as folder:
        bench = Bench(Path(folder), extent)
        kinds = {"short": SHORT, **({"10 s": extent.long} if extent.long else {})}
        launched: dict[str, list[Launched]] = {}
        pure: dict[str, list[float]] = {}

        def kept(kind: str, call: Callable[[], Launched]) -> Callable[[], float]:
            def run() -> float:
                launched.setdefault(kind, []).append(call())
                return launched[kind][-1].ended - launched[kind][-1].began

            return run

        def summed(kind: str, epochs: int) -> Callable[[], float]:
            def run() -> float:
                pure.setdefault(kind, []).append(bench.steps(epochs))
                return pure[kind][-1]

            return run

        calls: dict[str, Callable[[], float]] = {"script": bench.script}
        for kind, epochs in kinds.items():
            calls[kind] = kept(kind, lambda epochs=epochs: bench.sweep(epochs))  # type: ignore[misc]
            calls[f"{kind}, pure"] = summed(kind, epochs)
        if extent.demo:
            calls[DEMO] = kept(DEMO, bench.demo)
        script = harness.interleaved(calls, extent.rounds)["script"]
    rows = [row for kind in reversed(kinds) for row in _rows(kind, extent, launched[kind], pure[kind])]
    shortest = launched["short"]
    starts = [one.first - one.began for one in shortest]
    rows.append(
        harness.costs(
            "from `sweeper launch` to the first optimiser step, data prepared",
            "a bare Keras script",
            starts,
            script,
            goal=1.5,
            detail=f"{_median(starts)} / {_median(script)} s",
        )
    )
    ended = DEMO if extent.demo else "short"
    ends = launched[ended]
    rows.append(
        harness.amount(
            f"from the last step to the report on the disk, {ended} trials",
            [one.report - one.last for one in ends],
            "s",
            goal=("≤", 5.0),
            detail=f"{_median([one.report - one.stored for one in ends])} s of it after the last result",
        )
    )
    return Measured(rows, _raw(launched, pure, script))


def _rows(kind: str, extent: Extent, launched: Sequence[Launched], pure: Sequence[float]) -> list[Row]:
    between = [one.stored - one.first for one in launched]
    whole = [one.ended - one.began for one in launched]
    what = f"{extent.losses * extent.gammas} {kind} trials, one worker"
    against = "their steps alone, in one warm process"
    traces = f"{_median([one.traces for one in launched])} s of it for the losses' first epochs"
    rows = [
        harness.costs(
            f"{what}, first step to last stored result",
            against,
            between,
            pure,
            goal=1.1 if kind == "short" else 1.08,
            detail=f"{_median(between)} / {_median(pure)} s; {traces}",
        )
    ]
    if kind != "short":
        rows.append(
            harness.costs(f"{what}, the whole command", against, whole, pure, goal=1.15, detail=f"{_median(whole)} s")
        )
    return rows


def _median(values: Sequence[float]) -> str:
    return harness.number(statistics.median(values))


def _raw(
    launched: Mapping[str, Sequence[Launched]], pure: Mapping[str, Sequence[float]], script: Sequence[float]
) -> dict[str, Any]:
    """Everything in seconds after the start of each launch."""
    return {
        "launches": {
            kind: [
                {
                    "first": one.first - one.began,
                    "last": one.last - one.began,
                    "stored": one.stored - one.began,
                    "report": one.report - one.began,
                    "ended": one.ended - one.began,
                    "traces": one.traces,
                }
                for one in own
            ]
            for kind, own in launched.items()
        },
        "pure": pure,
        "script": script,
    }


if __name__ == "__main__":
    sys.exit(harness.main("limit", __doc__ or "", measure))
