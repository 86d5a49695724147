"""What the study is asked beside what every sweep is asked. Pure functions of the two frames of a sweep.

A data set has one say, whatever its classes: the DSC of an image is the mean over its foreground classes, as in
`selection.foreground_dsc`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from sweeper.analysis.comparisons import compare
from sweeper.analysis.intervals import Floats
from sweeper.analysis.rank_tests import rank_sum
from sweeper.analysis.selection import at_selected_gamma, foreground_dsc, select_gamma, trial_scores

ALPHA = 0.05
SHOWN_ONLY = ("ms_lesions",)
"""Two patients, whose slices are in training and test: shown, and in no test and no regression."""

DRAWS = 1000
_SEED = 20220101


def counted(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials of the sets that enter tests."""
    return trials[~trials["dataset"].isin(SHOWN_ONLY)]


def image_dsc(trials: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """The test DSC of each image, trial and γ: dataset, variant, loss, gamma, repeat, trial, case, group and dsc."""
    found = foreground_dsc(trial_scores(trials, scores))
    return found.merge(trials[["hash", "repeat"]].rename(columns={"hash": "trial"}), on="trial")


def overall(images: pd.DataFrame, selection: pd.DataFrame) -> pd.DataFrame:
    """All pairs of losses on each data set, at the γ that validation chose, about new images and new trainings.

    Args:
        images: `image_dsc`.
        selection: `select_gamma`.

    Returns:
        The columns of `comparisons.compare`.
    """
    chosen = at_selected_gamma(images, selection).drop(columns="loss")
    frame = chosen.rename(columns={"variant": "loss", "trial": "run"}).assign(**{"class": "all"})
    return compare(frame, metric="dsc")


def gains(pairs: pd.DataFrame, unified: Sequence[str], baselines: Sequence[str]) -> pd.DataFrame:
    """How much higher each unified loss scores than each baseline: dataset, loss, over, gain, low, high and p_holm."""
    rows = []
    for row in pairs.to_dict("records"):
        for first, second, sign in ((row["loss_a"], row["loss_b"], 1), (row["loss_b"], row["loss_a"], -1)):
            if first in unified and second in baselines:
                ends = sorted((sign * row["low"], sign * row["high"]))
                rows.append((row["dataset"], first, second, sign * row["difference"], *ends, row["p_holm"]))
    return pd.DataFrame(rows, columns=["dataset", "loss", "over", "gain", "low", "high", "p_holm"])


def shares(trials: pd.DataFrame, scores: pd.DataFrame, pixels: Mapping[str, int]) -> pd.DataFrame:
    """The share of the foreground in the scored images: dataset, label, images, tested, share (of an image's pixels).

    An image that was in validation of some run and in no test counts among the `images`, and not among those `tested`.

    Args:
        trials: `frames.trial_frame`.
        scores: `frames.score_frame`, with the size of each structure.
        pixels: of an image of each data set.
    """
    named = scores.merge(trials[["hash", "dataset"]], left_on="trial", right_on="hash")
    named["tested"] = named["case"].where(named["partition"] == "test")
    by = ["dataset", "label"]
    cases = named.drop_duplicates([*by, "case"]).groupby(by, sort=True, observed=True)
    found = cases.agg(images=("size", "size"), share=("size", "mean"))
    found.insert(1, "tested", named.groupby(by, observed=True)["tested"].nunique())
    found = found.reset_index()
    found["share"] /= found["dataset"].map(pixels).astype(float)
    return found


@dataclass(frozen=True, slots=True)
class Line:
    """A least-squares line with the 95% interval of its slope; `others` are the slopes without one point each."""

    slope: float
    low: float
    high: float
    p: float
    intercept: float
    points: int
    others: tuple[float, ...]


def line(x: Floats, y: Floats) -> Line | None:
    """The line through the points; None with fewer than three, or all at one place."""
    if x.size < 3 or np.ptp(x) == 0:
        return None
    found = stats.linregress(x, y)
    half = float(stats.t.ppf(1 - ALPHA / 2, x.size - 2)) * float(found.stderr)
    rest = [np.delete(np.arange(x.size), out) for out in range(x.size)]
    others = [float(stats.linregress(x[kept], y[kept]).slope) for kept in rest if np.ptp(x[kept]) > 0]
    slope = float(found.slope)
    return Line(slope, slope - half, slope + half, float(found.pvalue), float(found.intercept), x.size, tuple(others))


def gain_by_rarity(gained: pd.DataFrame, share: pd.DataFrame) -> pd.DataFrame:
    """The gain of each unified loss over each baseline on the tenfold rarity of the foreground, one point for each set.

    Args:
        gained: `gains`.
        share: `shares`; a set's is the mean over its classes.

    Returns:
        loss, over, slope (gain for each tenfold rarer foreground), low, high, p, sets, and the range of the slopes
        that are left without one of the sets (`least`, `most`).
    """
    rarity = -np.log10(share.groupby("dataset", observed=True)["share"].mean())
    rows = []
    for (loss, over), own in gained.groupby(["loss", "over"], sort=True, observed=True):
        found = line(rarity.loc[own["dataset"]].to_numpy(float), own["gain"].to_numpy(float))
        if found is not None:
            ends = (min(found.others), max(found.others))
            rows.append((loss, over, found.slope, found.low, found.high, found.p, found.points, *ends))
    return pd.DataFrame(rows, columns=["loss", "over", "slope", "low", "high", "p", "sets", "least", "most"])


def balance(trials: pd.DataFrame, scores: pd.DataFrame, selection: pd.DataFrame) -> pd.DataFrame:
    """Mean recall and precision of each loss on each data set, over classes, images and runs: and their difference."""
    chosen = at_selected_gamma(trial_scores(trials, scores), selection)
    means = chosen.groupby(["dataset", "label", "variant"], observed=True)[["recall", "precision"]].mean()
    found = means.groupby(["dataset", "variant"], observed=True).mean()
    return found.assign(difference=found["recall"] - found["precision"]).reset_index()


def single_runs(
    images: pd.DataFrame, trials: pd.DataFrame, selection: pd.DataFrame, draws: int = DRAWS
) -> pd.DataFrame:
    """What a study with one run of each loss would have concluded.

    Each draw takes one run of each loss, at the γ that is best on validation in that run, and names the loss with the
    highest mean test DSC. It is compared with the loss that is best over all runs.

    Args:
        images: `image_dsc`.
        trials: `frames.trial_frame`.
        selection: `select_gamma`.
        draws: how many.

    Returns:
        dataset, best (over all runs), runs, other (the share of draws that name another loss), worse (the share that
        names another one and finds it significantly better than the best by the paper's rank-sum test), clear (the
        share in which the named loss is significantly better than the second), named (how many losses are named).
    """
    rows = []
    for dataset, part in images.groupby("dataset", sort=True, observed=True):
        random = np.random.default_rng(_SEED)  # a set's draws do not depend on what other sets there are
        own = trials[trials["dataset"] == dataset]
        candidates = _of_single_runs(part, own)
        means = {loss: np.array([one.mean() for one in runs]) for loss, runs in candidates.items()}
        over_all = at_selected_gamma(part, selection).groupby("variant", observed=True)["dsc"].mean()
        best = str(over_all.idxmax())
        p = _paper_p(candidates)
        losses = list(candidates)
        taken = {loss: random.integers(len(runs), size=draws) for loss, runs in candidates.items()}
        drawn = np.stack([means[loss][taken[loss]] for loss in losses])
        order = np.argsort(-drawn, axis=0, kind="stable")
        named = [losses[index] for index in order[0]]
        second = [losses[index] for index in order[1]]
        other = np.array([loss != best for loss in named])

        def significant(first: str, then: str, draw: int, p: _P = p, taken: Mapping[str, Floats] = taken) -> bool:
            return p[(first, int(taken[first][draw])), (then, int(taken[then][draw]))] < ALPHA

        worse = [wrong and significant(loss, best, k) for k, (loss, wrong) in enumerate(zip(named, other, strict=True))]
        clear = [significant(loss, then, k) for k, (loss, then) in enumerate(zip(named, second, strict=True))]
        runs = min(len(one) for one in candidates.values())
        rows.append((dataset, best, runs, other.mean(), np.mean(worse), np.mean(clear), len(set(named))))
    return pd.DataFrame(rows, columns=["dataset", "best", "runs", "other", "worse", "clear", "named"])


_Run = tuple[str, int]
_P = Mapping[tuple[_Run, _Run], float]


def _of_single_runs(images: pd.DataFrame, trials: pd.DataFrame) -> dict[str, list[Floats]]:
    """Of each loss the scores of each of its runs (all folds together), at the γ which that run's validation chose."""
    found: dict[str, list[Floats]] = {}
    for repeat, own in trials.groupby("repeat", sort=True, observed=True):
        chosen = at_selected_gamma(images[images["repeat"] == repeat], select_gamma(own))
        for variant, rows in chosen.groupby("variant", sort=True, observed=True):
            found.setdefault(str(variant), []).append(rows.sort_values("case")["dsc"].to_numpy(float))
    return found


def _paper_p(candidates: Mapping[str, Sequence[Floats]]) -> _P:
    """The p of the paper's test for every run of each loss against every run of every other."""
    p: dict[tuple[_Run, _Run], float] = {}
    for first, second in combinations(candidates, 2):
        for i, one in enumerate(candidates[first]):
            for j, other in enumerate(candidates[second]):
                value = rank_sum(one, other).p
                p[(first, i), (second, j)] = p[(second, j), (first, i)] = value
    return p


@dataclass(frozen=True, slots=True)
class SameLoss:
    """One loss against itself: the share of comparisons that call a difference significant, and how many there were."""

    dataset: str
    loss: str
    runs: int
    paper: float
    pairs: int
    ours: float
    halves: int


def same_loss(images: pd.DataFrame) -> Iterator[SameLoss]:
    """The A/A comparison: a loss that was trained with several seeds, compared with itself.

    The paper's test compares every two seeds, one run of each, over the images. The product's needs repeats: it
    compares every two halves of the seeds as if they were two losses.

    Args:
        images: `image_dsc` of one loss and γ on each data set.
    """
    for (dataset, loss), rows in images.groupby(["dataset", "variant"], sort=True, observed=True):
        runs = [own.sort_values("case") for _, own in rows.groupby("repeat", sort=True, observed=True)]
        pairs = list(combinations(runs, 2))
        paper = [rank_sum(a["dsc"].to_numpy(float), b["dsc"].to_numpy(float)).p < ALPHA for a, b in pairs]
        half = len(runs) // 2
        ours = [_halves_differ(rows, set(chosen)) for chosen in _halves(sorted(rows["repeat"].unique()), half)]
        yield SameLoss(
            str(dataset), str(loss), len(runs), float(np.mean(paper)) if paper else math.nan, len(paper),
            float(np.mean(ours)) if ours else math.nan, len(ours),
        )  # fmt: skip


def _halves(repeats: Sequence[int], half: int) -> Iterator[tuple[int, ...]]:
    """Every way to put twice `half` of the repeats into two halves, by the one with the first repeat."""
    kept = repeats[: 2 * half]
    if half < 2:
        return
    for rest in combinations(kept[1:], half - 1):
        yield (kept[0], *rest)


def _halves_differ(rows: pd.DataFrame, chosen: set[int]) -> bool:
    names = np.where(rows["repeat"].isin(chosen), "a", "b")
    frame = rows.drop(columns="loss").rename(columns={"trial": "run"}).assign(loss=names, **{"class": "all"})
    return bool(compare(frame, metric="dsc")["p"].iloc[0] < ALPHA)


def own_rates(studies: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """How the ranking moves when each loss is trained at the rate that is best for it on validation.

    Args:
        studies: trials at the common rate, then at every other one.

    Returns:
        dataset, tau (Kendall's, between the ranking at the common rate and at own rates), first and first_own (the
        losses with the highest mean), moved (how many losses have another rank) and losses. Of the cells (losses, γ,
        repeats and folds) that every study has.
    """
    keys = ["dataset", "variant", "gamma", "repeat", "fold"]
    common = studies[0][keys]
    for other in studies[1:]:
        common = common.merge(other[keys])
    rates = pd.concat(select_gamma(one.merge(common)).assign(rate=number) for number, one in enumerate(studies))
    rows = []
    for dataset, own in rates.groupby("dataset", sort=True, observed=True):
        at_one = own[own["rate"] == 0].set_index("variant")["test_dsc"]
        best = own.sort_values("val_dsc", ascending=False, kind="stable").drop_duplicates("variant")
        at_own = best.set_index("variant")["test_dsc"].reindex(at_one.index)
        tau = float(stats.kendalltau(at_one, at_own).statistic)
        moved = int((at_one.rank() != at_own.rank()).sum())
        rows.append((dataset, tau, str(at_one.idxmax()), str(at_own.idxmax()), moved, len(at_one)))
    return pd.DataFrame(rows, columns=["dataset", "tau", "first", "first_own", "moved", "losses"])
