"""The scores that answers are computed from: those that count, each loss at the γ that validation chose. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from sweeper.analysis.denominators import counted
from sweeper.analysis.paper import side_by_side
from sweeper.analysis.selection import (
    at_selected_gamma,
    best_on_validation,
    image_scores,
    select_gamma,
    trial_scores,
)
from sweeper.analysis.tables import result_table


@dataclass(frozen=True)
class ChosenScores:
    """The scores of a sweep at every γ and at the chosen ones.

    Attributes:
        trials: `frames.trial_frame`, as `denominators.counted` gives it.
        scores: those that count.
        absent: the classes that no image of a partition shows; they enter nothing.
        images: `selection.image_scores`.
        per_trial: `selection.trial_scores`.
        selection: `selection.select_gamma`.
        selected: `images` at each variant's chosen γ.
        chosen: `per_trial` at each variant's chosen γ.
    """

    trials: pd.DataFrame
    scores: pd.DataFrame
    absent: pd.DataFrame
    images: pd.DataFrame
    per_trial: pd.DataFrame
    selection: pd.DataFrame
    selected: pd.DataFrame
    chosen: pd.DataFrame

    @cached_property
    def table(self) -> pd.DataFrame:
        """Mean and 95% intervals over images and over runs, the paper's figure beside (`tables.result_table`)."""
        return side_by_side(result_table(self.selected, self.chosen))


def chosen_scores(trials: pd.DataFrame, scores: pd.DataFrame) -> ChosenScores:
    """What everything else is computed from.

    Args:
        trials: `frames.trial_frame`.
        scores: `frames.score_frame`.
    """
    whole = counted(trials, scores)
    images, per_trial = image_scores(whole.trials, whole.scores), trial_scores(whole.trials, whole.scores)
    selection = select_gamma(whole.trials)
    return ChosenScores(
        trials=whole.trials,
        scores=whole.scores,
        absent=whole.absent,
        images=images,
        per_trial=per_trial,
        selection=selection,
        selected=at_selected_gamma(images, selection),
        chosen=at_selected_gamma(per_trial, selection),
    )


def best_losses(trials: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """The row of each data set's loss, at its chosen γ, with the highest mean validation DSC (`Answers.best`).

    Args:
        trials: `frames.trial_frame`.
        scores: `frames.score_frame`.
    """
    counting = counted(trials, scores).trials
    return best_on_validation(select_gamma(counting[~counting["external"]]))
