"""A sweep of many short trials by `sweeper launch` against what one would write without it.

    python -m benchmarks.sweep [--setting quick|normal|long]

24 trials of a small 2D U-Net on the shipped nuclei (38 training images of 112×112, batches of 2): three losses, eight
values of γ. A short trial has one epoch, about 0.65 s of pure steps on one core; a long one has 15. Ours is the whole
command in an empty home: preparing the data, starting Ray and MLflow, training, scores, pictures, models, database and
report. The others (`benchmarks.plain`) find their arrays ready, and write scores and models to files:

- a shell loop over a plain Keras script, one process per trial, which may use all cores;
- plain Ray Tune with function trainables, as many at once as there are cores;
- one process that trains them one after the other without any tracking, on all cores.

Where a run has fewer trials than 24 (all but ours with two workers, unless `--setting long`), its time is extrapolated:
what it took, and the time between two results for each of the others. A loop's trials are alike, so one per round
stands for all. The normal setting has five rounds of short trials, of two and a half minutes each, and five of long
ones, of nearly five; the long setting runs all trials of the short ones, and one round of all the long.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.harness import ROUNDS, Measured, Row, Setting

TRIALS = 24
LOSSES = ("unified_focal_asym", "unified_focal_sym", "focal_tversky")
GAMMAS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SIZE = 112
SHORT, LONG = 1, 15
"""Epochs of a short and of a long trial."""

GRID = """
name = "speed"

[[datasets]]
name = "nuclei"
options = {{ size = [{size}, {size}] }}
{losses}
[model]
base_filters = 8
depth = 3

[training]
epochs = {epochs}
augmentation_probability = 0.0

[resources]
cpus = {cpus}
"""

LOSS = """
[[losses]]
name = "{name}"
gamma = {gammas}
"""

ONE_WORKER = 0.75
"""Share of the machine's cores that a trial asks for so that only one runs at once."""


@dataclass
class Run:
    """One run of a command: when each result came, and when it ended, in seconds after its start."""

    results: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def whole(self, trials: int) -> float:
        """Its time with so many trials."""
        missing = trials - len(self.results)
        return self.seconds + (missing * self.between if missing > 0 else 0.0)

    @property
    def between(self) -> float:
        """Seconds from a result to the next: half the median time of two, since two workers bring them in pairs; of few
        the mean. The median does not move with new losses' traces."""
        times = np.asarray(self.results)
        if len(times) > 4:
            return float(np.median(times[2:] - times[:-2])) / 2
        return float(np.mean(np.diff(times))) if len(times) > 1 else self.seconds


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of each is run, of 0 nothing: values of γ for each loss, by sweeper with all workers, with one, by Tune,
    and by one process; rounds; and losses."""

    workers: int
    one: int
    tune: int
    process: int
    rounds: int
    losses: int = len(LOSSES)


EXTENTS = {
    Setting.QUICK: {SHORT: Extent(1, 0, 0, 0, 1, losses=1)},
    Setting.NORMAL: {SHORT: Extent(8, 4, 1, 1, ROUNDS), LONG: Extent(2, 2, 1, 1, ROUNDS)},
    Setting.LONG: {SHORT: Extent(8, 8, 8, 8, ROUNDS), LONG: Extent(8, 8, 8, 8, 1)},
}
"""By the epochs of a trial."""


class Bench:
    """Runs the commands in a scratch folder."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.cores = len(os.sched_getaffinity(0))
        self.data = arrays(scratch)
        self._number = 0

    def sweeper(self, gammas: int, epochs: int, *, workers: int, losses: int = len(LOSSES)) -> Run:
        """`sweeper launch` of a grid, with so many values of γ for each of the losses, in an empty home."""
        folder = self._folder("sweeper")
        cpus = 1.0 if workers > 1 else max(ONE_WORKER * self.cores, 1.0)
        grid = folder / "speed.toml"
        grid.write_text(grid_text(gammas, epochs, cpus, losses))
        command = [sys.executable, "-m", "sweeper", "launch", "--grid", str(grid)]
        return run(command, losses * gammas, {"SWEEPER_HOME": str(folder / "home"), "COLUMNS": "200"})

    def script(self, trials: Sequence[str], epochs: int) -> Run:
        """The plain script, in one process."""
        return self._plain("benchmarks.plain.script", trials, epochs)

    def tune(self, trials: Sequence[str], epochs: int, *options: str) -> Run:
        """Plain Ray Tune."""
        return self._plain("benchmarks.plain.tuned", trials, epochs, *options)

    def _plain(self, module: str, trials: Sequence[str], epochs: int, *options: str) -> Run:
        out = str(self._folder("plain"))
        command = [sys.executable, "-m", module, "--data", str(self.data), "--epochs", str(epochs), "--out", out]
        return run([*command, *options, *trials], len(trials), {})

    def _folder(self, kind: str) -> Path:
        self._number += 1
        folder = self.scratch / f"{kind}-{self._number}"
        folder.mkdir()
        return folder


def grid_text(gammas: int, epochs: int, cpus: float, losses: int = len(LOSSES)) -> str:
    tables = "".join(LOSS.format(name=name, gammas=list(GAMMAS[:gammas])) for name in LOSSES[:losses])
    return GRID.format(size=SIZE, losses=tables, epochs=epochs, cpus=cpus)


def plain_trials(gammas: int, losses: int = len(LOSSES)) -> list[str]:
    """`LOSS:GAMMA` of each trial, the losses in turn."""
    return [f"{loss}:{gamma}" for loss in LOSSES[:losses] for gamma in GAMMAS[:gammas]]


def run(command: Sequence[str], trials: int, variables: Mapping[str, str]) -> Run:
    """Runs a command that prints a line with `finished` after each trial.

    Raises:
        RuntimeError: it failed, or did not finish every trial; with what it printed.
    """
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **variables}
    done, printed = Run(), []
    begin = time.perf_counter()
    with subprocess.Popen(
        command,
        env=environment,
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        if process.stdout is None:
            raise RuntimeError("no output to read")
        for line in process.stdout:
            printed.append(line)
            if re.match(r"(\d\d:\d\d:\d\d  )?finished ", line):
                done.results.append(time.perf_counter() - begin)
    done.seconds = time.perf_counter() - begin
    if process.returncode != 0 or len(done.results) != trials:
        raise RuntimeError(
            f"{' '.join(command)}: exit {process.returncode}, {len(done.results)} of {trials} trials finished\n"
            + "".join(printed[-40:])
        )
    return done


def measure(setting: Setting) -> Measured:
    rows: list[Row] = []
    raw = {}
    with tempfile.TemporaryDirectory(prefix="sweeper-bench-") as folder:
        bench = Bench(Path(folder))
        for epochs, extent in EXTENTS[setting].items():
            kind = "short" if epochs == SHORT else "10 s"
            runs = _rounds(bench, extent, epochs)
            rows += _rows(kind, runs, goals=epochs == SHORT)
            raw[kind] = _raw(runs)
    return Measured(rows, raw)


def _rounds(bench: Bench, extent: Extent, epochs: int) -> dict[str, list[Run]]:
    """The runs of each kind in each round."""
    # Of a loop, one trial per round: the losses take turns.
    one_of = [f"{LOSSES[n % len(LOSSES)]}:{GAMMAS[n % len(GAMMAS)]}" for n in range(extent.rounds)]
    runs: dict[str, list[Run]] = {}

    def kept(name: str, call: Callable[[], Run]) -> Callable[[], float]:
        def run() -> float:
            runs.setdefault(name, []).append(call())
            return runs[name][-1].seconds

        return run

    numbers = iter(one_of)
    calls = {
        "sweeper": kept(
            "sweeper", lambda: bench.sweeper(extent.workers, epochs, workers=bench.cores, losses=extent.losses)
        ),
        "loop": kept("loop", lambda: bench.script([next(numbers)], epochs)),
    }
    if extent.process:
        calls["process"] = kept("process", lambda: bench.script(plain_trials(extent.process, extent.losses), epochs))
    if extent.one:
        calls["one worker"] = kept("one worker", lambda: bench.sweeper(extent.one, epochs, workers=1))
    if extent.tune:
        calls["tune"] = kept("tune", lambda: bench.tune(plain_trials(extent.tune), epochs))
    harness.interleaved(calls, extent.rounds)
    return runs


def _rows(kind: str, runs: Mapping[str, Sequence[Run]], *, goals: bool) -> list[Row]:
    whole = {name: [run.whole(TRIALS) for run in each] for name, each in runs.items()}
    whole["loop"] = [TRIALS * run.seconds for run in runs["loop"]]
    what = f"{TRIALS} {kind} trials, `sweeper launch`"

    def seconds(*names: str) -> str:
        parts = [f"{harness.number(statistics.median(whole[name]))} s" for name in names]
        fewest = min(len(runs[name][0].results) for name in names if name != "loop")
        return " / ".join(parts) + ("" if fewest >= TRIALS else ", extrapolated")

    rows = [
        harness.faster(
            what,
            "a shell loop over a Keras script",
            whole["sweeper"],
            whole["loop"],
            goal=3.0 if goals else None,
            detail=seconds("sweeper", "loop"),
        )
    ]
    if "tune" in runs:
        rows.append(
            harness.faster(
                what,
                "plain Ray Tune, function trainables",
                whole["sweeper"],
                whole["tune"],
                goal=1.8 if goals else None,
                detail=seconds("sweeper", "tune"),
            )
        )
    ours = "one worker" if "one worker" in runs else "sweeper"
    if "process" in runs:
        rows.append(
            harness.costs(
                f"{what}, one worker" if ours == "one worker" else what,
                "one process, one after the other, no tracking",
                whole[ours],
                whole["process"],
                goal=1.1 if goals else None,
                detail=seconds(ours, "process"),
            )
        )
    if "one worker" in runs:
        rates = [b.between / a.between for a, b in zip(runs["sweeper"], runs["one worker"], strict=True)]
        rows.append(
            harness.ratio(
                f"{kind} trials per second, two workers",
                "one worker",
                rates,
                goal=("≥", 1.6) if goals else None,
                detail="while they train: the median of every two results",
            )
        )
    return rows


def _raw(runs: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    return {
        name: [{"seconds": round(r.seconds, 3), "results": [round(t, 3) for t in r.results]} for r in each]
        for name, each in runs.items()
    }


def arrays(scratch: Path) -> Path:
    """The data as a user of plain scripts has them: resized arrays of the three parts in one file."""
    from sweeper.data import preparation
    from sweeper.grids.files import parse_grid
    from sweeper.settings import Settings

    grid = parse_grid(_table(), "speed")
    ready = preparation.prepare(grid, Settings(home=scratch / "home"), lambda *_: None)["nuclei"]
    arrays = {}
    for part in ("train", "validation", "test"):
        cases = getattr(ready.split, part)
        arrays[f"{part}_images"] = np.stack([np.asarray(ready.prepared.image(case)) for case in cases])
        arrays[f"{part}_labels"] = np.stack([np.asarray(ready.prepared.label(case)) for case in cases])
    path = scratch / "images.npz"
    np.savez(path, **arrays)
    return path


def _table() -> dict[str, Any]:
    import tomllib

    return tomllib.loads(grid_text(1, SHORT, 1.0))


if __name__ == "__main__":
    sys.exit(harness.main("sweep", __doc__ or "", measure))
