"""What a sweep's answers keep in the database: the tests over images, the comparisons, and the equivalence of γ."""

from __future__ import annotations

import pandas as pd

from storage.records import SignificanceTest
from sweeper.analysis.answers import Answers
from sweeper.analysis.selection import RECOMMENDED_GAMMA
from sweeper.analysis.significance import FAMILY

NEW_TRAININGS_TEST = "new_trainings"
"""The name of a comparison about new images and new trainings. Its `median_difference` is one of means; it has no
effect. Where a loss has one run, it has no p either."""

EQUIVALENCE = "equivalence"
"""The start of the name of two one-sided tests, which ends with the margin, as in `equivalence_0.01`. Its interval is
that of 90%."""

FOREGROUND = "foreground"
"""The class of a test on the mean over all foreground classes."""

_COLUMNS = [*FAMILY, "first", "second", "n", "p", "p_holm", "effect", "median_difference", "low", "high"]


def records(answers: Answers) -> list[SignificanceTest]:
    """All tests as `storage` keeps them, with the hash of the scores that they were computed from."""
    frames = [answers.significance, _comparisons(answers.comparisons), _equivalence(answers)]
    return [record for frame in frames for record in _records(frame, answers.scores_hash)]


def _records(frame: pd.DataFrame, scores_hash: str) -> list[SignificanceTest]:
    rows = frame.reindex(columns=_COLUMNS).astype(object)
    rows = rows.where(rows.notna(), None)
    return [SignificanceTest(*(*row, scores_hash)) for row in rows.itertuples(index=False, name=None)]


def _comparisons(pairs: pd.DataFrame) -> pd.DataFrame:
    names = {"class": "label", "loss_a": "first", "loss_b": "second", "difference": "median_difference", "images": "n"}
    return pairs.rename(columns=names).assign(test=NEW_TRAININGS_TEST)


def _equivalence(answers: Answers) -> pd.DataFrame:
    swept = answers.gamma_differences
    swept = swept[(swept["variant"] == swept["other"]) & (swept["other_gamma"] == RECOMMENDED_GAMMA)]
    return pd.DataFrame(
        {
            "dataset": swept["dataset"],
            "label": FOREGROUND,
            "metric": "dsc",
            "test": f"{EQUIVALENCE}_{answers.margin:g}",
            "first": [f"{v} γ = {g:g}" for v, g in swept[["variant", "gamma"]].itertuples(index=False)],
            "second": [f"{v} γ = {g:g}" for v, g in swept[["other", "other_gamma"]].itertuples(index=False)],
            "n": swept["images"],
            "median_difference": swept["difference"],
            "low": swept["low"],
            "high": swept["high"],
        }
    )
