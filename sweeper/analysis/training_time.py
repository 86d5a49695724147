"""Training times that may be compared: of trials on one device, beside as many other trials.

A GPU of another kind, or a second trial on the same cores, moves a training time far more than any loss does. So the
losses are compared within one environment (host, device and versions, as each trial recorded it) and one load. The load
is what is known of it: how many trials of the sweep ran in that environment at the same time. What else the host did is
not recorded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeper.analysis.intervals import Floats


@dataclass(frozen=True, slots=True)
class AlikeTrials:
    """Training seconds of each loss with two or more trials under like conditions; `where` says which these are."""

    seconds: tuple[Floats, ...]
    where: str


def alike(trials: pd.DataFrame, dataset: str) -> AlikeTrials | str:
    """The largest set of finished trials of a data set that ran under like conditions, with two losses twice or more.

    Args:
        trials: `trial_frame`; only its `current` rows count, those of other data sets as load.
        dataset: whose.

    Returns:
        The set, or the reason why there is none.
    """
    timed = trials[trials["current"] & (trials["train_seconds"] > 0)]
    if timed[timed["dataset"] == dataset].groupby("loss", observed=True).size().ge(2).sum() < 2:
        return "fewer than two losses have two finished trials"
    known = timed[(timed["environment"] != "") & timed["finished_at"].notna()]
    sets = []
    for _, there in known.groupby("environment", sort=False, observed=True):
        load = _others_at_once(there).round().astype(int)
        own = there[there["dataset"] == dataset]
        for others, group in own.groupby(load[own.index], sort=True):
            times = [g["train_seconds"].to_numpy(float) for _, g in group.groupby("loss", observed=True) if len(g) > 1]
            if len(times) > 1:
                sets.append((sum(map(len, times)), -int(others), tuple(times)))
    if not sets:
        return "no two losses have two trials each on one device beside equally many other trials, as far as recorded"
    size, fewer, seconds = max(sets, key=lambda one: one[:2])
    beside = f"{-fewer} other{'' if fewer == -1 else 's'} of this sweep" if fewer else "no other of this sweep"
    return AlikeTrials(seconds, f"{size} trials on one device, each beside {beside}")


def _others_at_once(trials: pd.DataFrame) -> pd.Series:
    """Of each trial, how many others trained during it, on average over its time."""
    seconds = trials["train_seconds"].to_numpy(float)
    ends = trials["finished_at"].to_numpy(float)
    starts = ends - seconds
    first = starts.min()

    def trained_until(moments: Floats) -> Floats:
        """Seconds that all trials together had trained by each moment."""
        return _since(starts - first, moments - first) - _since(ends - first, moments - first)

    return pd.Series((trained_until(ends) - trained_until(starts)) / seconds - 1, index=trials.index)


def _since(events: Floats, moments: Floats) -> Floats:
    """The sum over the events of the time from each to each moment; an event that is still to come counts nothing."""
    ordered = np.sort(events)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    passed = np.searchsorted(ordered, moments)
    elapsed: Floats = passed * moments - sums[passed]
    return elapsed
