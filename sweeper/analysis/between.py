"""Differences between sweeps: the same loss at the same data set and class, trained in one sweep and in another."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from sweeper.analysis.chosen import ChosenScores
from sweeper.analysis.comparisons import ALL_COLUMNS, compare_metrics
from sweeper.analysis.scored import scored_metrics

_LEFT_OUT = ("loss_a", "loss_b", "p", "p_holm")
COLUMNS = ["variant", "sweep_a", "sweep_b", "metric", *(c for c in ALL_COLUMNS if c not in _LEFT_OUT)]
_BETWEEN = "\x1f"


def between(studies: Mapping[str, ChosenScores]) -> pd.DataFrame:
    """What each variant scores in one sweep less what it scores in another, each at its chosen γ.

    Intervals are those of `comparisons.compare_metrics`: about new trainings and new images, where both sweeps have
    repeats. No p value is given, for no family of tests was planned.

    Args:
        studies: the scores of each sweep, by its name.

    Returns:
        `COLUMNS`, one row for each pair of sweeps, data set, class, variant and metric that both have. A variant whose
        trials the sweeps share has no row.
    """
    parts = []
    for name, scores in studies.items():
        rows = scores.chosen
        parts.append(rows.assign(variant=name + _BETWEEN + rows["variant"].astype(str)))
    whole = pd.concat(parts, ignore_index=True)
    if (whole["group"] != "").any():
        whole["group"] = whole.groupby(["dataset", "case"], observed=True)["group"].transform("max")
    trials = whole.groupby(["dataset", "variant"], observed=True)["trial"].agg(frozenset).to_dict()
    found = []
    for pair in compare_metrics(whole, scored_metrics(whole)).to_dict("records"):
        (sweep_a, one), (sweep_b, other) = (str(pair[key]).split(_BETWEEN) for key in ("loss_a", "loss_b"))
        shared = trials[pair["dataset"], pair["loss_a"]] & trials[pair["dataset"], pair["loss_b"]]
        if one == other and sweep_a != sweep_b and not shared:
            found.append({**pair, "variant": one, "sweep_a": sweep_a, "sweep_b": sweep_b})
    return pd.DataFrame(found, columns=COLUMNS)
