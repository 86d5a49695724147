"""Which γ a loss is shown with. The test set decides nothing: γ is chosen on validation; the choice on test is shown.

Also joins scores to trials and averages repeats, and every later module sees one score per image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sweeper.analysis.intervals import t_half_widths
from sweeper.analysis.scored import metric, metric_columns
from trials.metrics import DIAGONAL

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
        Undefined values (NaN) are left out of the mean over repeats; NaN where none is left. In it an infinite
        distance counts as the image's diagonal; the mean itself is infinite where every repeat is, and where the
        diagonal is not known.
    """
    keys = ["dataset", "variant", "loss", "gamma", "label", "case"]
    per_trial = _current_scores(trials, scores, partition)
    grouped = at_diagonal(per_trial).groupby(keys, dropna=False, sort=True, observed=True)
    result = grouped[metric_columns(scores)].mean()
    for name in _infinite(per_trial, metric_columns(scores)):
        own = per_trial.assign(infinite=np.isinf(per_trial[name])).groupby(keys, dropna=False, sort=True, observed=True)
        always = own["infinite"].sum() == own[name].count()
        result[name] = result[name].mask(always & own["infinite"].any(), own[name].first())
    result["repeats"] = grouped.size()
    return result.reset_index()


def trial_scores(trials: pd.DataFrame, scores: pd.DataFrame, partition: str = "test") -> pd.DataFrame:
    """The scores of the current trials in one partition, with each trial's data set, variant, γ, repeat and fold.

    An image whose group one trial knows has it in every row: trials of an older version were stored without groups. An
    infinite distance is the image's diagonal; infinite where the diagonal is not known.
    """
    return at_diagonal(_current_scores(trials, scores, partition))


def at_diagonal(frame: pd.DataFrame) -> pd.DataFrame:
    """Scores of which an infinite distance is the image's diagonal: what a missed structure costs in means.

    Where the diagonal is not known (scores of an older version), it stays infinite.
    """
    if DIAGONAL not in frame:
        return frame
    names = [n for n in _infinite(frame, metric_columns(frame)) if metric(n).distance]
    return frame.assign(
        **{n: frame[n].mask(np.isinf(frame[n]) & frame[DIAGONAL].notna(), frame[DIAGONAL]) for n in names}
    )


def _current_scores(trials: pd.DataFrame, scores: pd.DataFrame, partition: str) -> pd.DataFrame:
    current = trials.loc[trials["current"], ["hash", "dataset", "variant", "loss", "gamma", "repeat", "fold"]]
    chosen = scores[scores["partition"] == partition].merge(current, left_on="trial", right_on="hash")
    chosen = chosen.drop(columns=["hash", "partition"])
    if (chosen["group"] != "").any():
        chosen["group"] = chosen.groupby(["dataset", "case"], observed=True)["group"].transform("max")
    return chosen


def _infinite(frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Which of the columns have an infinite value."""
    return [name for name in names if pd.api.types.is_float_dtype(frame[name]) and np.isinf(frame[name]).any()]


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


def best_on_validation(selection: pd.DataFrame) -> pd.DataFrame:
    """The row of each data set's loss, at its chosen γ, with the highest mean validation DSC over its runs."""
    known = selection[selection["val_dsc"].notna()]
    return known.loc[known.groupby("dataset", sort=False, observed=True)["val_dsc"].idxmax()]


def best_trials(trials: pd.DataFrame, best: pd.DataFrame) -> dict[str, str]:
    """The hash of each data set's best model: of the loss of `best_on_validation` the run that is best on "
    "validation."""
    runs = at_selected_gamma(trials[trials["current"]], best)
    runs = runs.dropna(subset=["val_dsc"]).sort_values("val_dsc", ascending=False, kind="stable")
    return {str(r["dataset"]): str(r["hash"]) for r in runs.drop_duplicates("dataset").to_dict("records")}


def means_by_gamma(trials: pd.DataFrame) -> pd.DataFrame:
    """The mean validation and test DSC of each data set, variant and γ over its finished repeats.

    That of a repeat of a cross-validation is the mean over its finished folds.

    Returns:
        Columns dataset, variant, loss, gamma (NaN for one that was not swept), val_dsc, test_dsc, repeats, and
        val_half_width and test_half_width: of Student's 95% interval over the repeats, NaN for a single one.
    """
    keys = ["dataset", "variant", "loss", "gamma"]
    current = trials[trials["current"]]
    by_repeat = current.groupby([*keys, "repeat"], dropna=False, observed=True)[["val_dsc", "test_dsc"]].mean()
    means = (
        by_repeat.reset_index()
        .groupby(keys, dropna=False, observed=True)
        .agg(
            val_dsc=("val_dsc", "mean"),
            test_dsc=("test_dsc", "mean"),
            repeats=("repeat", "size"),
            **{f"{part}_{what}": (f"{part}_dsc", what) for part in ("val", "test") for what in ("count", "std")},
        )
        .reset_index()
    )
    for part in ("val", "test"):
        counts, deviations = (means.pop(f"{part}_{what}").to_numpy(float) for what in ("count", "std"))
        means[f"{part}_half_width"] = t_half_widths(counts, deviations)
    return means


def at_selected_gamma(frame: pd.DataFrame, selection: pd.DataFrame) -> pd.DataFrame:
    """The rows of `frame` (with dataset, variant and gamma) that belong to each variant's chosen γ."""
    keys = selection[["dataset", "variant", "gamma"]]
    return frame.merge(keys, on=["dataset", "variant", "gamma"])


def foreground_dsc(images: pd.DataFrame) -> pd.DataFrame:
    """One DSC per data set, variant, γ and image: the mean over the foreground classes, as validation DSC is.

    Args:
        images: `image_scores`; of `trial_scores` it is one DSC for each trial and image.
    """
    keys = ["dataset", "variant", "loss", "gamma", *(k for k in ("trial", "group") if k in images), "case"]
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
