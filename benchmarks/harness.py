"""What every benchmark shares: how long it may take, interleaved runs, ratios, and results as JSON.

A benchmark is a module with

    def measure(setting: Setting) -> Measured: ...

    if __name__ == "__main__":
        sys.exit(harness.main("NAME", __doc__, measure))

It runs alone by `python -m benchmarks.NAME`, and with all the others by `make bench`. Its result is written to
`benchmarks/results/NAME.json`, from which `python -m benchmarks.table` makes the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROUNDS = 5
"""Medians are over so many interleaved rounds at least, but for the quick setting and what the long one runs whole."""

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "ray", "mlflow", "batchgenerators", "numpy", "sqlalchemy")
SIGNS = ("≥", "≤")


class Setting(StrEnum):
    """How long a benchmark may take."""

    QUICK = "quick"
    """Seconds: shows that it runs. Its numbers mean nothing, so that no goal is judged."""
    NORMAL = "normal"
    """What `make bench` runs: minutes."""
    LONG = "long"
    """Everything in full size."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    `value` is the median over the rounds, `low` and `high` are the smallest and the largest of them. A goal is a sign
    and a number: `("≥", 3.0)`. `detail` says the absolute numbers behind a ratio, and what was extrapolated.
    """

    what: str
    against: str
    value: float
    low: float
    high: float
    unit: str = "×"
    goal: tuple[str, float] | None = None
    detail: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        sign, bound = self.goal
        if sign not in SIGNS:
            raise ValueError(f"a goal's sign is one of {SIGNS}, not {sign!r}")
        return self.value >= bound if sign == "≥" else self.value <= bound


@dataclass(frozen=True, slots=True)
class Measured:
    """What a benchmark found: rows for the table, and everything that was measured, for whoever doubts them."""

    rows: Sequence[Row]
    raw: Mapping[str, Any] = field(default_factory=dict)


def interleaved(runs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each run gave in each round. Every other round goes through them backwards: none has a fixed place."""
    values: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        names = list(runs)
        for name in names if number % 2 == 0 else reversed(names):
            values[name].append(runs[name]())
    return values


def seconds_of(call: Callable[[], object], *, at_least: float = 0.0) -> Callable[[], float]:
    """A run for `interleaved`: seconds per call, which is repeated for `at_least` seconds."""

    def run() -> float:
        begin, calls = time.perf_counter(), 0
        while calls == 0 or time.perf_counter() - begin < at_least:
            call()
            calls += 1
        return (time.perf_counter() - begin) / calls

    return run


def output_of(command: Sequence[str], variables: Mapping[str, str]) -> str:
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


def faster(
    what: str, against: str, ours: Sequence[float], theirs: Sequence[float], *, goal: float | None, detail: str = ""
) -> Row:
    """How many times as fast ours is: theirs over ours in each round. The goal is the least."""
    each = [b / a for a, b in zip(ours, theirs, strict=True)]
    return ratio(what, against, each, goal=None if goal is None else ("≥", goal), detail=detail)


def costs(
    what: str, against: str, ours: Sequence[float], theirs: Sequence[float], *, goal: float | None, detail: str = ""
) -> Row:
    """How many times theirs ours takes (seconds, or bytes): ours over theirs in each round. The goal is the most."""
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return ratio(what, against, each, goal=None if goal is None else ("≤", goal), detail=detail)


def amount(
    what: str, values: Sequence[float], unit: str, *, goal: tuple[str, float] | None = None, detail: str = ""
) -> Row:
    """A number in a unit of its own, against nothing."""
    return _row(what, "", values, unit, goal, detail)


def ratio(
    what: str,
    against: str,
    each: Sequence[float],
    *,
    goal: tuple[str, float] | None = None,
    detail: str = "",
) -> Row:
    """A ratio that each round measured as one."""
    return _row(what, against, each, "×", goal, detail)


def _row(what: str, against: str, each: Sequence[float], unit: str, goal: tuple[str, float] | None, detail: str) -> Row:
    # NumPy's numbers would not go into JSON.
    low, middle, high = float(min(each)), float(statistics.median(each)), float(max(each))
    return Row(what, against, middle, low, high, unit, goal, detail)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "load_before": round(os.getloadavg()[0], 2),
    }


def main(name: str, description: str, measure: Callable[[Setting], Measured], arguments: Sequence[str] = ()) -> int:
    """Measures, writes the result's file and prints its rows. 0, whether the goals were reached or not.

    Args:
        name: the benchmark's, and its file's.
        description: its module's docstring, for --help.
        measure: the benchmark.
        arguments: instead of the command line's, for tests.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--setting", type=Setting, choices=list(Setting), default=Setting.NORMAL, metavar="SETTING")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="default: benchmarks/results")
    chosen = parser.parse_args(arguments or None)
    described, begin = machine(), time.perf_counter()
    measured = measure(chosen.setting)
    # Goals are for the normal sizes: a few seconds of start-up decide a quick run's ratios.
    rows = [replace(row, goal=None) if chosen.setting is Setting.QUICK else row for row in measured.rows]
    result = {
        "benchmark": name,
        "setting": chosen.setting,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - begin, 1),
        "revision": _revision(),
        "machine": described,
        "rows": [{**asdict(row), "holds": row.holds} for row in rows],
        "raw": measured.raw,
    }
    chosen.results.mkdir(parents=True, exist_ok=True)
    path = chosen.results / f"{name}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for row in rows:
        print(line_of(asdict(row) | {"holds": row.holds}))
    print(f"{name}: {result['seconds']} s, {path}", flush=True)
    return 0


def line_of(row: Mapping[str, Any]) -> str:
    """A row for a terminal: `3.41 × (3.20 to 3.55), goal ≥ 3, holds: 24 trials against …`."""
    parts = [f"{number(row['value'])} {row['unit']} ({number(row['low'])} to {number(row['high'])})"]
    if row["goal"] is not None:
        sign, bound = row["goal"]
        parts.append(f"goal {sign} {number(bound)} {'holds' if row['holds'] else 'MISSED'}")
    against = f" against {row['against']}" if row["against"] else ""
    detail = f" [{row['detail']}]" if row["detail"] else ""
    return f"{', '.join(parts)}: {row['what']}{against}{detail}"


def number(value: float) -> str:
    """Three digits: 0.012, 3.41, 34.1, 341."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:.0f}"
    places = 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    return f"{value:.{places}f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _revision() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
