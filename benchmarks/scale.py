"""What the coordinator costs with thousands of trials, and how long a person waits for their status and report.

    python -m benchmarks.scale [--setting quick|normal|long]

The coordinator runs trials that do nothing, and plain Tune the same ones, in turn (`benchmarks.plain.nothing`). The
difference is what the queue, the lease, the database, the Optuna studies and the display cost. It is taken over the
whole run, from the first trial's end until all is written and Ray is gone, and in tenths, so that growth shows.
`--setting long` runs 10,000 trials once, the normal one 400 five times. Both do it with SQLite and a worker for each
core, and with 64 workers and a Postgres on loopback that waits for its disk. `sweeper status` and `report` look at
sweeps whose finished trials were written for the benchmark, 22 images each.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.harness import ROUNDS, Measured, Row, Setting

SWEEP = "nothing"
PARTS = 10
WORKERS = 64

Ran = dict[str, Any]
"""What `benchmarks.plain.nothing` printed."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Trials that run, and how often; trials that a report is on, and that a status is of; rounds of these two."""

    trials: int
    runs: int
    report: int
    status: int
    rounds: int


EXTENTS = {
    Setting.QUICK: Extent(20, 1, 0, 20, 1),
    Setting.NORMAL: Extent(400, ROUNDS, 2_000, 10_000, ROUNDS),
    Setting.LONG: Extent(10_000, 1, 5_000, 10_000, ROUNDS),
}
TRIALS, REPORTED = 10_000, 5_000
"""What the goals are for."""


def measure(setting: Setting) -> Measured:
    extent = EXTENTS[setting]
    with tempfile.TemporaryDirectory(prefix="sweeper-bench-") as folder:
        scratch = Path(folder)
        plain, ours = _turns(extent, scratch)
        raw = {"plain": plain, "ours": ours}
        rows = [*_cost(extent.trials, plain, ours), _memory(extent.trials, ours[-1]["memory"])]
        if setting is not Setting.QUICK:
            raw["plain_64"], raw["postgres_64"] = plain, ours = _turns_on_postgres(extent, scratch)
            rows += _cost(extent.trials, plain, ours, f", Postgres, {WORKERS} workers")
        rows.append(_looks("status", scratch, extent.status, extent.status or 1, ROUNDS if extent.status > 50 else 1))
        if extent.report:
            rows.append(_looks("report", scratch, extent.report, REPORTED, extent.rounds))
    return Measured(rows, raw)


def _nothing(which: str, trials: int, home: Path, *options: str) -> Ran:
    home.mkdir()
    command = [sys.executable, "-m", "benchmarks.plain.nothing", which, "--trials", str(trials), "--home", str(home)]
    printed = harness.output_of([*command, *options], {}).strip().splitlines()[-1]
    found: Ran = json.loads(printed)
    if len(found["done"]) != trials:
        raise RuntimeError(f"{which}: {len(found['done'])} of {trials} trials were done")
    return found


def _turns_on_postgres(extent: Extent, scratch: Path) -> tuple[list[Ran], list[Ran]]:
    from tests.postgres_server import PostgresServer

    server = PostgresServer(durable=True)
    try:
        return _turns(
            extent, scratch / "postgres", lambda: ["--workers", str(WORKERS), "--database", server.new_database()]
        )
    finally:
        server.stop()


def _turns(extent: Extent, scratch: Path, options: Callable[[], list[str]] = list) -> tuple[list[Ran], list[Ran]]:
    """Plain Tune and the coordinator in turn, with these options; who begins changes."""
    ran: dict[str, list[Ran]] = {"tune": [], "coordinator": []}
    scratch.mkdir(exist_ok=True)

    def kept(which: str) -> Callable[[], float]:
        def run() -> float:
            ran[which].append(_nothing(which, extent.trials, scratch / f"{which}-{len(ran[which])}", *options()))
            return float(ran[which][-1]["ended"])

        return run

    harness.interleaved({which: kept(which) for which in ran}, extent.runs)
    return ran["tune"], ran["coordinator"]


def _cost(trials: int, plain: Sequence[Ran], ours: Sequence[Ran], on: str = "") -> list[Row]:
    """Milliseconds per trial over plain Tune: in the whole run, and in its last tenth, whose goal is 1.2 × the first.

    What passes before the first result is the start of Ray's actors, in both alike.
    """
    whole = [_each(a, "done", "ended") - _each(b, "done", "ended") for a, b in zip(ours, plain, strict=True)]
    cpu = [_each(a, "cpu", "cpu_ended") - _each(b, "cpu", "cpu_ended") for a, b in zip(ours, plain, strict=True)]
    both = [f"{harness.number(statistics.median(_each(r, 'done', 'ended') for r in ran))} ms" for ran in (ours, plain)]
    tenths = [_tenths(ran) for ran in (ours, plain)]
    first, last = (tenths[0][part] - tenths[1][part] for part in (0, -1))
    shown = [", ".join(f"{pace:.0f}" for pace in each) for each in tenths]
    return [
        harness.amount(
            f"the coordinator's own cost per trial over plain Tune, {trials:,} trials that do nothing{on}",
            whole,
            "ms",
            goal=("≤", 15.0),
            detail=f"{both[0]} / {both[1]} per trial; {harness.number(statistics.median(cpu))} ms of the processor",
        ),
        harness.amount(
            f"the same in the last {trials // PARTS:,} trials{on}, after {harness.number(first)} ms in the first",
            [last],
            "ms",
            goal=("≤", 1.2 * first),
            detail=f"a trial in each tenth of the run: {shown[0]} ms; by plain Tune: {shown[1]} ms",
        ),
    ]


def _each(ran: Ran, marks: str, end: str) -> float:
    """Milliseconds per trial from the first one's end to the end of all."""
    return float(ran[end] - ran[marks][0]) / max(len(ran[marks]) - 1, 1) * 1e3


def _tenths(runs: Sequence[Ran]) -> list[float]:
    """Milliseconds per trial in each tenth: the median of the runs."""
    return [statistics.median(paces) * 1e3 for paces in zip(*(_paces(ran["done"]) for ran in runs), strict=True)]


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
        harness.output_of([sys.executable, "-m", "sweeper", verb, SWEEP, *options], {"SWEEPER_HOME": str(home)})
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
                        "metrics": {"dsc": dsc, "iou": dsc / (2 - dsc), "precision": dsc, "recall": dsc, "size": 400.0},
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


if __name__ == "__main__":
    sys.exit(harness.main("scale", __doc__ or "", measure))
