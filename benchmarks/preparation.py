"""Preparing a data set, coming back to it, and reading a case from it.

    python -m benchmarks.preparation

Against the same steps one by one without the prepared folder: each case read from its source files and preprocessed, as
a loader without one would do in each epoch. Preparing hashes the files and writes the arrays besides. Coming back
(`prepare` again, as each launch and resume does) compares sizes and times of the source files with those of the hashes,
and the whole content of the arrays with theirs. An epoch's reading begins as a trial does, which opens the folder and
finds it verified. Of a volume one random training patch is read. Synthetic sets have the layouts and sizes of the
public ones.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.harness import Measured, Row, Setting
from workers.datasets import Reader, get_reader, synthesise
from workers.datasets.prepared import PreparedDataset, open_prepared, prepare
from workers.datasets.preprocessing import preprocess
from workers.datasets.sources import included_cases

CASES = {
    Setting.QUICK: {"bus2017": 3},
    Setting.NORMAL: {"nuclei": 0, "cvc_clinicdb": 120, "kits19": 3},
    Setting.LONG: {"nuclei": 0, "cvc_clinicdb": 612, "drive": 40, "bus2017": 163, "brats20": 6, "kits19": 6},
}
"""Data sets and the number of synthetic cases: in the long setting as many as the public 2D sets have. The nuclei are
real and come with the package."""
PATCHES = {"brats20": (96, 96, 96), "kits19": (80, 160, 160)}


def measure(setting: Setting) -> Measured:
    rounds = 2 if setting == Setting.QUICK else harness.ROUNDS
    rows: list[Row] = []
    raw: dict[str, Any] = {}
    for name, number in CASES[setting].items():
        with tempfile.TemporaryDirectory() as folder:
            reader = get_reader(name)
            source = reader.default_source() or synthesise(name, number, Path(folder) / name, 0)
            cases, seconds = timed(reader, source, Path(folder) / "prepared", rounds)
        raw[name] = {"cases": cases, "seconds": seconds}
        rows += rows_of(f"{cases} {'cases' if number else 'real images'} of {name}", cases, seconds)
    return Measured(rows, raw)


def timed(reader: Reader, source: Path, root: Path, rounds: int) -> tuple[int, dict[str, list[float]]]:
    """How many cases there are; seconds for all of them in each way and round."""
    prepared = prepare(reader, source, root, processes=1)
    cases = [case for case in included_cases(reader, source)[0] if case.id in prepared.case_ids]

    def one_by_one() -> None:
        for files in cases:
            case = reader.read_case(files)
            preprocess(case.image, case.label, case.spacing, case.affine, reader.preprocessing)

    def anew() -> float:
        shutil.rmtree(root)
        return _seconds(lambda: prepare(reader, source, root, processes=1))

    runs = {
        "one by one": lambda: _seconds(one_by_one),
        "prepared": anew,
        "again": lambda: _seconds(lambda: prepare(reader, source, root, processes=1)),
        "read": lambda: _seconds(lambda: read(opened(prepared.path)), repeats=5),
    }
    # Each round prepares before it comes back, whatever its direction.
    values: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            values[name].append(run())
    return len(cases), values


def rows_of(what: str, cases: int, seconds: dict[str, list[float]]) -> Iterator[Row]:
    rate, plain = (harness.number(cases / statistics.median(seconds[n])) for n in ("prepared", "one by one"))
    detail = f"{rate} against {plain} cases a second of one core"
    against = "read and preprocessed one by one, nothing kept"
    yield harness.faster(
        f"preparing {what}", against, seconds["prepared"], seconds["one by one"], goal=0.9, detail=detail
    )
    milliseconds = harness.number(round(1e3 * statistics.median(seconds["again"]), 1))
    yield harness.faster(
        f"coming back to {what}, every array checked",
        "the first run",
        seconds["again"],
        seconds["prepared"],
        goal=None,
        detail=f"{milliseconds} ms",
    )
    yield harness.faster(
        f"an epoch's reading of {what}", "read and preprocessed", seconds["read"], seconds["one by one"], goal=10.0
    )


def opened(path: Path) -> PreparedDataset:
    """As a trial opens it."""
    prepared = open_prepared(path)
    prepared.verify_here()
    return prepared


def read(prepared: PreparedDataset) -> None:
    """Each case copied into the arrays of a batch; the page cache is warm, as from the second epoch on."""
    rng = np.random.default_rng(0)
    patch = PATCHES.get(prepared.name) or prepared.cases[0].shape
    images, labels = np.zeros((*patch, prepared.channels), np.float32), np.zeros(patch, np.uint8)
    for case in prepared.case_ids:
        image, label = prepared.image(case), prepared.label(case)
        corner = [int(rng.integers(0, max(n - p, 0) + 1)) for n, p in zip(label.shape, patch, strict=True)]
        window = tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True))
        part = label[window]
        target = tuple(slice(0, n) for n in part.shape)
        images[target], labels[target] = image[window], part


def _seconds(call: Callable[[], object], repeats: int = 1) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - begin) / repeats


if __name__ == "__main__":
    sys.exit(harness.main("preparation", __doc__, measure))
