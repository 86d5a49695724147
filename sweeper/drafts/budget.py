"""Sizes, filters, repeats and epochs with which a plan fits into a time, by the cost model of `sweeper plan`. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sweeper.drafts.fingerprint import Fingerprint
from sweeper.drafts.rules import Sizes, sizes_of
from sweeper.timing.costs import FEW_EPOCHS, CostModel, waiting
from trials.spec import DataSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec

FILTERS = {2: 32, 3: 32}
"""Of the first level: nnU-Net's."""

STEPS = 500
"""So many steps of the optimiser a network should have: a small one on 40 images is near its plateau then."""

FEWEST_EPOCHS, MOST_EPOCHS = 10, 1000
SCALES = (1.0, 0.75, 0.5, 0.375, 0.25)
OVERHEAD_SECONDS = 45.0
"""Start, preparation and report of a sweep."""

BESIDE = 1.1
"""What a trial takes beside the training that the cost model knows: its scores, and what it leaves in MLflow."""


@dataclass(frozen=True, slots=True)
class Study:
    """What a budget is for: trials of each repeat, how many run at once, and how many images train."""

    losses: int
    folds: int
    slots: int
    images: int
    repeats: int


@dataclass(frozen=True, slots=True)
class Fit:
    """Settings, and the predicted seconds of the whole study.

    Attributes:
        epochs: None leaves them to the paper's early stopping.
        fits: whether it fits into the budget.
    """

    sizes: Sizes
    filters: int
    epochs: int | None
    repeats: int
    seconds: float
    fits: bool = True


def free(found: Fingerprint, study: Study, costs: CostModel) -> Fit:
    """The settings without a budget."""
    sizes, filters = sizes_of(found), FILTERS[found.dimensions]
    seconds = _study_seconds(_seconds(found, sizes, filters, MOST_EPOCHS, study, costs), study)
    return Fit(sizes, filters, None, study.repeats, seconds)


def fit(found: Fingerprint, study: Study, costs: CostModel, budget: float) -> Fit:
    """The settings that fit into `budget` seconds: the largest network and pictures with enough epochs. Repeats give
    last, for without them nothing can be said of the losses."""
    wanted = min(max(math.ceil(2 * STEPS / max(study.images, 1)), FEWEST_EPOCHS), FEW_EPOCHS)
    smallest = None
    for repeats in dict.fromkeys((study.repeats, min(study.repeats, 3), min(study.repeats, 2), 1)):
        here = replace(study, repeats=repeats)
        for sizes, filters in _candidates(found):
            smallest = Fit(sizes, filters, 1, repeats, 0.0, fits=False)
            epochs = _epochs(found, sizes, filters, here, costs, budget)
            if epochs >= wanted:
                seconds = _study_seconds(_seconds(found, sizes, filters, epochs, here, costs), here)
                return Fit(sizes, filters, epochs, repeats, seconds)
    if smallest is None:
        raise ValueError("no sizes")
    epochs = max(_epochs(found, smallest.sizes, smallest.filters, replace(study, repeats=1), costs, budget), 1)
    seconds = _study_seconds(
        _seconds(found, smallest.sizes, smallest.filters, epochs, study, costs), replace(study, repeats=1)
    )
    return replace(smallest, epochs=epochs, seconds=seconds, fits=seconds <= budget)


def _candidates(found: Fingerprint) -> Sequence[tuple[Sizes, int]]:
    """Pairs of sizes and filters, the longest first."""
    pairs = [(sizes_of(found, scale), filters) for scale in SCALES for filters in (FILTERS[found.dimensions], 16, 8)]

    def time(pair: tuple[Sizes, int]) -> float:
        sizes, filters = pair
        return sizes.voxels(found.shape) * filters**2 * waiting(filters, sizes.depth)

    return sorted(pairs, key=time, reverse=True)


def _epochs(found: Fingerprint, sizes: Sizes, filters: int, study: Study, costs: CostModel, budget: float) -> int:
    """How many epochs fit. Beyond `FEW_EPOCHS` the model counts on early stopping; a budget is kept without it."""
    low, high = 0, FEW_EPOCHS
    while low < high:
        middle = (low + high + 1) // 2
        if _study_seconds(_seconds(found, sizes, filters, middle, study, costs), study) <= budget:
            low = middle
        else:
            high = middle - 1
    return low


def _seconds(found: Fingerprint, sizes: Sizes, filters: int, epochs: int, study: Study, costs: CostModel) -> float:
    """Predicted seconds of one trial."""
    classes = ("background", *found.structures)
    dimensions = 2 if found.dimensions == 2 else 3
    spec = TrialSpec(
        DataSpec("", classes, dimensions),  # type: ignore[arg-type]
        LossSpec("dice"),
        ModelSpec(base_filters=filters, depth=sizes.depth),
        TrainingSpec(epochs=epochs, patch=sizes.patch, patches_per_case=sizes.patches),
    )
    return BESIDE * costs.seconds(spec, study.images, sizes.voxels(found.shape))


def _study_seconds(of_trial: float, study: Study) -> float:
    rounds = math.ceil(study.losses * study.folds * study.repeats / max(study.slots, 1))
    return OVERHEAD_SECONDS + rounds * of_trial
