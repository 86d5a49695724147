"""How often a ranking is sure of nothing: simulated studies of losses that do not differ at all.

In each study every loss has the same true mean, and scores with the variance components of real ones. Counted are the
studies in which some loss is called the best, that is, in which its probability of being best is above .95.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from benchmarks import harness
from benchmarks.harness import Measured, Row, Setting
from sweeper.analysis.intervals import Floats
from sweeper.analysis.rankings import CLEAR, resample
from sweeper.analysis.trainings import LossScores

IMAGE, RUN, IMAGE_RUN, PATIENT = 0.108, 0.013, 0.021, 0.08
"""Standard deviations as measured with Dice on nuclei; that of patients is assumed, and is part of the images'."""

PATIENTS = (50, 30, 20, 12, 6, 4)
"""122 images of six patients."""

STUDIES = {Setting.QUICK: 3, Setting.NORMAL: 300, Setting.LONG: 1000}
GOAL = ("≤", 5.0)


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of study.

    Attributes:
        losses: how many are ranked.
        images, runs: of the study.
        spread: so many times the measured deviation between runs.
        loss_unit: the deviation of loss × image, or of loss × patient.
        wild: so many losses have three times the others' deviation between runs.
        patients: whether the images are those of `PATIENTS`.
        folds: of a cross-validation.
    """

    losses: int = 8
    images: int = 122
    runs: int = 3
    spread: float = 1.0
    loss_unit: float = 0.0
    wild: int = 0
    patients: bool = False
    folds: int = 1

    def scores(self, random: np.random.Generator) -> list[LossScores]:
        """The scores of a study in which no loss differs from another."""
        runs = np.full(self.losses, RUN * self.spread)
        runs[: self.wild] *= 3
        shape = self.losses, self.runs * self.folds, self.images
        values = random.normal(0, 1, shape[:2])[..., None] * runs[:, None, None] + random.normal(0, IMAGE_RUN, shape)
        if self.patients:
            of = np.repeat(np.arange(len(PATIENTS)), PATIENTS)
            effects = random.normal(0, PATIENT, len(PATIENTS))
            effects = effects + random.normal(0, self.loss_unit, (self.losses, 1, len(PATIENTS)))
            values += effects[..., of] + random.normal(0, np.sqrt(IMAGE**2 - PATIENT**2), self.images)
            values = np.stack([values[..., of == patient].mean(axis=-1) for patient in range(len(PATIENTS))], axis=-1)
        else:
            values += random.normal(0, IMAGE, self.images)
            values += random.normal(0, self.loss_unit, (self.losses, 1, self.images))
        if self.folds > 1:
            fold = np.arange(shape[1])[:, None] % self.folds
            values[:, fold != np.arange(values.shape[-1]) % self.folds] = np.nan
        return [LossScores(one) for one in values]


def share_called_best(case: Case, studies: int) -> float:
    """The percentage of studies in which some loss is called the best."""
    random = np.random.default_rng(1)
    called = 0
    for number in range(studies):
        _, drawn = resample(case.scores(random), str(number), new_trainings=True)
        called += bool(_most(drawn) > CLEAR)
    return 100 * called / studies


def _most(drawn: Floats) -> float:
    """The largest probability of being best."""
    return float(np.bincount(drawn.argmax(axis=1), minlength=drawn.shape[1]).max() / len(drawn))


def cases() -> Iterator[tuple[str, list[Case], tuple[str, float] | None]]:
    """What is measured together, and its goal."""
    grid = list(product((12, 33, 122), (3, 5, 10), (1.0, 3.0), (0.0, 0.02)))
    for wild, named in ((0, "equal run deviations"), (1, "one with three times the others'"), (4, "four with it")):
        found = [Case(8, images, runs, spread, unit, wild) for images, runs, spread, unit in grid]
        yield f"eight equal losses, {named}", found, GOAL
    patients = [Case(8, 122, runs, 1.0, unit, patients=True) for runs in (3, 5, 10) for unit in (0.0, 0.02)]
    yield "eight equal losses, 122 images of 6 patients", patients, GOAL
    folds = [Case(8, images, 3, 1.0, unit, folds=5) for images in (33, 122) for unit in (0.0, 0.02)]
    yield "eight equal losses, 5 folds × 3 repeats", folds, GOAL
    yield "two equal losses", [Case(2, images, 3) for images in (12, 122)], None


def row(what: str, shares: Sequence[float], goal: tuple[str, float] | None, studies: int) -> Row:
    """The worst of several kinds of studies, with the least and the most."""
    worst = max(shares)
    detail = f"the worst of {len(shares)} settings, {studies} studies each"
    return Row(what, "", worst, min(shares), worst, "% called the best", goal, detail)


def measure(setting: Setting) -> Measured:
    """Every case."""
    studies = STUDIES[setting]
    rows, raw = [], {}
    for what, found, goal in cases():
        chosen = found[:1] if setting is Setting.QUICK else found
        shares = {str(case): share_called_best(case, studies) for case in chosen}
        rows.append(row(what, list(shares.values()), goal, studies))
        raw[what] = shares
    return Measured(rows, raw)


if __name__ == "__main__":
    sys.exit(harness.main("ranking", __doc__, measure))
