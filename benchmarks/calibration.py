"""How often the comparison of trainings is wrong, and how often it finds what is there: simulated studies.

The family-wise error is the share of studies of eight equal losses in which some pair differs after Holm. The power is
that of the pairs of one loss that differs, as a share of what the z test finds that knows all variance components, at
the difference of which it finds 80% after the same Holm.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from scipy import stats

from benchmarks import harness
from benchmarks.harness import Measured, Row, Setting
from benchmarks.ranking import IMAGE_RUN, RUN, Case
from sweeper.analysis.intervals import Floats
from sweeper.analysis.significance import ALPHA
from sweeper.analysis.trainings import LossScores, Variances, compare_losses

STUDIES = {Setting.QUICK: 10, Setting.NORMAL: 200, Setting.LONG: 1000}
EQUAL, UNEQUAL = ("≤", 7.0), ("≤", 10.0)
POWER = {3: 0.60, 5: 0.70, 10: 0.82}
FOUND = 0.8
"""What the z test finds of the differences."""

PAIRS = np.array([*combinations(range(8), 2)])


@dataclass(frozen=True)
class Simulated:
    """The comparisons of many studies, each an array of shape (studies, pairs)."""

    estimate: Floats
    error: Floats
    freedom: Floats

    def wrong(self) -> float:
        """The percentage of studies in which some pair differs."""
        p = 2 * stats.t.sf(abs(self.estimate) / self.error, self.freedom)
        return 100 * float((p.min(axis=1) * p.shape[1] < ALPHA).mean())  # Holm's first step is Bonferroni's

    def power(self, known: float) -> float:
        """What is found of a loss that differs, as a share of what the z test of a `known` error finds."""
        own = (PAIRS == 0).any(axis=1)  # the first loss is the first of its pairs

        def found(difference: float, error: Floats | float, freedom: Floats | float) -> float:
            p = 2 * stats.t.sf(abs(self.estimate + difference * own) / error, freedom)
            return float(holm_rejects(p)[:, own].mean())

        low, high = 0.0, 20 * known
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if found(middle, known, np.inf) < FOUND else (low, middle)
        return found(high, self.error, self.freedom) / FOUND


def holm_rejects(p: Floats) -> np.ndarray:
    """Which of the pairs of each study Holm finds, shape (studies, pairs)."""
    order = np.argsort(p, axis=1)
    below = np.take_along_axis(p, order, axis=1) * np.arange(p.shape[1], 0, -1) < ALPHA
    rejected = np.zeros_like(below)
    np.put_along_axis(rejected, order, np.logical_and.accumulate(below, axis=1), axis=1)
    return rejected


def simulate(case: Case, studies: int, *, skewed: bool = False) -> Simulated:
    """Compares all pairs of eight equal losses in so many studies."""
    random = np.random.default_rng(1)
    rows = []
    for _ in range(studies):
        losses = case.scores(random)
        if skewed:
            losses = [LossScores(skew(loss.values)) for loss in losses]
        variances = Variances.of(losses)
        rows.append([compare_losses(losses[a], losses[b], variances) for a, b in PAIRS])
    columns = ([[getattr(found, name) for found in row] for row in rows] for name in ("estimate", "error", "freedom"))
    return Simulated(*(np.array(column) for column in columns))


def skew(values: Floats) -> Floats:
    """Scores near 1 with some 0: their distance from 1 is lognormal."""
    return np.clip(1 - 0.1 * np.exp(1.2 * values / 0.108), 0, 1)


def cases() -> Iterator[tuple[str, list[Case], bool, tuple[str, float]]]:
    """What is measured together, whether it is skewed, and its goal."""
    grid = list(product((12, 33, 122), (3, 5, 10), (1.0, 3.0), (0.0, 0.02)))
    for wild, named, goal in (
        (0, "equal run deviations", EQUAL),
        (1, "one with three times the others'", UNEQUAL),
        (4, "four with it", UNEQUAL),
    ):
        plain = [Case(8, images, runs, spread, unit, wild) for images, runs, spread, unit in grid]
        patients = [Case(8, 122, runs, spread, unit, wild, patients=True) for _, runs, spread, unit in grid[24:]]
        folds = [
            Case(8, images, 3, spread, unit, wild, folds=5)
            for images, spread, unit in product((33, 122), (1.0, 3.0), (0.0, 0.02))
        ]
        yield f"wrong, {named}", plain, False, goal
        yield f"wrong, {named}, skewed scores", plain, True, goal
        yield f"wrong, {named}, 122 images of 6 patients", patients, False, goal
        yield f"wrong, {named}, 5 folds × 3 repeats", folds, False, goal


def known_error(case: Case) -> float:
    """The standard error of a difference by the components that were simulated."""
    of_run = (RUN * case.spread) ** 2 / case.runs
    return float(np.sqrt(2 * (case.loss_unit**2 / case.images + of_run + IMAGE_RUN**2 / case.images / case.runs)))


def measure(setting: Setting) -> Measured:
    """Every case."""
    studies = STUDIES[setting]
    few = setting is Setting.QUICK
    rows: list[Row] = []
    raw: dict[str, dict[str, float]] = {}
    for what, found, skewed, goal in cases():
        chosen = found[:1] if few else found
        shares = {str(case): simulate(case, studies, skewed=skewed).wrong() for case in chosen}
        rows.append(_row(what, list(shares.values()), "% of studies", goal, studies, worst=max))
        raw[what] = shares
    for runs, least in POWER.items():
        found = [Case(8, images, runs, 1.0, unit) for images in (12, 33, 122) for unit in (0.0, 0.02)]
        chosen = found[:1] if few else found
        shares = {str(case): simulate(case, studies).power(known_error(case)) for case in chosen}
        what = f"found, {runs} runs"
        rows.append(_row(what, list(shares.values()), "of the z test's", ("≥", least), studies, worst=min))
        raw[what] = shares
    return Measured(rows, raw)


def _row(
    what: str,
    values: Sequence[float],
    unit: str,
    goal: tuple[str, float],
    studies: int,
    *,
    worst: Callable[[Sequence[float]], float],
) -> Row:
    detail = f"the worst of {len(values)} settings, {studies} studies each"
    return Row(what, "", worst(values), min(values), max(values), unit, goal, detail)


if __name__ == "__main__":
    sys.exit(harness.main("calibration", __doc__, measure))
