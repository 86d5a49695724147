"""Which γ a loss is shown with. The test set decides nothing: γ is chosen on validation; the choice on test is shown.

Also joins scores to trials and averages repeats, and every later module sees one score per image.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sweeper.analysis.scored import metric_columns

UNIFIED = ("unified_focal_sym", "unified_focal_asym")
"""The paper's two variants, whose γ is under study; every other loss is a baseline."""

RECOMMENDED_GAMMA = 0.5
"""The γ that the authors recommend (section 3.2 for 3D, and their released code)."""


def image_scores(trials: pd.DataFrame, scores: pd.DataFrame, partition: str = "test") -> pd.DataFrame:
    """One row per data set, variant, γ, class and image: the mean over the repeats of each score.

    Args:
        trials: `trial_frame`; only its `current` rows count.
        scores: `score_frame`.
        partition: "test" or "validation".

    Returns:
        Columns dataset, variant, loss, gamma, label, case, every metric and repeats (how many were averaged).
        Undefined (NaN) and infinite values are left out of the mean over repeats; NaN where none is left.
    """
    keys = ["dataset", "variant", "loss", "gamma", "label", "case"]
    per_trial = trial_scores(trials, scores, partition)
    grouped = per_trial.groupby(keys, dropna=False, sort=True, observed=True)
    result = grouped[metric_columns(scores)].mean()
    result["repeats"] = grouped.size()
    return result.reset_index()


def trial_scores(trials: pd.DataFrame, scores: pd.DataFrame, partition: str = "test") -> pd.DataFrame:
    """The scores of the current trials in one partition, with each trial's data set, variant, γ and repeat.

    An image whose group one trial knows has it in every row: trials of an older version were stored without groups.
    """
    current = trials.loc[trials["current"], ["hash", "dataset", "variant", "loss", "gamma", "repeat"]]
    chosen = scores[scores["partition"] == partition].merge(current, left_on="trial", right_on="hash")
    chosen = chosen.drop(columns=["hash", "partition"])
    metrics = metric_columns(scores)
    chosen[metrics] = chosen[metrics].replace([np.inf, -np.inf], np.nan)
    if (chosen["group"] != "").any():
        chosen["group"] = chosen.groupby(["dataset", "case"], observed=True)["group"].transform("max")
    return chosen


def select_gamma(trials: pd.DataFrame) -> pd.DataFrame:
    """For each data set and variant, the γ with the highest mean validation DSC, and beside it the choice on test.

    The mean is taken over the finished repeats of each γ. Equal means go to the γ nearest to the recommended 0.5, then
    to the smaller one. A variant without a validation DSC can be shown only if it has a single γ.

    Returns:
        Columns dataset, variant, loss, gamma, val_dsc, test_dsc (at the chosen γ), gammas (how many were compared),
        repeats (fewest finished repeats of any γ), gamma_on_test, test_dsc_on_test, optimism (test DSC that choosing
        on the test set would have added).
    """
    means = means_by_gamma(trials)
    rows = []
    for (dataset, variant, loss), group in means.groupby(["dataset", "variant", "loss"], sort=True, observed=True):
        if len(group) > 1 and not group["val_dsc"].notna().any():
            continue
        chosen = _best(group, "val_dsc")
        on_test = _best(group, "test_dsc")
        rows.append(
            {
                "dataset": dataset,
                "variant": variant,
                "loss": loss,
                "gamma": chosen["gamma"],
                "val_dsc": chosen["val_dsc"],
                "test_dsc": chosen["test_dsc"],
                "gammas": len(group),
                "repeats": int(group["repeats"].min()),
                "gamma_on_test": on_test["gamma"],
                "test_dsc_on_test": on_test["test_dsc"],
                "optimism": on_test["test_dsc"] - chosen["test_dsc"],
            }
        )
    selection = pd.DataFrame(rows, columns=_SELECTION_COLUMNS)
    numbers = _SELECTION_COLUMNS[3:]
    return selection.astype(dict.fromkeys(numbers, float) | {"gammas": int, "repeats": int})


def means_by_gamma(trials: pd.DataFrame) -> pd.DataFrame:
    """The mean validation and test DSC of each data set, variant and γ over its finished repeats.

    Returns:
        Columns dataset, variant, loss, gamma (NaN for one that was not swept), val_dsc, test_dsc, repeats.
    """
    current = trials[trials["current"]]
    return (
        current.groupby(["dataset", "variant", "loss", "gamma"], dropna=False, observed=True)
        .agg(val_dsc=("val_dsc", "mean"), test_dsc=("test_dsc", "mean"), repeats=("hash", "size"))
        .reset_index()
    )


def at_selected_gamma(frame: pd.DataFrame, selection: pd.DataFrame) -> pd.DataFrame:
    """The rows of `frame` (with dataset, variant and gamma) that belong to each variant's chosen γ."""
    keys = selection[["dataset", "variant", "gamma"]]
    return frame.merge(keys, on=["dataset", "variant", "gamma"])


def foreground_dsc(images: pd.DataFrame) -> pd.DataFrame:
    """One DSC per data set, variant, γ and image: the mean over the foreground classes, as validation DSC is."""
    keys = ["dataset", "variant", "loss", "gamma", "case"]
    return images.groupby(keys, dropna=False, sort=True, observed=True)["dsc"].mean().reset_index()


_SELECTION_COLUMNS = [
    "dataset", "variant", "loss", "gamma", "val_dsc", "test_dsc", "gammas", "repeats", "gamma_on_test",
    "test_dsc_on_test", "optimism",
]  # fmt: skip


def _best(group: pd.DataFrame, column: str) -> pd.Series:
    order = group.assign(
        distance=(group["gamma"] - RECOMMENDED_GAMMA).abs().round(9), score=group[column].round(12)
    ).sort_values(["score", "distance", "gamma"], ascending=[False, True, True], na_position="last")
    return order.iloc[0]
