"""The paper's claims, one by one: each holds, does not hold, was not shown or was not tested, with the numbers.

A claim is judged about new images and new trainings, corrected by Holm; "does not differ" needs equivalence within a
margin. The p value of the paper's own test (rank-sum, images only, runs ignored) stands beside it. With one run per
loss nothing is known of new trainings, so that no such claim is tested. Runs on synthetic images or in a rehearsal
test nothing, whatever their numbers are; these are shown all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats

from sweeper.analysis.paper import DATASETS, LOSSES, paper_tables
from sweeper.analysis.selection import RECOMMENDED_GAMMA, UNIFIED
from sweeper.analysis.significance import ALPHA, RANK_SUM, holm
from sweeper.analysis.training_time import alike
from sweeper.analysis.trainings import Difference
from sweeper.analysis.verdicts import FAILS, HOLDS, NOT_SHOWN, TWO_ONE_SIDED, UNTESTED, equivalence, of_all

SYM, ASYM = UNIFIED
TWO_DIMENSIONAL = ("cvc_clinicdb", "drive", "bus2017")
HIGH_GAMMA = 0.7
"""From here on γ counts as high; the paper says that the worst performance occurred at high γ."""

ONE_RUN = "one run of a loss says nothing about new trainings"
ALL_CLASSES = "all classes"
CLAIM_COLUMNS = ["dataset", "label", "claim", "verdict", "numbers", "in_paper"]


@dataclass(frozen=True, slots=True)
class _Pair:
    """The mean score of loss `a` less that of `b`. `paper_p` is of the paper's test on the images alone."""

    a: str
    b: str
    found: Difference
    p_holm: float
    images: int
    runs: int
    paper_p: float = math.nan

    @property
    def known(self) -> bool:
        """Whether it says something of new trainings."""
        return not math.isnan(self.found.error)

    @property
    def shown(self) -> bool:
        """Whether `a` is better in new trainings."""
        return self.p_holm < ALPHA and self.found.estimate > 0

    @property
    def refuted(self) -> bool:
        """Whether `b` is better in new trainings."""
        return self.p_holm < ALPHA and self.found.estimate < 0

    def interval(self) -> tuple[float, float]:
        """The 90% interval, which belongs to two one-sided tests at 5%."""
        return self.found.interval(TWO_ONE_SIDED)

    def turned(self) -> _Pair:
        """The same pair seen from `b`."""
        found = Difference(-self.found.estimate, self.found.error, self.found.freedom)
        return _Pair(self.b, self.a, found, self.p_holm, self.images, self.runs, self.paper_p)

    def text(self) -> str:
        """`dice − ce: +0.031 (90% interval +0.002 to +0.060), p = 0.012 after Holm, …`."""
        paper = "" if math.isnan(self.paper_p) else f"; the paper's test, images only: p {_p(self.paper_p)}"
        difference = f"{self.a} − {self.b}: {self.found.estimate:+.3f}"
        if not self.known:
            return f"{difference} in these trained networks{paper}"
        low, high = self.interval()
        return (
            f"{difference} (90% interval {low:+.3f} to {high:+.3f}), p {_p(self.p_holm)} after Holm, "
            f"{self.images} images, {self.runs} runs{paper}"
        )


@dataclass(frozen=True)
class Evidence:
    """What the claims are judged by: the frames of `tables`, `significance`, `comparisons`, `gamma_differences`,
    `stability` and the trials.

    `unfit` maps a data set to the reason why its runs test no claim (synthetic images, rehearsal). `margin` is the
    difference of mean scores below which two losses count as equal.
    """

    side_by_side: pd.DataFrame
    agreement: pd.DataFrame
    tests: pd.DataFrame
    comparisons: pd.DataFrame
    gamma_differences: pd.DataFrame
    curves: pd.DataFrame
    stability: pd.DataFrame
    trials: pd.DataFrame
    unfit: Mapping[str, str]
    margin: float

    @cached_property
    def means(self) -> Mapping[tuple[str, str, str], Mapping[str, float]]:
        """The mean of each loss with its own settings by data set, class and metric, at the paper's three decimals."""
        found: dict[tuple[str, str, str], dict[str, float]] = {}
        rows = self.side_by_side[self.side_by_side["variant"] == self.side_by_side["loss"]].dropna(subset=["mean"])
        columns = rows[["dataset", "label", "metric", "loss", "mean"]].itertuples(index=False, name=None)
        for dataset, label, metric, loss, mean in columns:
            found.setdefault((dataset, label, metric), {})[loss] = round(mean, 3)
        return found

    @cached_property
    def pairs(self) -> Mapping[tuple[str, str, str, str, str], _Pair]:
        """The comparisons by data set, class, metric and the two losses, in both orders."""
        tests = self.tests[self.tests["test"] == RANK_SUM]
        columns = ["dataset", "label", "metric", "first", "second", "p"]
        paper = {tuple(row[:5]): row[5] for row in tests[columns].itertuples(index=False, name=None)}
        found: dict[tuple[str, str, str, str, str], _Pair] = {}
        for r in self.comparisons.to_dict("records"):
            place, a, b = (r["dataset"], r["class"], r["metric"]), r["loss_a"], r["loss_b"]
            pair = _Pair(
                a, b, Difference(r["difference"], r["error"], r["freedom"]), r["p_holm"], r["images"],
                min(r["runs_a"], r["runs_b"]), paper.get((*place, a, b), paper.get((*place, b, a), math.nan)),
            )  # fmt: skip
            found[(*place, a, b)], found[(*place, b, a)] = pair, pair.turned()
        return found


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
    yield "Asymmetric unified focal is at least as good as every other loss in mean DSC", _as_good(e, place)
    yield "A unified focal loss has the highest mean DSC", _best(e, place, "dsc")
    yield "A unified focal loss has the highest mean IoU", _best(e, place, "iou")
    if dataset in DATASETS:
        yield "The losses rank as in the paper (Kendall's τ > 0, p < 0.05)", _ranking(e, *place)
    if dataset != "kits19":
        yield "The two unified variants do not differ", _no_difference(e, place, [(ASYM, SYM)])
    if dataset in ("cvc_clinicdb", "bus2017"):
        yield "Focal is significantly worse than cross entropy", _better(e, place, [("ce", "focal")])
    if dataset in TWO_DIMENSIONAL:
        yield "Focal is significantly worse than the asymmetric variant", _better(e, place, [(ASYM, "focal")])
        pairs = [("dice", "tversky"), ("dice", "focal_tversky"), ("tversky", "focal_tversky")]
        yield "The Dice-based losses do not differ", _no_difference(e, place, pairs)
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


def _means(
    e: Evidence, place: tuple[str, str], candidates: Iterable[str], metric: str
) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """The candidates' means, and those of the other losses."""
    score = e.means.get((*place, metric), {})
    own = {c: score[c] for c in candidates if c in score}
    return own, {k: v for k, v in score.items() if k not in own}


def _best(e: Evidence, place: tuple[str, str], metric: str) -> _Finding:
    """Whether a unified loss is better than every loss outside of the family."""
    own, others = _means(e, place, UNIFIED, metric)
    if not own or not others:
        return _Finding(UNTESTED, "the losses to compare have not both finished")
    best, rival = max(own, key=own.__getitem__), max(others, key=others.__getitem__)
    numbers = f"{best} {own[best]:.3f}, best other loss {rival} {others[rival]:.3f}; {len(own) + len(others)} losses"
    pairs = {(c, o): e.pairs.get((*place, metric, c, o)) for c in own for o in others}
    known = {key: pair for key, pair in pairs.items() if pair is not None and pair.known}
    if len(known) < len(pairs):
        return _Finding(UNTESTED, f"{numbers}; {ONE_RUN}")
    if all(known[best, o].shown for o in others):
        return _Finding(HOLDS, numbers)
    refuted = any(all(known[c, o].refuted for c in own) for o in others)
    return _Finding(FAILS if refuted else NOT_SHOWN, f"{numbers}; {known[best, rival].text()}")


def _as_good(e: Evidence, place: tuple[str, str]) -> _Finding:
    """Whether the asymmetric loss is no more than the margin below every other loss."""
    own, others = _means(e, place, (ASYM,), "dsc")
    if not own or not others:
        return _Finding(UNTESTED, "the losses to compare have not both finished")
    rival = max(others, key=others.__getitem__)
    numbers = f"{ASYM} {own[ASYM]:.3f}, best other loss {rival} {others[rival]:.3f}; {1 + len(others)} losses"
    pairs = [e.pairs.get((*place, "dsc", ASYM, o)) for o in others]
    known = [pair for pair in pairs if pair is not None and pair.known]
    if len(known) < len(pairs):
        return _Finding(UNTESTED, f"{numbers}; {ONE_RUN}")
    worst = min(known, key=lambda pair: pair.interval()[0])
    numbers = f"{numbers}; margin {e.margin:g}; {worst.text()}"
    if any(pair.refuted for pair in known):
        return _Finding(FAILS, numbers)
    return _Finding(HOLDS if worst.interval()[0] > -e.margin else NOT_SHOWN, numbers)


def _ranking(e: Evidence, dataset: str, label: str) -> _Finding:
    rows = e.agreement[(e.agreement["dataset"] == dataset) & (e.agreement["label"] == label)]
    if rows.empty or not np.isfinite(rows.iloc[0]["tau"]):
        return _Finding(UNTESTED, "fewer than two of the paper's losses have finished, or all are equal")
    row = rows.iloc[0]
    numbers = f"τ = {row['tau']:.2f}, p {_p(row['p'])}, {row['losses']} losses"
    if row["losses"] < 5:
        return _Finding(UNTESTED, f"{numbers}: below five losses no order can be significant")
    if row["p"] >= ALPHA:
        return _Finding(NOT_SHOWN, numbers)
    return _Finding(HOLDS if row["tau"] > 0 else FAILS, numbers)


def _beats(e: Evidence, place: tuple[str, str], others: Iterable[str]) -> _Finding:
    return _better(e, place, [(ASYM, other) for other in others])


def _better(e: Evidence, place: tuple[str, str], pairs: Sequence[tuple[str, str]]) -> _Finding:
    """Whether the first of every pair is better. One that is worse, or equal within the margin, refutes it."""

    def judged(pair: _Pair) -> str:
        if pair.shown:
            return HOLDS
        equal = equivalence(*pair.interval(), e.margin) == HOLDS
        return FAILS if pair.refuted or equal else NOT_SHOWN

    return _over_pairs(e, place, pairs, judged)


def _no_difference(e: Evidence, place: tuple[str, str], pairs: Sequence[tuple[str, str]]) -> _Finding:
    """Whether every pair is equal within the margin. Too few images or runs show neither that nor a difference."""
    found = _over_pairs(e, place, pairs, lambda pair: equivalence(*pair.interval(), e.margin))
    return _Finding(found.verdict, f"margin {e.margin:g}; {found.numbers}")


def _over_pairs(
    e: Evidence, place: tuple[str, str], pairs: Sequence[tuple[str, str]], judged: Callable[[_Pair], str]
) -> _Finding:
    """The verdict of all pairs together; not tested where one is missing or has a single run."""
    shown, verdicts = [], []
    for a, b in pairs:
        pair = e.pairs.get((*place, "dsc", a, b))
        if pair is None:
            verdicts.append(UNTESTED)
            shown.append(f"{a} – {b}: not finished")
            continue
        verdicts.append(judged(pair) if pair.known else UNTESTED)
        shown.append(pair.text())
    return _Finding(of_all(verdicts), "; ".join(shown))


def _gamma_claims(e: Evidence, dataset: str) -> Iterator[tuple[str, _Finding]]:
    rows = e.stability[(e.stability["dataset"] == dataset) & e.stability["loss"].isin(UNIFIED)]
    claims: dict[str, Callable[[pd.Series], _Finding | None]] = {
        "Unified focal beats every other loss over the whole range of γ": lambda row: _above_others(e, row),
        f"γ = {RECOMMENDED_GAMMA:g} beats every other loss": lambda row: _above_others(e, row, RECOMMENDED_GAMMA),
        "The worst γ is a high one (0.7 or more)": lambda row: _worst_is_high(e, row),
        f"γ is easy to set: every γ is as good as {RECOMMENDED_GAMMA:g}": _easy_to_set,
    }
    for claim, judged in claims.items():
        found = [(str(row["variant"]), judged(row)) for _, row in rows.iterrows()]
        known = [(variant, result) for variant, result in found if result is not None]
        if not known:
            yield claim, _Finding(UNTESTED, "no unified variant has finished with two γ and what to compare it with")
            continue
        numbers = "; ".join(f"{variant}: {finding.numbers}" for variant, finding in known)
        yield claim, _Finding(of_all(finding.verdict for _, finding in known), numbers)


def _reference(e: Evidence, dataset: str) -> tuple[str, float] | None:
    """The loss outside the unified family with the highest mean test DSC."""
    lines = e.curves[(e.curves["dataset"] == dataset) & ~e.curves["loss"].isin(UNIFIED)].dropna(subset=["dsc"])
    if lines.empty:
        return None
    best = lines.iloc[lines["dsc"].argmax()]
    return str(best["variant"]), float(best["dsc"])


def _above_others(e: Evidence, row: pd.Series, gamma: float | None = None) -> _Finding | None:
    """Whether each γ (or the one given) is better than every loss outside of the family.

    It is claimed of every pair at once, so that each is tested at 5% as it is; one pair that refutes it is one of many,
    and is corrected by Holm.
    """
    reference = _reference(e, row["dataset"])
    own = (e.curves["dataset"] == row["dataset"]) & (e.curves["variant"] == row["variant"])
    curve = e.curves[own].dropna(subset=["gamma", "dsc"])
    family = set(e.curves.loc[e.curves["loss"].isin(UNIFIED), "variant"])
    pairs = _differences(e, row)
    pairs = pairs[~pairs["other"].isin(family)]
    if gamma is not None:
        curve, pairs = curve[np.isclose(curve["gamma"], gamma)], pairs[np.isclose(pairs["gamma"], gamma)]
    if reference is None or curve.empty:
        return None
    lowest = float(curve["dsc"].min())
    numbers = f"{'lowest ' if gamma is None else ''}{lowest:.3f}, best other loss {reference[0]} {reference[1]:.3f}"
    if pairs.empty or pairs["p"].isna().any():
        return _Finding(UNTESTED, f"{numbers}; {ONE_RUN}")
    above = pairs["difference"] > 0
    if (above & (pairs["p"] < ALPHA)).all():
        return _Finding(HOLDS, numbers)
    refuted = (~above & (holm(pairs["p"].to_numpy(float)) < ALPHA)).any()
    return _Finding(FAILS if refuted else NOT_SHOWN, numbers)


def _worst_is_high(e: Evidence, row: pd.Series) -> _Finding:
    """Whether the γ of the lowest mean is a high one, and is worse than every γ that is not (or the converse)."""
    worst = row["worst_gamma"]
    high = worst >= HIGH_GAMMA
    pairs = _differences(e, row)
    pairs = pairs[(pairs["other"] == row["variant"]) & np.isclose(pairs["gamma"], worst)]
    pairs = pairs[(pairs["other_gamma"] >= HIGH_GAMMA) != high]
    numbers = f"lowest at {worst:g}"
    if pairs.empty:
        return _Finding(UNTESTED, f"{numbers}; no γ on the other side of {HIGH_GAMMA:g} has finished")
    if pairs["p"].isna().any():
        return _Finding(UNTESTED, f"{numbers}; {ONE_RUN}")
    clear = ((pairs["difference"] < 0) & (pairs["p"] < ALPHA)).all()
    return _Finding((HOLDS if high else FAILS) if clear else NOT_SHOWN, numbers)


def _differences(e: Evidence, row: pd.Series) -> pd.DataFrame:
    own = e.gamma_differences
    found: pd.DataFrame = own[(own["dataset"] == row["dataset"]) & (own["variant"] == row["variant"])]
    return found


def _easy_to_set(row: pd.Series) -> _Finding | None:
    if pd.isna(row["farthest_gamma"]):
        return None
    numbers = f"farthest {row['farthest_gamma']:g}: {row['difference']:+.3f}"
    if pd.isna(row["low"]):
        return _Finding(UNTESTED, f"{numbers} in these trained networks; {ONE_RUN}")
    return _Finding(
        str(row["verdict"]),
        f"{numbers} (90% interval {row['low']:+.3f} to {row['high']:+.3f}, margin {row['margin']:g}) over "
        f"{row['gammas']} γ, {row['n']} images, {row['runs']} runs",
    )


def _p(p: float) -> str:
    return "–" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"= {p:.3f}"


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
        f"Kruskal–Wallis p {_p(p)} over the {len(groups)} losses with two or more trials, medians "
        f"{min(medians):.0f}–{max(medians):.0f} s; {found.where}"
    )
    return _Finding(NOT_SHOWN if p >= ALPHA else FAILS, numbers)
