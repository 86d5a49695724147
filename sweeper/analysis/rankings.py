"""How sure a ranking of the losses is: images and trainings are drawn again, and the losses are ranked each time.

The images (or groups, such as patients) are drawn with replacement, as Wiesenfarth et al. (2021, challengeR) do. Their
bootstrap takes the networks as given. Here a loss also gets a new training effect in each resample. It is drawn from a
t distribution with the loss's run variance, shrunk to the pooled one (`trainings.RunVariance`), since three runs drawn
with replacement vary by a third too little, and never beyond the worst run that was seen. The images' part is widened
by n/(n − 1) and has Student's tails for the same reason. docs/answers.md shows how
often it is wrong.

With one run of each loss nothing is known of new trainings: the ranking is then about these networks on new images.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from sweeper.analysis.common_units import CommonUnits
from sweeper.analysis.comparisons import NEW_TRAININGS, THESE_NETWORKS
from sweeper.analysis.errors import AnalysisError
from sweeper.analysis.intervals import RESAMPLES, Floats
from sweeper.analysis.scored import metric as metric_named
from sweeper.analysis.trainings import LossScores, RunVariance

CLEAR = 0.95
"""A loss whose probability of being best is above this is called the best."""

MAY_BE_BEST = 0.05
"""A loss with at least this probability may be the best."""

_SEED = 20210101
_KEYS = ("dataset", "label", "variant", "run", "case")


@dataclass(frozen=True, slots=True)
class Agreement:
    """Kendall's τ between the resampled rankings and the one of all scores: its mean, and where 95% of them lie."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Chances:
    """Of each loss the probability that it is best."""

    best_probability: Mapping[str, float]

    @property
    def best(self) -> str | None:
        """The loss that is best with a probability above `CLEAR`; None where no loss is."""
        return next((loss for loss, chance in self.best_probability.items() if chance > CLEAR), None)

    @property
    def candidates(self) -> tuple[str, ...]:
        """The losses that may be best, most probable first."""
        likely = [loss for loss, chance in self.best_probability.items() if chance >= MAY_BE_BEST]
        return tuple(sorted(likely, key=lambda loss: -self.best_probability[loss]))


@dataclass(frozen=True, eq=False, kw_only=True)
class Ranking(Chances):
    """The ranking of the losses on one data set and class, and how sure it is.

    Attributes:
        dataset: the data set.
        label: the class.
        losses: best mean first.
        means: the mean score of each loss over units and runs.
        rank_shares: a row per loss, a column per rank (the first is rank 1): the share of resamples.
        best_probability: of each loss, the share of resamples in which it ranks first.
        tau: how much the resampled rankings agree with this one.
        units: how many images or groups were drawn.
        unit: "images" or "groups".
        runs: how many runs each loss has.
        about: `NEW_TRAININGS`, or `THESE_NETWORKS` where fewer than two losses have two runs.
        single: losses that are left out, since they have one run and the others have several.
        left_out: images that one of the losses lacks.
        metric: by which score.
        resampled: the mean score of each loss in each resample, shape (resamples, losses), larger is better.
    """

    dataset: str
    label: str
    losses: tuple[str, ...]
    means: tuple[float, ...]
    rank_shares: Floats
    tau: Agreement
    units: int
    unit: str
    runs: Mapping[str, int]
    about: str
    single: tuple[str, ...] = ()
    left_out: int = 0
    metric: str = "dsc"
    resampled: Floats = field(default_factory=lambda: np.empty((0, 0)), repr=False)


@dataclass(frozen=True, eq=False, kw_only=True)
class Consensus(Chances):
    """One ranking of the losses over several data sets: by the mean of their ranks on each (challengeR's "euclidean").

    The classes of a data set are averaged first, so that each data set has one say. Attributes are those of `Ranking`;
    `losses` are those that every data set has, `missing` the others.
    """

    datasets: tuple[str, ...]
    losses: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    rank_shares: Floats
    tau: Agreement
    about: str
    missing: tuple[str, ...] = ()


def rank_losses(run_scores: pd.DataFrame, metric: str = "dsc") -> tuple[Ranking, ...]:
    """Ranks the losses of each data set and class.

    Args:
        run_scores: one row per dataset, label, variant, run and case, with the metric, and `group` (a case's patient)
            where cases are not independent. `run` counts within a variant. NaN is an undefined score: its case is left
            out for all losses.
        metric: the column to rank by; `scored.metric` knows which way is better.

    Returns:
        One ranking for each data set and class on which two losses have two common units, in the order of the names.

    Raises:
        AnalysisError: a column is missing, or a score is infinite.
    """
    missing = [column for column in (*_KEYS, metric) if column not in run_scores]
    if missing:
        raise AnalysisError(
            f"the scores have no column {missing[0]!r}; needed for a ranking: {', '.join((*_KEYS, metric))}"
        )
    infinite = np.isinf(run_scores[metric].to_numpy(float))
    if infinite.any():
        row = run_scores[infinite].iloc[0]
        raise AnalysisError(
            f"{row['dataset']}, class {row['label']!r}, {row['variant']}, case {row['case']!r}: {metric} is infinite, "
            "which has no mean; give a missed structure the largest possible distance, such as the image's diagonal"
        )
    places = run_scores.groupby(["dataset", "label"], sort=True, observed=True)
    found = (_ranking(str(dataset), str(label), rows, metric) for (dataset, label), rows in places)
    return tuple(ranking for ranking in found if ranking is not None)


def consensus(rankings: Sequence[Ranking]) -> Consensus | None:
    """One ranking over all data sets of `rankings`; None where there is one data set, or fewer than two common losses.

    It is about these data sets: that others would agree is not said.
    """
    datasets = tuple(dict.fromkeys(ranking.dataset for ranking in rankings))
    ranked = [set(ranking.losses) for ranking in rankings]
    common = sorted(set.intersection(*ranked)) if ranked else []
    if len(datasets) < 2 or len(common) < 2:
        return None
    full, resampled = [], []
    for dataset in datasets:
        own = [ranking for ranking in rankings if ranking.dataset == dataset]
        places = [[ranking.losses.index(loss) for loss in common] for ranking in own]
        means = [
            _signed(np.array(ranking.means)[place], ranking.metric) for ranking, place in zip(own, places, strict=True)
        ]
        full.append(np.mean([_mean_ranks(mean[None])[0] for mean in means], axis=0))
        drawn = [_mean_ranks(ranking.resampled[:, place]) for ranking, place in zip(own, places, strict=True)]
        resampled.append(np.mean(drawn, axis=0))
    mean_ranks, drawn_ranks = np.mean(full, axis=0), np.mean(resampled, axis=0)
    order = np.argsort(mean_ranks.round(9), kind="stable")
    losses = tuple(common[i] for i in order)
    shares, tau = _stability(-mean_ranks[order], -drawn_ranks[:, order])
    return Consensus(
        datasets=datasets,
        losses=losses,
        mean_ranks=tuple(float(rank) for rank in mean_ranks[order]),
        rank_shares=shares,
        best_probability=dict(zip(losses, shares[:, 0].tolist(), strict=True)),
        tau=tau,
        about=THESE_NETWORKS if any(r.about == THESE_NETWORKS for r in rankings) else NEW_TRAININGS,
        missing=tuple(sorted(set.union(*ranked) - set(common))),
    )


def chance(share: float) -> str:
    """`.62`, and never 1 or 0: a resampling shows neither."""
    return "> .99" if share > 0.995 else "< .01" if share < 0.005 else f"{share:.2f}".removeprefix("0")


def who_may_be_best(ranking: Ranking | Consensus) -> str:
    """A clause without a full stop: which losses may be best, each with its probability.

    With one run per loss it speaks of these trained networks.
    """
    chances = ranking.best_probability
    of = (
        "with new images and new trainings"
        if ranking.about == NEW_TRAININGS
        else "of these trained networks, on new images,"
    )
    if ranking.best is not None:
        return f"{of} {ranking.best} is best with probability {chance(chances[ranking.best])}"
    named = ranking.candidates[:_NAMED]
    others = len(chances) - len(named)
    text = ", ".join(f"{loss} (probability {chance(chances[loss])})" for loss in named)
    if others:
        left = 1 - sum(chances[loss] for loss in named)
        text += f" or {'the other one' if others == 1 else f'one of the {others} others'} ({chance(left)})"
    return f"{of} the best may be {text}"


_NAMED = 4


def _ranking(dataset: str, label: str, rows: pd.DataFrame, metric: str) -> Ranking | None:
    common = CommonUnits.of(rows, metric)
    if common is None:
        return None
    ranked = list(common.losses)
    centre, drawn = resample(list(common.losses.values()), dataset, new_trainings=common.new_trainings)
    signed, drawn = _signed(centre, metric), _signed(drawn, metric)
    order = np.argsort(-signed.round(12), kind="stable")
    names = tuple(ranked[i] for i in order)
    shares, tau = _stability(signed[order], drawn[:, order])
    return Ranking(
        dataset=dataset,
        label=label,
        losses=names,
        means=tuple(float(mean) for mean in centre[order]),
        rank_shares=shares,
        best_probability=dict(zip(names, shares[:, 0].tolist(), strict=True)),
        tau=tau,
        units=common.units,
        unit=common.unit,
        runs={name: common.losses[name].runs for name in names},
        about=NEW_TRAININGS if common.new_trainings else THESE_NETWORKS,
        single=common.single,
        left_out=common.left_out,
        metric=metric,
        resampled=drawn[:, order],
    )


def resample(losses: Sequence[LossScores], dataset: str, *, new_trainings: bool) -> tuple[Floats, Floats]:
    """Draws units and trainings again.

    Args:
        losses: their scores, all on the same units in the same order.
        dataset: decides what is drawn, so that its classes are drawn alike.
        new_trainings: whether trainings are drawn, too.

    Returns:
        The losses' means, and their means in each resample, shape (RESAMPLES, losses).
    """
    # The classes of a data set have the same seed: where they have the same units, these are drawn alike.
    random = np.random.default_rng([_SEED, zlib.crc32(dataset.encode())])
    means = np.stack([loss.unit_means for loss in losses])
    units = means.shape[1]
    centre = means.mean(axis=1)
    counts = random.multinomial(units, np.full(units, 1 / units), size=RESAMPLES)
    deviations = counts @ (means - centre[:, None]).T / units
    tails = np.sqrt((units - 1) / random.chisquare(units - 1, size=RESAMPLES))
    deviations *= np.sqrt(units / (units - 1)) * tails[:, None]
    if new_trainings:
        pooled = RunVariance.of(losses)
        for place, loss in enumerate(losses):
            variance, freedom = pooled.shrunk(loss)
            # Unit × run moves the units' part already.
            once = loss.of_mean(variance) - loss.residual_variance / (units * loss.runs)
            deviations[:, place] += np.sqrt(max(once, 0.0)) * random.standard_t(freedom, size=RESAMPLES)
    return centre, centre + deviations


def _stability(signed: Floats, drawn: Floats) -> tuple[Floats, Agreement]:
    """The share of each rank for each loss, and Kendall's τ; both arrays have larger values for better losses."""
    size = signed.size
    # Equal means share their ranks: either may come first.
    ties = np.random.default_rng(_SEED).permuted(np.tile(np.arange(size), (len(drawn), 1)), axis=1)
    order = np.lexsort((ties, -drawn.round(12)), axis=1)
    shares = np.stack([np.bincount(order[:, rank], minlength=size) for rank in range(size)], axis=1) / len(drawn)
    first, second = np.triu_indices(size, 1)
    full = np.sign((signed[first] - signed[second]).round(12))
    taus = (full * np.sign((drawn[:, first] - drawn[:, second]).round(12))).mean(axis=1)
    low, high = np.quantile(taus, [0.025, 0.975])
    return shares, Agreement(float(taus.mean()), float(low), float(high))


def _mean_ranks(signed: Floats) -> Floats:
    """Ranks along each row, rank 1 for the largest; equal values share the mean of their ranks."""
    rounded = signed.round(12)
    above = (rounded[:, None, :] > rounded[:, :, None]).sum(axis=2)
    equal = (rounded[:, None, :] == rounded[:, :, None]).sum(axis=2)
    ranks: Floats = above + (equal + 1) / 2
    return ranks


def _signed(values: Floats, metric: str) -> Floats:
    return values if metric_named(metric).higher_is_better else -values
