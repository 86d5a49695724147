"""All pairs of losses compared about new images and new trainings, from any frame of scores.

    from sweeper.analysis import compare
    compare(pandas.read_csv("scores.csv"), metric="dsc")

The frame may come from anywhere. A sweep's own answers are computed by the same function.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import pandas as pd

from sweeper.analysis.errors import AnalysisError
from sweeper.analysis.significance import holm
from sweeper.analysis.trainings import Difference, LossScores, RunVariance, UnitVariance, Variances, compare_losses
from sweeper.analysis.wide import wide
from trials.errors import nearest

NEW_TRAININGS, THESE_NETWORKS = "new trainings", "these networks"
"""What a comparison says something about. With one run of a loss, it is about the networks that were trained."""

KEYS = ("dataset", "class", "loss", "run", "case")
PAIR_COLUMNS = [
    "dataset", "class", "loss_a", "loss_b", "difference", "low", "high", "p", "p_holm", "images", "groups", "runs_a",
    "runs_b", "warrants",
]  # fmt: skip
ALL_COLUMNS = [*PAIR_COLUMNS, "error", "freedom"]
_NUMBERS = ["difference", "low", "high", "p", "p_holm", "error", "freedom"]


def compare(scores: pd.DataFrame, *, metric: str = "dsc", alpha: float = 0.05) -> pd.DataFrame:
    """Compares every pair of losses within each data set and class.

    The method is `trainings.compare_losses`: images (or groups, such as patients) and training runs are both chance.

    Args:
        scores: one row per data set, class, loss, run and case: the columns `dataset`, `class`, `loss`, `run`, `case`
            and the metric; `group` (the patient of a case) where cases are not independent. `run` counts within a
            loss. NaN is an undefined score: its case is left out of the loss's comparisons.
        metric: the column to compare.
        alpha: `low` and `high` are the interval of level 1 − `alpha`.

    Returns:
        One row a pair, with `PAIR_COLUMNS`. `difference` is the mean of `loss_a` less that of `loss_b`, over groups
        (images where there are none) and runs, in the metric's own direction. `low` and `high` are not corrected.
        `p_holm` is corrected by Holm within one data set and class. `images` and `groups` count what entered (`groups`
        is 0 where none are given), `runs_a` and `runs_b` the runs that scored each image. `warrants` is "new
        trainings", or "these networks" where a loss has one run: then p, p_holm, low and high are NaN.

    Raises:
        AnalysisError: a column is missing or empty, alpha is not between 0 and 1, a score is no number or infinite, no
            score is defined, all scores are the same, a case has two rows in one run or two groups, or there is only
            one loss.
    """
    return compare_checked(checked(scores, metric, alpha), metric, alpha)[PAIR_COLUMNS]


def compare_checked(scores: pd.DataFrame, metric: str, alpha: float = 0.05) -> pd.DataFrame:
    """`compare` on a frame whose rows are known to be sound, with the columns `error` and `freedom` besides."""
    rows = []
    for (dataset, label), part in scores.groupby(["dataset", "class"], sort=True, observed=True):
        rows += _pairs(part, metric, alpha, {"dataset": dataset, "class": label})
    pairs = pd.DataFrame(rows, columns=ALL_COLUMNS).astype(dict.fromkeys(_NUMBERS, float))
    for _, family in pairs.groupby(["dataset", "class"], sort=False, observed=True):
        pairs.loc[family.index, "p_holm"] = holm(family["p"].to_numpy(float))
    return pairs


def compare_metrics(chosen: pd.DataFrame, metrics: Iterable[str]) -> pd.DataFrame:
    """The comparisons of a sweep's losses by each metric.

    Args:
        chosen: `trial_scores` at each variant's chosen γ.
        metrics: their names.

    Returns:
        `metric` and `ALL_COLUMNS`. A metric is left out of a data set and class where a distance is infinite and the
        image's diagonal is not known, since no mean is defined there.
    """
    scores = chosen.rename(columns={"label": "class", "loss": "name", "variant": "loss", "trial": "run"})
    found = [
        compare_checked(_with_means(scores, metric), metric).assign(metric=metric)
        for metric in metrics
        if metric in scores
    ]
    return pd.concat(found or [pd.DataFrame(columns=[*ALL_COLUMNS, "metric"])])[["metric", *ALL_COLUMNS]]


def _with_means(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    infinite = np.isinf(scores[metric].to_numpy(float))
    if not infinite.any():
        return scores
    places = [scores["dataset"], scores["class"]]
    return scores[~pd.Series(infinite, scores.index).groupby(places, observed=True).transform("any")]


@dataclass(frozen=True)
class RunScores:
    """The scores of one loss on one data set and class.

    `values` has a row per run and a column per case, without cases that are undefined in some run; `groups` maps a
    case to its group, and is empty where none are known.
    """

    values: pd.DataFrame
    groups: Mapping[Hashable, Hashable]

    @classmethod
    def of(cls, rows: pd.DataFrame, metric: str, groups: Mapping[Hashable, Hashable]) -> RunScores:
        """From the rows of one loss: `run`, `case` and the metric."""
        values = wide(rows, "run", "case", metric)
        there = values.notna().to_numpy()
        if there.all():
            return cls(values, groups)
        values = values.drop(columns=rows.loc[rows[metric].isna(), "case"].unique())
        if values.empty:
            return cls(values, groups)
        there = values.notna().to_numpy()
        patterns = np.unique(there, axis=1)
        # A cross-validation's folds: each run scored the cases of one block. Otherwise every run has every case.
        if not (patterns.sum(axis=1) <= 1).all():
            values = values.dropna(axis=1)
        return cls(values, groups)

    def units(self, cases: pd.Index) -> LossScores:
        """The scores of some of the cases by unit: by group where groups are known, by case where they are not."""
        return self.all_units if cases.equals(self.values.columns) else self._units(cases)

    @cached_property
    def all_units(self) -> LossScores:
        """The scores of all of its cases by unit."""
        return self._units(self.values.columns)

    def _units(self, cases: pd.Index) -> LossScores:
        chosen = self.values[cases]
        if self.groups:
            chosen = chosen.T.groupby([self.groups[case] for case in cases], sort=True).mean().T
        return LossScores(chosen.to_numpy(float))


def shared_variances(losses: Iterable[RunScores]) -> Variances:
    """What the losses share: the run variance of each on all of its own cases, the unit variance on the common ones."""
    scored = [scores for scores in losses if scores.values.size]
    runs = RunVariance.of([scores.all_units for scores in scored])
    repeated = [scores for scores in scored if scores.all_units.freedom]
    if not repeated:
        return Variances(runs, UnitVariance.of([]))
    common = repeated[0].values.columns
    for scores in repeated[1:]:
        common = common.intersection(scores.values.columns, sort=True)
    return Variances(runs, UnitVariance.of([scores.units(common) for scores in repeated] if len(common) else []))


def difference(first: RunScores, second: RunScores, variances: Variances) -> tuple[Difference, pd.Index]:
    """The difference of two losses on the cases that both have, and those cases."""
    cases = first.values.columns
    if not cases.equals(second.values.columns):
        cases = cases.intersection(second.values.columns, sort=True)
    if cases.empty:
        return Difference(np.nan, np.nan, np.nan), cases
    return compare_losses(first.units(cases), second.units(cases), variances), cases


def group_of_case(rows: pd.DataFrame) -> dict[Hashable, Hashable]:
    """Each case's group; empty where groups are unknown."""
    if "group" not in rows:
        return {}
    first = ~rows["case"].duplicated().to_numpy()
    known = rows["group"].to_numpy(object)[first]
    if pd.isna(known).any() or "" in known:
        return {}
    return dict(zip(rows["case"].to_numpy(object)[first], known, strict=True))


def _pairs(part: pd.DataFrame, metric: str, alpha: float, place: dict[str, object]) -> list[dict[str, object]]:
    groups = group_of_case(part)
    losses = {loss: RunScores.of(rows, metric, groups) for loss, rows in part.groupby("loss", sort=True, observed=True)}
    variances = shared_variances(losses.values())
    rows = []
    for (name_a, a), (name_b, b) in combinations(losses.items(), 2):
        found, cases = difference(a, b, variances)
        low, high = found.interval(alpha)
        rows.append(
            place
            | {
                "loss_a": name_a, "loss_b": name_b, "difference": found.estimate, "low": low, "high": high,
                "p": found.p, "images": len(cases), "groups": len({groups[case] for case in cases} if groups else ()),
                "runs_a": _runs(a, cases), "runs_b": _runs(b, cases),
                "warrants": THESE_NETWORKS if np.isnan(found.error) else NEW_TRAININGS, "error": found.error,
                "freedom": found.freedom,
            }
        )  # fmt: skip
    return rows


def _runs(scores: RunScores, cases: pd.Index) -> int:
    return scores.units(cases).runs if len(cases) else 0


def checked(scores: pd.DataFrame, metric: str, alpha: float = 0.05) -> pd.DataFrame:
    """The frame's own copy of what `compare` needs of it, the scores as numbers.

    Raises:
        AnalysisError: as in `compare`.
    """
    if not 0 < alpha < 1:
        raise AnalysisError(f"alpha is {alpha!r}; expected a number between 0 and 1, such as 0.05")
    for column in KEYS:
        if column not in scores:
            raise AnalysisError(
                f"the scores have no column {column!r}{nearest(column, map(str, scores))}; needed: {_needed(metric)}"
            )
    if metric not in scores or metric in (*KEYS, "group"):
        raise AnalysisError(
            f"the scores have no metric {metric!r}{nearest(metric, map(str, scores))}; needed: {_needed(metric)}"
        )
    if scores.empty:
        raise AnalysisError("the scores have no row; expected one for each data set, class, loss, run and case")
    kept = scores[[*KEYS, *(["group"] if "group" in scores else []), metric]].reset_index(drop=True)
    for column in KEYS:
        if kept[column].isna().any():
            raise AnalysisError(f"row {kept[column].isna().to_numpy().argmax()} of the scores has no {column}")
    _check_values(kept, metric)
    twice = kept.duplicated(list(KEYS))
    if twice.any():
        raise AnalysisError(f"{place_of(first_row(kept, twice))} has two rows; expected one score for each")
    _check_groups(kept)
    lonely = kept.groupby(["dataset", "class"], observed=True)["loss"].nunique()
    if (lonely < 2).all():
        raise AnalysisError(f"there is only one loss, {kept['loss'].iloc[0]!r}; a comparison needs two")
    return kept


def _check_values(kept: pd.DataFrame, metric: str) -> None:
    numbers = pd.to_numeric(kept[metric], errors="coerce")
    if pd.api.types.is_bool_dtype(kept[metric]):
        raise AnalysisError(f"the column {metric!r} holds truth values; expected numbers")
    wrong = numbers.isna() & kept[metric].notna()
    if wrong.any():
        row = first_row(kept, wrong)
        raise AnalysisError(
            f"{place_of(row)}: {metric} is {row[metric]!r}; expected a number, or NaN where it is undefined"
        )
    kept[metric] = numbers.astype(float)
    infinite = np.isinf(kept[metric])
    if infinite.any():
        raise AnalysisError(
            f"{place_of(first_row(kept, infinite))}: {metric} is infinite, which has no mean; give a missed structure "
            "the largest possible distance, such as the image's diagonal"
        )
    if kept[metric].isna().all():
        raise AnalysisError(f"no score is defined: every {metric} is NaN")
    if kept[metric].nunique() == 1:
        raise AnalysisError(f"every {metric} is {kept[metric].dropna().iloc[0]:g}: there is nothing to compare")


def _check_groups(kept: pd.DataFrame) -> None:
    if "group" not in kept:
        return
    missing = kept["group"].isna() | (kept["group"] == "")
    if missing.all():
        return
    wrong = missing & ~missing.groupby(kept["dataset"], observed=True).transform("all")
    if wrong.any():
        raise AnalysisError(
            f"{place_of(first_row(kept, wrong))} has no group, but other cases of the data set have one"
        )
    groups = kept.groupby(["dataset", "case"], observed=True)["group"].transform("nunique")
    if (groups > 1).any():
        row = first_row(kept, groups > 1)
        raise AnalysisError(f"case {row['case']!r} of {row['dataset']} is in {groups.max()} groups; expected one")


def first_row(kept: pd.DataFrame, which: pd.Series) -> pd.Series:
    """The first of the rows that are marked."""
    return kept.iloc[int(which.to_numpy().argmax())]


def place_of(row: pd.Series) -> str:
    """Which score a row is, for a message."""
    return f"{row['dataset']}, class {row['class']!r}, loss {row['loss']!r}, run {row['run']!r}, case {row['case']!r}"


def _needed(metric: str) -> str:
    return ", ".join((*KEYS, metric))
