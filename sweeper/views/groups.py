"""The trials of a sweep by data set and loss: how many have ended, and mean scores over runs with their interval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from storage.records import Trial
from sweeper.grids.names import Naming
from sweeper.views.objects import Counts, GroupStatus
from trials.spec import RESULTS_VERSION
from trials.states import TrialState

LEVEL = 0.95


def groups_of(trials: Iterable[Trial], naming: Naming) -> list[GroupStatus]:
    """One entry for each data set, loss with settings and γ; the data sets in the sweep's order, in each the best mean
    test DSC first."""
    members: dict[tuple[str, str, float | None], list[Trial]] = {}
    for trial in trials:
        members.setdefault((trial.dataset, naming.variant(trial.spec), trial.spec.loss.gamma), []).append(trial)
    places = {dataset: place for place, dataset in enumerate(dict.fromkeys(key[0] for key in members))}
    found = [_group(*key, own) for key, own in members.items()]
    return sorted(found, key=lambda one: (places[one.dataset], math.inf if one.test_dsc is None else -one.test_dsc))


def half_width(values: Sequence[float]) -> float | None:
    """Half of Student's 95% interval of the mean over runs, as in the report (`sweeper.analysis.intervals`); None below
    two runs."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit  # not SciPy's distributions: they take a second to import

    return float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * stdev(values) / math.sqrt(len(values))


def _group(dataset: str, variant: str, gamma: float | None, trials: Sequence[Trial]) -> GroupStatus:
    ended = [t for t in trials if t.state is TrialState.FINISHED and t.results_version == RESULTS_VERSION]
    tests, validations = _by_run(ended, "test_dsc"), _by_run(ended, "val_dsc")
    return GroupStatus(
        dataset=dataset,
        variant=variant,
        gamma=gamma,
        counts=Counts.of(Counter(t.state for t in trials)),
        runs=len(tests),
        val_dsc=fmean(validations) if validations else None,
        test_dsc=fmean(tests) if tests else None,
        half_width=half_width(tests),
    )


def _by_run(trials: Iterable[Trial], score: str) -> list[float]:
    """A score of each run: of a cross-validation, the mean over its folds."""
    found: dict[int, list[float]] = {}
    for trial in trials:
        if (value := getattr(trial, score)) is not None:
            found.setdefault(trial.repeat, []).append(value)
    return [fmean(values) for values in found.values()]
