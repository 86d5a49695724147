"""Which scores count: a class that no image of a part of the split shows says nothing, and enters no mean.

Where truth and prediction are both empty, every overlap metric is 1 by definition. In a test set without the class, a
loss that marks nothing would be perfect, and on validation it would be chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from trials.metrics import SIZE

ABSENT_COLUMNS = ["dataset", "partition", "label"]


@dataclass(frozen=True)
class Counted:
    """The frames that answers are computed from.

    Attributes:
        trials: `trial_frame`, whose `val_dsc` and `test_dsc` are without the classes that a trial's own images lack.
        scores: `score_frame` without the classes that a data set's images lack.
        absent: those classes, with `ABSENT_COLUMNS`.
    """

    trials: pd.DataFrame
    scores: pd.DataFrame
    absent: pd.DataFrame


def counted(trials: pd.DataFrame, scores: pd.DataFrame) -> Counted:
    """Leaves out the classes that no image of a partition has a reference pixel of.

    Whether an image shows a class follows from the class's stored size in the truth. Scores of an older version have
    none: there a recall says that it does, an undefined recall beside a DSC of 0 that it does not, and a perfect score
    nothing. A class of which nothing is known counts.

    Args:
        trials: `frames.trial_frame`; only its `current` rows count.
        scores: `frames.score_frame`.
    """
    nothing = pd.DataFrame(columns=ABSENT_COLUMNS, dtype="str")
    shown = _shown(scores)
    if not (shown == 0).any():
        return Counted(trials, scores, nothing)
    current = trials.loc[trials["current"]].set_index("hash")["dataset"]
    rows = scores.assign(dataset=scores["trial"].map(current), shown=shown).dropna(subset=["dataset"])
    rows["shown"] = rows.groupby(["dataset", "label", "case"], observed=True)["shown"].transform("max")
    # Of a whole data set: a fold alone may lack a class that the others have.
    of_dataset = _lacking(rows, ["dataset", "partition", "label"])
    of_trial = _lacking(rows, ["trial", "partition", "label"])
    absent = rows.loc[of_dataset, ABSENT_COLUMNS].drop_duplicates().sort_values(ABSENT_COLUMNS, ignore_index=True)
    kept = scores.drop(index=rows.index[of_dataset]) if of_dataset.any() else scores
    return Counted(_without(trials, rows, of_trial), kept, absent)


def _shown(scores: pd.DataFrame) -> pd.Series:
    """1 where an image shows the class, 0 where it does not, NaN where the score does not tell."""
    recall, dsc = scores["recall"], scores["dsc"]
    told = np.select([recall.notna() & (dsc < 1), recall.isna() & (dsc == 0)], [1.0, 0.0], np.nan)
    if SIZE in scores:
        told = np.where(scores[SIZE].notna(), (scores[SIZE] > 0).astype(float), told)
    return pd.Series(told, index=scores.index)


def _lacking(rows: pd.DataFrame, keys: list[str]) -> pd.Series:
    """The rows whose group has an image without the class and none with it."""
    by = [rows[key] for key in keys]
    without = (rows["shown"] == 0).groupby(by, observed=True).transform("any")
    return without & ~(rows["shown"] == 1).groupby(by, observed=True).transform("any")


def _without(trials: pd.DataFrame, rows: pd.DataFrame, lacking: pd.Series) -> pd.DataFrame:
    """The trials with the mean DSC of the classes that their own images show."""
    changed = trials.copy()
    means = rows[~lacking].groupby(["partition", "trial"], observed=True)["dsc"].mean()
    for partition, column in (("validation", "val_dsc"), ("test", "test_dsc")):
        concerned = rows.loc[lacking & (rows["partition"] == partition), "trial"].unique()
        own = changed["hash"].isin(concerned)
        places = pd.MultiIndex.from_product([[partition], changed.loc[own, "hash"]])
        changed.loc[own, column] = means.reindex(places).to_numpy(float)
    return changed
