"""Tables 2 to 6 from our own scores: mean and 95% interval of each metric, per data set, class and loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sweeper.analysis.intervals import bootstrap_mean, t_half_width
from sweeper.analysis.scored import scored_metrics
from sweeper.analysis.selection import at_diagonal
from trials.metrics import SIZE

TABLE_COLUMNS = [
    "dataset", "label", "variant", "loss", "gamma", "metric", "mean", "half_width", "boot_low", "boot_high", "median",
    "n", "left_out", "missed", "both_empty", "repeats", "repeats_half_width",
]  # fmt: skip


def result_table(images: pd.DataFrame, per_trial: pd.DataFrame) -> pd.DataFrame:
    """One row per data set, class, variant and metric.

    Args:
        images: `image_scores` at the chosen γ: one score per image, already averaged over the repeats.
        per_trial: `trial_scores` at the chosen γ, from which the spread over repeats is taken.

    Returns:
        `TABLE_COLUMNS`. `mean` ± `half_width` is Student's 95% interval over images (the paper's), `boot_low` and
        `boot_high` the percentile-bootstrap interval over images, `repeats_half_width` Student's 95% interval over
        the repeats' means (NaN for a single repeat). `left_out` counts the images whose score is undefined. `missed`
        counts those whose distance is infinite: they count as the image's diagonal, or are left out as well where that
        is not known. `both_empty` counts those whose truth and prediction are empty in every repeat, which is 1
        in every overlap metric; NaN where scores of an older version do not tell.
    """
    metrics = scored_metrics(images)
    keys = ["dataset", "label", "variant", "loss", "gamma"]
    spread = run_means(per_trial, metrics)
    bounded = at_diagonal(images)
    repeats = {_plain(key): group for key, group in spread.groupby(keys, dropna=False, observed=True)}
    rows = []
    for key, group in images.groupby(keys, dropna=False, sort=True, observed=True):
        over_repeats = repeats[_plain(key)]
        for metric in metrics:
            scores = bounded.loc[group.index, metric].to_numpy(float)
            values = scores[np.isfinite(scores)]
            low, high = bootstrap_mean(values)
            rows.append(
                dict(
                    zip(keys, key, strict=True),
                    metric=metric,
                    mean=values.mean() if values.size else np.nan,
                    half_width=t_half_width(values),
                    boot_low=low,
                    boot_high=high,
                    median=np.median(values) if values.size else np.nan,
                    n=values.size,
                    left_out=scores.size - values.size,
                    missed=int(np.isinf(group[metric]).sum()),
                    both_empty=_both_empty(group),
                    repeats=len(over_repeats),
                    repeats_half_width=t_half_width(over_repeats[metric].dropna().to_numpy(float)),
                )
            )
    numbers = dict.fromkeys(["gamma", "mean", "half_width", "median"], float)
    return pd.DataFrame(rows, columns=TABLE_COLUMNS).astype(numbers)


def run_means(per_trial: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """The mean over the images of each run, which in a cross-validation is all folds of a repeat.

    Args:
        per_trial: `trial_scores`.
        metrics: the metrics wanted.

    Returns:
        The metrics, by dataset, label, variant, loss, gamma and repeat. Infinite and undefined values are left out.
    """
    keys = ["dataset", "label", "variant", "loss", "gamma", "repeat"]
    known = per_trial[list(metrics)].replace([np.inf, -np.inf], np.nan)
    return per_trial[keys].join(known).groupby(keys, dropna=False, observed=True).mean()


def _both_empty(images: pd.DataFrame) -> float:
    """How many images have neither a true nor a marked pixel of the class; NaN where sizes were not stored."""
    if SIZE not in images or images[SIZE].isna().any():
        return np.nan
    return float(((images[SIZE] == 0) & (images["dsc"] == 1)).sum())


def _plain(key: object) -> tuple[object, ...]:
    """A group's key with NaN as None, since NaN is not equal to itself."""
    if not isinstance(key, tuple):
        raise TypeError(f"a key of several columns was expected, not {key!r}")
    return tuple(None if isinstance(k, float) and np.isnan(k) else k for k in key)
