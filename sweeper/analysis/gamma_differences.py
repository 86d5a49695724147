"""Every γ of a swept loss against its other γ and against the other losses, about new images and new trainings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import permutations, product

import pandas as pd

from sweeper.analysis.comparisons import RunScores, difference, group_of_case, shared_variances
from sweeper.analysis.selection import foreground_dsc
from sweeper.analysis.trainings import half_widths, p_values
from sweeper.analysis.verdicts import TWO_ONE_SIDED

GAMMA_COLUMNS = [
    "dataset", "variant", "gamma", "other", "other_gamma", "difference", "low", "high", "p", "images", "runs",
]  # fmt: skip
_MEASURED = [name for name in GAMMA_COLUMNS if name not in ("low", "high", "p")]
Setting = tuple[str, float | None]
"""A variant and its γ, None where it has none."""


def gamma_differences(per_trial: pd.DataFrame, selection: pd.DataFrame) -> pd.DataFrame:
    """Differences in mean test DSC (over foreground classes) for each loss that ran with two or more γ.

    Args:
        per_trial: `trial_scores` of every γ.
        selection: `select_gamma`; another loss is compared at its chosen γ.

    Returns:
        `GAMMA_COLUMNS`: `difference` is the DSC of `variant` at `gamma` less that of `other` at `other_gamma`, with its
        90% interval and its uncorrected p. All of them are NaN where one of the two has a single run. A pair of γ of
        one loss stands in both directions.
    """
    rows: list[tuple[object, ...]] = []
    for dataset, part in foreground_dsc(per_trial).groupby("dataset", sort=True, observed=True):
        rows += ((dataset, *row) for row in _of_dataset(part, selection[selection["dataset"] == dataset]))
    found = pd.DataFrame(rows, columns=[*_MEASURED, "error", "freedom"])
    numbers = ["gamma", "other_gamma", "difference", "error", "freedom"]
    found[numbers] = found[numbers].astype(float)
    estimate, error, freedom = found["difference"], found["error"], found["freedom"]
    width = half_widths(error, freedom, TWO_ONE_SIDED)
    found = found.assign(low=estimate - width, high=estimate + width, p=p_values(estimate, error, freedom))
    return found[GAMMA_COLUMNS]


def _of_dataset(part: pd.DataFrame, selection: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    groups = group_of_case(part)
    scores = {
        _setting(variant, gamma): RunScores.of(rows.rename(columns={"trial": "run"}), "dsc", groups)
        for (variant, gamma), rows in part.groupby(["variant", "gamma"], dropna=False, sort=True, observed=True)
    }
    variances = shared_variances(scores.values())
    chosen = [_setting(*row) for row in selection[["variant", "gamma"]].itertuples(index=False)]
    for variant, gammas in Counter(variant for variant, _ in scores).items():
        if gammas < 2:
            continue
        own = [setting for setting in scores if setting[0] == variant]
        others = [setting for setting in chosen if setting[0] != variant and setting in scores]
        for first, second in (*permutations(own, 2), *product(own, others)):
            found, cases = difference(scores[first], scores[second], variances)
            runs = min(scores[one].units(cases).runs for one in (first, second)) if len(cases) else 0
            yield *first, *second, found.estimate, len(cases), runs, found.error, found.freedom


def _setting(variant: object, gamma: object) -> Setting:
    value = float(str(gamma))
    return str(variant), None if math.isnan(value) else value
