"""The pilot: from validation curves at three rates to the rate and the epochs of each data set. No test score is read.

The rules were written down before it ran:

- the rate of a set is the one with the highest mean, over cross entropy and Dice, of the best validation DSC of a run
  within its first `COMPARED` epochs;
- its epochs are the first multiple of five at which both losses have reached 95% of their best validation DSC, in the
  longer runs at one of the rates, or `MOST` where that is later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from benchmarks.study.read import Exported

COMPARED = 12
REACHED = 0.95
STEP = 5
MOST = 25

COLUMNS = ["dataset", "loss", "rate", "epoch", "val_dsc"]


def curves(exported: Iterable[Exported]) -> pd.DataFrame:
    """The validation DSC of every epoch of the pilot's trials: `COLUMNS`."""
    return pd.concat([_curves_of(one) for one in exported])[COLUMNS].reset_index(drop=True)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the pilot says of a data set."""

    rate: float
    epochs: int


def best_by_rate(found: pd.DataFrame) -> pd.DataFrame:
    """The best validation DSC of each run's first epochs: a row for each data set and loss, a column for each rate."""
    first = found[found["epoch"] <= COMPARED]
    return first.groupby(["dataset", "loss", "rate"], sort=False, observed=True)["val_dsc"].max().unstack("rate")


def choose(found: pd.DataFrame) -> dict[str, Choice]:
    """The rate and the epochs of each data set, by the rules above; of equal rates the smaller."""
    chosen = {}
    longest = found.groupby("rate")["epoch"].max().idxmax()
    for dataset, table in best_by_rate(found).groupby("dataset", sort=False, observed=True):
        own = found[(found["dataset"] == dataset) & (found["rate"] == longest)]
        reached = max(_reached(curve) for _, curve in own.groupby("loss", observed=True))
        chosen[str(dataset)] = Choice(float(table.mean().idxmax()), min(-(-reached // STEP) * STEP, MOST))
    return chosen


def _reached(curve: pd.DataFrame) -> int:
    there = curve["val_dsc"] >= REACHED * curve["val_dsc"].max()
    return int(curve.loc[there, "epoch"].min())


def _curves_of(exported: Exported) -> pd.DataFrame:
    trials = exported.trials[["hash", "dataset", "loss"]]
    joined = exported.epochs.drop(columns="loss").merge(trials, left_on="trial", right_on="hash")
    return joined.assign(rate=rate_of(exported.name))


def rate_of(name: str) -> float:
    """The rate of one of the pilot's sweeps, which are named `pilot-rate-0.1`."""
    return float(name.rpartition("-")[2])
