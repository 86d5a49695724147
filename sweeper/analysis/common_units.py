"""The losses of one data set and class on the units that all of them have: images, or patients where they are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from sweeper.analysis.comparisons import RunScores, group_of_case
from sweeper.analysis.selection import at_selected_gamma, trial_scores
from sweeper.analysis.trainings import LossScores


@dataclass(frozen=True)
class CommonUnits:
    """See the module.

    Attributes:
        losses: the scores of each loss, all on the same units in the same order.
        units: how many there are.
        unit: "images" or "groups".
        new_trainings: whether two or more losses have repeated runs. Those with one run are then left out.
        single: the losses that were left out for that.
        left_out: cases that one of `losses` lacks.
    """

    losses: Mapping[str, LossScores]
    units: int
    unit: str
    new_trainings: bool
    single: tuple[str, ...]
    left_out: int

    @classmethod
    def of(cls, rows: pd.DataFrame, metric: str) -> CommonUnits | None:
        """From the rows of one data set and class: `variant`, `run`, `case`, the metric, and `group` where known.

        Returns:
            None where no two losses have two units in common.
        """
        groups = group_of_case(rows)
        variants = rows.groupby("variant", sort=True, observed=True)
        found = {str(variant): RunScores.of(own, metric, groups) for variant, own in variants}
        found = {variant: scores for variant, scores in found.items() if scores.values.size}
        repeated = [v for v, scores in found.items() if scores.all_units.freedom]
        new_trainings = len(repeated) > 1
        kept = repeated if new_trainings else list(found)
        if len(kept) < 2:
            return None
        cases = found[kept[0]].values.columns
        for variant in kept[1:]:
            cases = cases.intersection(found[variant].values.columns, sort=True)
        if not len(cases):
            return None
        losses = {variant: found[variant].units(cases) for variant in kept}
        units = losses[kept[0]].values.shape[1]
        if units < 2:
            return None
        return cls(
            losses=losses,
            units=units,
            unit="groups" if units < len(cases) else "images",
            new_trainings=new_trainings,
            single=tuple(sorted(set(found) - set(kept))),
            left_out=int(rows["case"].nunique()) - len(cases),
        )


def run_scores(trials: pd.DataFrame, scores: pd.DataFrame, selection: pd.DataFrame) -> pd.DataFrame:
    """The test scores of every run at its loss's chosen γ, without masks that were made elsewhere.

    Args:
        trials: `frames.trial_frame`.
        scores: `frames.score_frame`.
        selection: `selection.select_gamma`.

    Returns:
        The columns dataset, label, variant, run, case, every metric, and `group` where the scores have one.
    """
    trained = trials[~trials["external"]]
    return at_selected_gamma(trial_scores(trained, scores), selection).rename(columns={"trial": "run"})
