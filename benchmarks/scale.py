"""What the coordinator costs with thousands of trials, and how long a person waits for their status and report.

    python -m benchmarks.scale [--setting quick|normal|long]

The coordinator runs trials that do nothing, and plain Tune the same ones (`benchmarks.plain.nothing`). The difference
is what the queue, the lease, the database, the Optuna studies and the display cost. It is taken in tenths of the run,
so that growth shows. `--setting long` runs 10,000 trials, the normal one 2,000. `sweeper status` and `report` look
at sweeps whose finished trials were written for the benchmark, 22 images each.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.harness import ROUNDS, Measured, Row, Setting

SWEEP = "nothing"
PARTS = 10


@dataclass(frozen=True, slots=True)
class Extent:
    """Trials that run, that a report is on, and that a status is of; rounds of these two."""

    trials: int
    report: int
    status: int
    rounds: int


EXTENTS = {
    Setting.QUICK: Extent(50, 0, 50, 1),
    Setting.NORMAL: Extent(2_000, 2_000, 10_000, 1),
    Setting.LONG: Extent(10_000, 5_000, 10_000, ROUNDS),
}
TRIALS, REPORTED = 10_000, 5_000
"""What the goals are for."""


def measure(setting: Setting) -> Measured:
    extent = EXTENTS[setting]
    with tempfile.TemporaryDirectory(prefix="sweeper-bench-") as folder:
        scratch = Path(folder)
        plain = _nothing("tune", extent.trials, scratch / "plain")
        ours = _nothing("coordinator", extent.trials, scratch / "ours")
        rows = [*_cost(extent.trials, plain["done"], ours["done"]), _memory(extent.trials, ours["memory"])]
        rows.append(_looks("status", scratch, extent.status, extent.status or 1, ROUNDS if extent.status > 50 else 1))
        if extent.report:
            rows.append(_looks("report", scratch, extent.report, REPORTED, extent.rounds))
    return Measured(rows, {"plain": plain, "ours": ours})


def _nothing(which: str, trials: int, home: Path) -> dict[str, Any]:
    home.mkdir()
    command = [sys.executable, "-m", "benchmarks.plain.nothing", which, "--trials", str(trials), "--home", str(home)]
    printed = _run(command, {}).strip().splitlines()[-1]
    found: dict[str, Any] = json.loads(printed)
    if len(found["done"]) != trials:
        raise RuntimeError(f"{which}: {len(found['done'])} of {trials} trials were done")
    return found


def _cost(trials: int, plain: Sequence[float], ours: Sequence[float]) -> list[Row]:
    """Milliseconds per trial over plain Tune in each tenth, and how the last compares with the first.

    What passes before the first result is the start of Ray's actors, in both alike.
    """
    each = [(a - b) * 1e3 for a, b in zip(_paces(ours), _paces(plain), strict=True)]
    whole = [f"{harness.number(statistics.median(_paces(done)) * 1e3)} ms" for done in (ours, plain)]
    some = f"{trials:,} trials that do nothing"
    growth = each[-1] / each[0]
    return [
        harness.amount(
            f"the coordinator's own cost per trial over plain Tune, {some}",
            each,
            "ms",
            goal=("≤", 15.0),
            detail=f"{whole[0]} / {whole[1]} per trial; tenths of the run",
        ),
        Row(
            f"the same, the last {trials // PARTS:,} trials",
            f"the first {trials // PARTS:,}",
            growth,
            growth,
            growth,
            goal=("≤", 1.2),
        ),
    ]


def _paces(done: Sequence[float]) -> list[float]:
    """Seconds per trial in each tenth of the run."""
    marks = np.linspace(0, len(done) - 1, PARTS + 1).astype(int)
    times = np.asarray(done)[marks]
    return [float(t / n) for t, n in zip(np.diff(times), np.diff(marks), strict=True)]


def _memory(trials: int, memory: Sequence[float]) -> Row:
    """The coordinator's resident memory at 10,000 trials, on the line through the second half of a shorter run."""
    detail, at_end = "", float(memory[-1])
    if trials < TRIALS:
        half = len(memory) // 2
        slope = (memory[-1] - memory[half]) / max(trials * (len(memory) - 1 - half) / len(memory), 1)
        detail = f"{at_end:.0f} MiB at {trials:,}, extrapolated"
        at_end += slope * (TRIALS - trials)
    return harness.amount(
        f"the coordinator's memory, {TRIALS:,} trials", [at_end], "MiB", goal=("≤", 1024.0), detail=detail
    )


def _looks(verb: str, scratch: Path, trials: int, wanted: int, rounds: int) -> Row:
    """Seconds of `sweeper status` or `sweeper report` as a person calls it."""
    home = scratch / f"{verb}-{trials}"
    home.mkdir()
    fill(home, trials)
    options = ["--out", str(scratch / "report")] if verb == "report" else []
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        _run([sys.executable, "-m", "sweeper", verb, SWEEP, *options], {"SWEEPER_HOME": str(home)})
        seconds.append((time.perf_counter() - begin) * max(wanted / trials, 1.0))
    detail = (
        "" if trials >= wanted else f"{harness.number(seconds[0] * trials / wanted)} s for {trials:,}, extrapolated"
    )
    return harness.amount(
        f"`sweeper {verb}`, {wanted:,} trials",
        seconds,
        "s",
        goal=("≤", 30.0 if verb == "report" else 1.0),
        detail=detail,
    )


def fill(home: Path, trials: int) -> None:
    """A finished sweep of so many trials in an empty home: written straight into the tables, for speed."""
    from sqlalchemy import insert, update

    from benchmarks.plain.nothing import EPOCH, new_trials, result
    from storage.database import open_database
    from storage.models import AttemptRow, EpochRow, ScoreRow, SweepRow, TrialRow
    from storage.repository import Repository

    rng = np.random.default_rng(0)
    rows = new_trials(trials)
    with open_database(f"sqlite:///{home / 'sweeper.db'}") as database:
        Repository(database).create_sweep(SWEEP, grid={"name": SWEEP}, trials=rows)
        scores, epochs, attempts = [], [], []
        for number, row in enumerate(rows, 1):
            for score in result(row.hash).scores:
                dsc = float(np.clip(rng.normal(0.8, 0.05), 0, 1))
                scores.append(
                    {
                        "trial": row.hash,
                        "partition": score.partition,
                        "case": score.case,
                        "label": score.label,
                        "dsc": dsc,
                        "iou": dsc / (2 - dsc),
                        "precision": dsc,
                        "recall": dsc,
                    }
                )
            values = {name: getattr(EPOCH, name) for name in EPOCH.__dataclass_fields__}
            epochs.append({"trial": row.hash, "attempt_id": number, **values})
            attempts.append(
                {
                    "id": number,
                    "trial": row.hash,
                    "number": 1,
                    "sweep_id": 1,
                    "fencing": 1,
                    "token": str(number),
                    "state": "finished",
                    "host": "here",
                    "device": "CPU",
                    "resumed_from": 0,
                    "steps": 19,
                    "started_at": 1.7e9,
                    "ended_at": 1.7e9,
                }
            )
        ended = {
            "state": "finished", "attempts": 1, "epochs": 1, "best_epoch": 1, "val_loss": 0.4, "val_dsc": 0.8,
            "test_dsc": 0.8, "train_seconds": 0.7, "evaluate_seconds": 0.1, "parameters": 1000, "started_at": 1.7e9,
            "finished_at": 1.7e9,
        }  # fmt: skip
        with database.engine.begin() as connection:
            connection.execute(update(TrialRow).values(**ended, sweep_id=1))
            connection.execute(update(SweepRow).values(state="finished"))
            connection.execute(insert(ScoreRow), scores)
            connection.execute(insert(AttemptRow), attempts)
            connection.execute(insert(EpochRow), epochs)


def _run(command: Sequence[str], variables: Mapping[str, str]) -> str:
    """What a command printed.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **variables}
    root = Path(__file__).parent.parent
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(harness.main("scale", __doc__ or "", measure))
