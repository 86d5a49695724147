"""How long the whole report of a large study takes, and how much memory: every table, test, ranking and figure.

    python -m benchmarks.analysis [--setting quick|normal|long]

The study has five data sets, eight losses without γ and two with 46 values of it, ten repeats: 5,000 trials of ten
epochs, each scored on 100 test images and two classes (1,000,000 rows). Losses, images and runs differ by made-up
amounts. It is written straight into the tables; then `sweeper report` is called as a person calls it. The memory is
that of all its processes together, looked at twenty times a second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from sqlalchemy import bindparam, insert, update

from benchmarks import harness
from benchmarks.harness import ROUNDS, Measured, Setting
from storage.database import open_database
from storage.models import AttemptRow, EpochRow, SweepRow, TrialRow
from storage.records import NewTrial
from storage.repository import Repository
from sweeper.grids.names import Naming
from trials.spec import DataSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec

STUDY = "large"
PLAIN = ("ce", "focal", "dice", "tversky", "focal_tversky", "combo", "dice_ce", "log_cosh_dice")
SWEPT = ("unified_focal_sym", "unified_focal_asym")
CLASSES = ("kidney", "tumour")
IMAGE, RUN, REST = 0.08, 0.013, 0.021
"""Standard deviations of a score, as `benchmarks.ranking` has them."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How large the study is, and how often its report is made."""

    datasets: int
    gammas: int
    repeats: int
    images: int
    epochs: int
    rounds: int

    @property
    def trials(self) -> int:
        return self.datasets * (len(PLAIN) + len(SWEPT) * self.gammas) * self.repeats


EXTENTS = {
    Setting.QUICK: Extent(1, 2, 2, 6, 2, 1),
    Setting.NORMAL: Extent(5, 46, 10, 100, 10, ROUNDS),
    Setting.LONG: Extent(5, 46, 10, 100, 10, ROUNDS),
}


def measure(setting: Setting) -> Measured:
    extent = EXTENTS[setting]
    with tempfile.TemporaryDirectory(prefix="sweeper-bench-") as folder:
        home = Path(folder)
        fill(home, extent)
        reports = [_report(home, home / "report") for _ in range(extent.rounds)]
    what = f"analysis and report of {extent.trials:,} trials × {extent.images} images × {len(CLASSES)} classes"
    seconds, cpu, memory = zip(*reports, strict=True)
    detail = f"{harness.number(float(np.median(cpu)))} s of the processor"
    rows = [
        harness.amount(what, seconds, "s", goal=("≤", 30.0), detail=detail),
        harness.amount(f"{what}, memory", memory, "MiB", goal=("≤", 4096.0)),
    ]
    return Measured(rows, {"seconds": seconds, "cpu": cpu, "memory": memory})


def _report(home: Path, out: Path) -> tuple[float, float, float]:
    """Seconds, seconds of the processor, and MiB of `sweeper report`."""
    begin, before = time.perf_counter(), os.times()
    with subprocess.Popen(
        [sys.executable, "-m", "sweeper", "report", STUDY, "--out", str(out)],
        env={**os.environ, "SWEEPER_HOME": str(home)},
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        peak: list[int] = [0]
        watch = threading.Thread(target=_watch, args=(process.pid, peak), daemon=True)
        watch.start()
        printed, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"sweeper report: exit {process.returncode}\n{printed[-4000:]}")
    seconds, after = time.perf_counter() - begin, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, used, peak[0] / 2**20


def _watch(pid: int, peak: list[int]) -> None:
    """The most that a process and its children hold together."""
    try:
        root = psutil.Process(pid)
        while root.is_running():
            held = 0
            for one in (root, *root.children(recursive=True)):
                try:
                    held += one.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak[0] = max(peak[0], held)
            time.sleep(0.05)
    except psutil.NoSuchProcess:
        return


def fill(home: Path, extent: Extent) -> None:
    """The study in an empty home."""
    random = np.random.default_rng(0)
    rows = _trials(extent)
    naming = Naming()
    with open_database(f"sqlite:///{home / 'sweeper.db'}") as database:
        new = [
            NewTrial(
                hash=spec.hash,
                spec=spec,
                label=naming.label(spec),
                dataset=spec.data.dataset,
                loss=spec.loss.name,
                gamma=spec.loss.gamma if spec.loss.name in SWEPT else None,
                repeat=spec.repeat,
                seed=spec.seed,
                results_version=spec.results_version,
            )
            for spec in rows
        ]
        Repository(database).create_sweep(STUDY, grid={"name": STUDY}, trials=new)
        easy = {d: random.normal(0, IMAGE, (extent.images, len(CLASSES))) for d in {s.data.dataset for s in rows}}
        better = {name: random.normal(0, 0.02) for name in (*PLAIN, *SWEPT)}
        scores: list[tuple[str, ...]] = []
        ends, attempts, epochs = [], [], []
        for number, spec in enumerate(rows, 1):
            gamma = spec.loss.gamma if spec.loss.name in SWEPT else None
            mean = 0.8 + better[spec.loss.name] - (0.1 * (gamma - 0.5) ** 2 if gamma is not None else 0.0)
            mean += random.normal(0, RUN)
            dsc = np.clip(mean + easy[spec.data.dataset] + random.normal(0, REST, (extent.images, 2)), 0.01, 0.99)
            scores += _scores(spec.hash, dsc)
            ends.append({"key": spec.hash, "val": float(mean), "test": float(dsc.mean())})
            attempts.append(_attempt(spec.hash, number))
            epochs += [_epoch(spec.hash, number, n, float(mean)) for n in range(1, extent.epochs + 1)]
        ended = {
            "state": "finished", "attempts": 1, "epochs": extent.epochs, "best_epoch": extent.epochs, "val_loss": 0.4,
            "train_seconds": 20.0, "evaluate_seconds": 1.0, "parameters": 1000, "started_at": 1.7e9,
            "finished_at": 1.7e9, "sweep_id": 1, "val_dsc": bindparam("val"), "test_dsc": bindparam("test"),
        }  # fmt: skip
        with database.engine.begin() as connection:
            table = TrialRow.__table__
            connection.execute(update(table).where(table.c.hash == bindparam("key")).values(**ended), ends)
            connection.execute(update(SweepRow).values(state="finished", finished_at=1.7e9))
            connection.execute(insert(AttemptRow), attempts)
            connection.execute(insert(EpochRow), epochs)
            # A million rows: by the driver, in place of one dictionary and one JSON text for each.
            cursor = connection.connection.cursor()
            cursor.executemany(
                'INSERT INTO score (trial, partition, "case", label, "group", metrics) VALUES (?, ?, ?, ?, ?, ?)',
                scores,
            )


def _trials(extent: Extent) -> list[TrialSpec]:
    gammas = [round(0.05 + 0.9 * n / max(extent.gammas - 1, 1), 4) for n in range(extent.gammas)]
    losses = [LossSpec(name, {}) for name in PLAIN]
    losses += [LossSpec(name, {"gamma": gamma, "delta": 0.6}) for name in SWEPT for gamma in gammas]
    model, training = ModelSpec(base_filters=8, depth=3), TrainingSpec(epochs=extent.epochs)
    return [
        TrialSpec(
            DataSpec(f"set{place}", ("background", *CLASSES), 2, "p" * 16, "s" * 16),
            loss,
            model,
            training,
            repeat=repeat,
            seed=repeat,
        )
        for place in range(extent.datasets)
        for loss in losses
        for repeat in range(extent.repeats)
    ]


def _scores(trial: str, dsc: Any) -> Iterator[tuple[str, ...]]:
    for image, values in enumerate(dsc.tolist()):
        for label, one in zip(CLASSES, values, strict=True):
            metrics = {"dsc": one, "iou": one / (2 - one), "precision": one, "recall": one, "size": 100.0 + image}
            yield trial, "test", f"image-{image:03}", label, "", json.dumps(metrics, separators=(",", ":"))


def _attempt(trial: str, number: int) -> dict[str, Any]:
    return {
        "id": number, "trial": trial, "number": 1, "sweep_id": 1, "fencing": 1, "token": str(number),
        "state": "finished", "host": "here", "device": "CPU", "resumed_from": 0, "steps": 190,
        "started_at": 1.7e9, "ended_at": 1.7e9,
    }  # fmt: skip


def _epoch(trial: str, attempt: int, number: int, dsc: float) -> dict[str, Any]:
    loss = 1 / (1 + number)
    return {
        "trial": trial, "epoch": number, "attempt_id": attempt, "loss": loss, "val_loss": loss * 1.1,
        "val_dsc": dsc * (1 - 0.5**number), "learning_rate": 0.1, "steps": 19 * number, "seconds": 2.0,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(harness.main("analysis", __doc__ or "", measure))
