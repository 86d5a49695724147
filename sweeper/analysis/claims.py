"""The paper's claims, one by one: each holds in our runs, does not hold, or was not tested, with the numbers.

Significance is judged as the paper does (rank-sum, uncorrected p < 0.05), with the corrected signed-rank p beside it.
Runs on synthetic images or in a rehearsal test nothing, whatever their numbers are; these are shown all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats

from sweeper.analysis.paper import DATASETS, LOSSES, paper_tables
from sweeper.analysis.selection import RECOMMENDED_GAMMA, UNIFIED
from sweeper.analysis.significance import ALPHA, RANK_SUM, SIGNED_RANK
from sweeper.analysis.training_time import alike

HOLDS, FAILS, UNTESTED = "holds", "does not hold", "not tested"

SYM, ASYM = UNIFIED
TWO_DIMENSIONAL = ("cvc_clinicdb", "drive", "bus2017")
HIGH_GAMMA = 0.7
"""From here on γ counts as high; the paper says that the worst performance occurred at high γ."""

ALL_CLASSES = "all classes"
CLAIM_COLUMNS = ["dataset", "label", "claim", "verdict", "numbers", "in_paper"]


@dataclass(frozen=True, slots=True)
class _Tested:
    """One test of one pair; a positive effect means that `first` is better."""

    first: str
    p: float
    p_holm: float
    effect: float
    n: int


@dataclass(frozen=True)
class Evidence:
    """What the claims are judged by: the frames of `tables`, `significance`, `stability` and the trials.

    `unfit` maps a data set to the reason why its runs test no claim (synthetic images, rehearsal).
    """

    side_by_side: pd.DataFrame
    agreement: pd.DataFrame
    tests: pd.DataFrame
    curves: pd.DataFrame
    stability: pd.DataFrame
    trials: pd.DataFrame
    unfit: Mapping[str, str]

    @cached_property
    def pairs(self) -> Mapping[tuple[str, str, str, frozenset[str]], _Tested]:
        """The tests of DSC by data set, class, test and pair of losses."""
        columns = ["dataset", "label", "test", "second", "first", "p", "p_holm", "effect", "n"]
        rows = self.tests.loc[self.tests["metric"] == "dsc", columns].itertuples(index=False, name=None)
        return {(*row[:3], frozenset(row[3:5])): _Tested(*row[4:]) for row in rows}


@dataclass(frozen=True, slots=True)
class _Finding:
    verdict: str
    numbers: str


def judge(evidence: Evidence) -> pd.DataFrame:
    """Every claim for every data set and class that it is about, with `CLAIM_COLUMNS`.

    The paper's general claims are also asked of data sets that the paper does not have (`in_paper` False).
    """
    paper = paper_tables()[["dataset", "label"]].drop_duplicates()
    ours = evidence.side_by_side[["dataset", "label"]].drop_duplicates()
    places = pd.concat([paper, ours]).drop_duplicates().to_numpy().tolist()
    found = [(d, label, *c) for d, label in places for c in _class_claims(evidence, d, label)]
    found += [(d, ALL_CLASSES, *c) for d in dict.fromkeys(p[0] for p in places) for c in _dataset_claims(evidence, d)]
    rows = []
    for dataset, label, claim, finding in found:
        reason = evidence.unfit.get(dataset)
        if reason and finding.verdict != UNTESTED:
            finding = _Finding(UNTESTED, f"{reason}; here: {finding.numbers}")
        rows.append((dataset, label, claim, finding.verdict, finding.numbers, dataset in DATASETS))
    return pd.DataFrame(rows, columns=CLAIM_COLUMNS)


def _class_claims(e: Evidence, dataset: str, label: str) -> Iterator[tuple[str, _Finding]]:
    place = (dataset, label)
    means = e.side_by_side[(e.side_by_side["dataset"] == dataset) & (e.side_by_side["label"] == label)]
    yield "Asymmetric unified focal is at least as good as every other loss in mean DSC", _best(means, (ASYM,), "dsc")
    yield "A unified focal loss has the highest mean DSC", _best(means, UNIFIED, "dsc")
    yield "A unified focal loss has the highest mean IoU", _best(means, UNIFIED, "iou")
    if dataset in DATASETS:
        yield "The losses rank as in the paper (Kendall's τ > 0, p < 0.05)", _ranking(e, *place)
    if dataset != "kits19":
        yield "The two unified variants do not differ significantly", _no_difference(e, place, [(ASYM, SYM)])
    if dataset in ("cvc_clinicdb", "bus2017"):
        yield "Focal is significantly worse than cross entropy", _better(e, place, [("ce", "focal")])
    if dataset in TWO_DIMENSIONAL:
        yield "Focal is significantly worse than the asymmetric variant", _better(e, place, [(ASYM, "focal")])
        pairs = [("dice", "tversky"), ("dice", "focal_tversky"), ("tversky", "focal_tversky")]
        yield "The Dice-based losses do not differ significantly", _no_difference(e, place, pairs)
    if dataset == "brats20":
        yield "The asymmetric variant is significantly better than all six baselines", _beats(e, place, LOSSES[:6])
        pairs = [(a, b) for b in ("dice", "tversky") for a in LOSSES if a not in ("dice", "tversky")]
        yield "Dice and Tversky are significantly worse than the other losses", _better(e, place, pairs)
    if place == ("kits19", "kidney"):
        others: Sequence[str] = ("ce", "focal", "tversky", "focal_tversky")
        yield (
            "The asymmetric variant is significantly better than CE, focal, Tversky, focal Tversky",
            _beats(e, place, others),
        )
    if place == ("kits19", "tumour"):
        others = ("ce", "focal", "dice", "tversky")
        yield "The asymmetric variant is significantly better than CE, focal, Dice, Tversky", _beats(e, place, others)
        yield "Dice is significantly better than cross entropy", _better(e, place, [("dice", "ce")])


def _dataset_claims(e: Evidence, dataset: str) -> Iterator[tuple[str, _Finding]]:
    """The claims about all classes of a data set together."""
    if dataset in TWO_DIMENSIONAL or dataset not in DATASETS:
        yield from _gamma_claims(e, dataset)
    yield "Training time does not differ between the losses", _training_time(e.trials, dataset)


def _best(means: pd.DataFrame, candidates: Iterable[str], metric: str) -> _Finding:
    """Whether one of the candidates has the highest mean, at the three decimals of the paper's tables."""
    rows = means[(means["metric"] == metric) & (means["variant"] == means["loss"])].dropna(subset=["mean"])
    score = {str(k): float(v) for k, v in rows.set_index("loss")["mean"].round(3).items()}
    own = {c: score[c] for c in candidates if c in score}
    others = {k: v for k, v in score.items() if k not in own}
    if not own or not others:
        return _Finding(UNTESTED, "the losses to compare have not both finished")
    best, rival = max(own, key=own.__getitem__), max(others, key=others.__getitem__)
    tied = " (a tie)" if own[best] == others[rival] else ""
    return _Finding(
        HOLDS if own[best] >= others[rival] else FAILS,
        f"{best} {own[best]:.3f}, best other loss {rival} {others[rival]:.3f}{tied}; {len(score)} losses",
    )


def _ranking(e: Evidence, dataset: str, label: str) -> _Finding:
    rows = e.agreement[(e.agreement["dataset"] == dataset) & (e.agreement["label"] == label)]
    if rows.empty or not np.isfinite(rows.iloc[0]["tau"]):
        return _Finding(UNTESTED, "fewer than two of the paper's losses have finished, or all are equal")
    row = rows.iloc[0]
    numbers = f"τ = {row['tau']:.2f}, p = {_p(row['p'])}, {row['losses']} losses"
    if row["losses"] < 5:
        return _Finding(UNTESTED, f"{numbers}: below five losses no order can be significant")
    return _Finding(HOLDS if row["tau"] > 0 and row["p"] < ALPHA else FAILS, numbers)


def _pair(e: Evidence, place: tuple[str, str], a: str, b: str) -> tuple[float, float, float, int] | None:
    """Rank-sum p, corrected signed-rank p, effect (positive where `a` is better) and n of a pair, or None."""
    unpaired, paired = (e.pairs.get((*place, test, frozenset((a, b)))) for test in (RANK_SUM, SIGNED_RANK))
    if unpaired is None or paired is None or np.isnan(unpaired.p):
        return None
    return unpaired.p, paired.p_holm, unpaired.effect if unpaired.first == a else -unpaired.effect, unpaired.n


def _beats(e: Evidence, place: tuple[str, str], others: Iterable[str]) -> _Finding:
    return _better(e, place, [(ASYM, other) for other in others])


def _better(e: Evidence, place: tuple[str, str], pairs: Sequence[tuple[str, str]]) -> _Finding:
    """Whether the first of every pair is significantly better."""
    return _over_pairs(e, place, pairs, lambda p, effect: p < ALPHA and effect > 0)


def _no_difference(e: Evidence, place: tuple[str, str], pairs: Sequence[tuple[str, str]]) -> _Finding:
    """Whether no pair differs significantly, which at few images is no proof of equality: n is shown beside it."""
    return _over_pairs(e, place, pairs, lambda p, effect: p >= ALPHA)


def _over_pairs(
    e: Evidence, place: tuple[str, str], pairs: Sequence[tuple[str, str]], true_of: Callable[[float, float], bool]
) -> _Finding:
    """Holds if it holds of every pair; does not hold if it fails for one; not tested if one is missing."""
    shown, failed, missing = [], False, []
    for a, b in pairs:
        found = _pair(e, place, a, b)
        if found is None:
            missing.append(f"{a} – {b}")
            continue
        p, corrected, effect, n = found
        failed |= not true_of(p, effect)
        shown.append(f"{a} – {b}: p = {_p(p)} (paired, Holm {_p(corrected)}), effect {effect:+.2f}, n = {n}")
    if missing:
        shown.append(f"not finished: {', '.join(missing)}")
    verdict = FAILS if failed else UNTESTED if missing else HOLDS
    return _Finding(verdict, "; ".join(shown))


def _gamma_claims(e: Evidence, dataset: str) -> Iterator[tuple[str, _Finding]]:
    rows = e.stability[(e.stability["dataset"] == dataset) & e.stability["loss"].isin(UNIFIED)]
    claims: dict[str, Callable[[pd.Series], tuple[bool, str] | None]] = {
        "Unified focal beats every other loss over the whole range of γ": lambda row: _whole_range(e, row),
        f"γ = {RECOMMENDED_GAMMA:g} beats every other loss": lambda row: _at_recommended(e, row),
        "The worst γ is a high one (0.7 or more)": lambda row: (
            row["worst_gamma"] >= HIGH_GAMMA,
            f"worst at {row['worst_gamma']:g}",
        ),
        f"γ is easy to set: the best one does not differ significantly from {RECOMMENDED_GAMMA:g}": _easy_to_set,
    }
    for claim, judged in claims.items():
        found = [(str(row["variant"]), judged(row)) for _, row in rows.iterrows()]
        known = [(variant, result) for variant, result in found if result is not None]
        if not known:
            yield claim, _Finding(UNTESTED, "no unified variant has finished with two γ and what to compare it with")
            continue
        numbers = "; ".join(f"{variant}: {text}" for variant, (_, text) in known)
        yield claim, _Finding(HOLDS if all(true for _, (true, _) in known) else FAILS, numbers)


def _reference(e: Evidence, dataset: str) -> tuple[str, float] | None:
    """The loss outside the unified family with the highest mean test DSC: to beat it is to beat every other loss."""
    lines = e.curves[(e.curves["dataset"] == dataset) & ~e.curves["loss"].isin(UNIFIED)].dropna(subset=["dsc"])
    if lines.empty:
        return None
    best = lines.iloc[lines["dsc"].argmax()]
    return str(best["variant"]), float(best["dsc"])


def _curve(e: Evidence, row: pd.Series) -> pd.DataFrame:
    own = (e.curves["dataset"] == row["dataset"]) & (e.curves["variant"] == row["variant"])
    curve: pd.DataFrame = e.curves[own].dropna(subset=["gamma", "dsc"])
    return curve


def _whole_range(e: Evidence, row: pd.Series) -> tuple[bool, str] | None:
    reference = _reference(e, row["dataset"])
    if reference is None:
        return None
    lowest = float(_curve(e, row)["dsc"].min())
    return lowest > reference[1], f"lowest {lowest:.3f}, best other loss {reference[0]} {reference[1]:.3f}"


def _at_recommended(e: Evidence, row: pd.Series) -> tuple[bool, str] | None:
    reference, curve = _reference(e, row["dataset"]), _curve(e, row)
    at = curve[np.isclose(curve["gamma"], RECOMMENDED_GAMMA)]
    if reference is None or at.empty:
        return None
    dsc = float(at.iloc[0]["dsc"])
    return dsc > reference[1], f"{dsc:.3f}, best other loss {reference[0]} {reference[1]:.3f}"


def _easy_to_set(row: pd.Series) -> tuple[bool, str] | None:
    if pd.isna(row["p_best_vs_recommended"]):
        return None
    p = _p(row["p_best_vs_recommended"])
    return not row["best_differs_from_recommended"], (
        f"best {row['best_gamma']:g}, p = {p}, range {row['range']:.3f} over {row['gammas']} γ, n = {row['n']}"
    )


def _p(p: float) -> str:
    return "–" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _training_time(trials: pd.DataFrame, dataset: str) -> _Finding:
    found = alike(trials, dataset)
    if isinstance(found, str):
        return _Finding(UNTESTED, found)
    groups = found.seconds
    if np.ptp(np.concatenate(groups)) == 0:
        return _Finding(HOLDS, f"all training times are identical; {found.where}")
    p = float(stats.kruskal(*groups).pvalue)
    medians = [float(np.median(g)) for g in groups]
    numbers = (
        f"Kruskal–Wallis p = {_p(p)} over the {len(groups)} losses with two or more trials, medians "
        f"{min(medians):.0f}–{max(medians):.0f} s; {found.where}"
    )
    return _Finding(HOLDS if p >= ALPHA else FAILS, numbers)
