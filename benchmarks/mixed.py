"""The paper's grid on pretended GPUs of three speeds: when its trials end, beside the earliest time that is possible.

    python -m benchmarks.mixed [--setting quick|normal|long]

Coordinator, database, Ray Tune and Ray are real (`tests.sleeping_trials`): each type of GPU is a node of its own that
says it has such GPUs, and a trial sleeps for its predicted seconds, scaled, divided by the speed of the type it finds
itself on. An A100 is taken to be 5 times, a V100 twice as fast as a P100. The GPUs start together; the bound is
`sweeper.timing.schedule.lower_bound`. The same trials are placed by Ray alone, too, as before types were chosen.

The long setting goes from 1 to 64 GPUs, with a process for each: it wants 12 GiB of memory.
"""

from __future__ import annotations

import sys

from benchmarks import harness
from benchmarks.harness import Measured, Row, Setting
from sweeper.data.preparation import bare_identities, guessed_sizes, reader_of
from sweeper.grids.expansion import expand
from sweeper.grids.files import load_grid
from sweeper.timing.costs import learn_costs
from sweeper.timing.schedule import lower_bound
from tests.sleeping_trials import Slept, sleep_through

SPEEDS = {"A100": 5.0, "V100": 2.0, "P100": 1.0}
GPUS = {Setting.QUICK: (2,), Setting.NORMAL: (2, 4, 8, 16), Setting.LONG: (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)}
BOUND_SECONDS = {Setting.QUICK: 2.0, Setting.NORMAL: 15.0, Setting.LONG: 15.0}
GOAL = ("≤", 1.15)


def measure(setting: Setting) -> Measured:
    ours: dict[int, float] = {}
    rays: dict[int, float] = {}
    walls: dict[int, float] = {}
    seconds = _paper_seconds()
    for gpus in GPUS[setting]:
        types = _mix(gpus)
        bound = lower_bound(seconds, [speed for _, count, speed in types for _ in range(count)])
        scaled = [one * BOUND_SECONDS[setting] / bound for one in seconds]
        placed, alone = sleep_through(types, scaled), sleep_through(types, scaled, placed=False)
        ours[gpus], rays[gpus], walls[gpus] = _late(placed), _late(alone), placed.wall / placed.bound
        print(f"{gpus} GPUs: {ours[gpus]:.3f}, {walls[gpus]:.3f} by the clock; by Ray {rays[gpus]:.3f}", flush=True)
    detail = "by number of GPUs: " + ", ".join(f"{gpus}: {late:.2f}" for gpus, late in ours.items())
    rows: list[Row] = [
        harness.ratio(
            "the paper's grid on mixed GPUs", "the lower bound", list(ours.values()), goal=GOAL, detail=detail
        ),
        harness.ratio("the same, placed by Ray alone", "the lower bound", [*rays.values()]),
    ]
    return Measured(rows, {"ours": ours, "ray": rays, "clock": walls})


def _late(slept: Slept) -> float:
    return max(slept.loads.values()) / slept.bound


def _mix(gpus: int) -> list[tuple[str, int, float]]:
    """A quarter of the GPUs are the fastest, another quarter the next, the others the slowest; of few one each."""
    names = list(SPEEDS)
    counts = dict.fromkeys(names, gpus // 4)
    counts["P100"] = gpus - 2 * (gpus // 4)
    if gpus < 4:
        counts = {name: int(place < gpus) for place, name in enumerate(names)}
    return [(name, counts[name], SPEEDS[name]) for name in names if counts[name]]


def _paper_seconds() -> list[float]:
    """What the paper's 88 trials are predicted to take before anything was measured."""
    grid = load_grid("paper")
    readers = {dataset.name: reader_of(dataset) for dataset in grid.datasets}
    sizes = {name: guessed_sizes(reader, None) for name, reader in readers.items()}
    costs = learn_costs([])
    return [costs.seconds(spec, *sizes[spec.data.dataset]) for spec in expand(grid, bare_identities(grid))]


if __name__ == "__main__":
    sys.exit(harness.main("mixed", __doc__, measure))
