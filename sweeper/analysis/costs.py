"""What the study cost and what went wrong in it: device hours per loss, and every trial that did not finish."""

from __future__ import annotations

import pandas as pd

COST_COLUMNS = ["dataset", "loss", "trials", "hours", "mean_seconds", "mean_epochs"]
UNFINISHED_COLUMNS = ["label", "hash", "state", "attempts", "failure", "error"]


def costs(trials: pd.DataFrame) -> pd.DataFrame:
    """Training time of the finished trials, whatever their results version, per data set and loss (`COST_COLUMNS`)."""
    done = trials[trials["state"] == "finished"]
    grouped = done.groupby(["dataset", "loss"], sort=True, observed=True)
    frame = grouped.agg(
        trials=("hash", "size"),
        hours=("train_seconds", lambda s: s.sum() / 3600),
        mean_seconds=("train_seconds", "mean"),
        mean_epochs=("epochs", "mean"),
    )
    return frame.reset_index()[COST_COLUMNS]


def unfinished(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that no statistic counts (`UNFINISHED_COLUMNS`): not finished, or of an older results version."""
    rest = trials[~trials["current"]].copy()
    rest.loc[rest["state"] == "finished", "state"] = "outdated"
    return rest[UNFINISHED_COLUMNS].reset_index(drop=True)
