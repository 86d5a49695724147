"""The answer in three sentences, made from the numbers: which loss, how much γ matters, whether the findings hold.

The language is careful on purpose: a difference that a test did not find is "not significantly different", never
"equal", and a rehearsal answers nothing.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sweeper.analysis.claims import FAILS, HOLDS, UNTESTED
from sweeper.analysis.selection import RECOMMENDED_GAMMA
from sweeper.analysis.significance import ALPHA, SIGNED_RANK

NOTHING_FINISHED = "No trial has finished yet, so no question is answered."
_NAMED_IN_FULL = 2
"""Up to so many data sets and classes are answered one by one; more are counted."""


def three_sentences(
    table: pd.DataFrame, tests: pd.DataFrame, stability: pd.DataFrame, claims: pd.DataFrame
) -> tuple[str, ...]:
    """The answers to the study's three questions; one sentence where nothing has finished.

    Args:
        table: `result_table`.
        tests: `pairwise_tests`.
        stability: `stability`.
        claims: `judge`.
    """
    dsc = table[(table["metric"] == "dsc") & table["mean"].notna()]
    if dsc.empty:
        return (NOTHING_FINISHED,)
    return _which_loss(dsc, tests), _how_much_gamma(stability), _the_paper(claims)


def _which_loss(dsc: pd.DataFrame, tests: pd.DataFrame) -> str:
    winners = []
    for (dataset, label), group in dsc.groupby(["dataset", "label"], sort=False, observed=True):
        best = group.iloc[group["mean"].argmax()]
        beaten, tested = _beaten(tests, str(dataset), str(label), str(best["variant"]))
        winners.append((f"{dataset} ({label})", best, beaten, tested))
    if len(winners) <= _NAMED_IN_FULL:
        return "; ".join(_one_winner(*w) for w in winners).replace("; On", "; on") + "."
    counts: dict[str, list[str]] = {}
    for place, best, _, _ in winners:
        counts.setdefault(str(best["variant"]), []).append(place)
    ordered = sorted(counts.items(), key=lambda item: -len(item[1]))
    parts = [f"{variant} on {_and(places)}" for variant, places in ordered]
    clear = sum(tested > 0 and beaten == tested for _, _, beaten, tested in winners)
    return (
        f"The highest mean test DSC went to {'; '.join(parts)}; the best loss was significantly better than every "
        f"other one (signed-rank on the same images, Holm) on {clear} of these {len(winners)}."
    )


def _one_winner(place: str, best: pd.Series, beaten: int, tested: int) -> str:
    at = "" if np.isnan(best["gamma"]) else f" (γ = {best['gamma']:g})"
    interval = "" if np.isnan(best["half_width"]) else f" ± {best['half_width']:.3f}"
    images = f"{best['n']} image{'' if best['n'] == 1 else 's'}"
    score = f"{best['mean']:.3f}{interval} over {images}"
    text = f"On {place}, {best['variant']}{at} had the highest mean test DSC, {score}"
    if not tested:
        return f"{text}, but no other loss could be tested against it"
    if not beaten:
        rest = "the other loss" if tested == 1 else f"any of the {tested} other losses"
        return f"{text}, but was not significantly better than {rest} (signed-rank, Holm)"
    if beaten == tested:
        return f"{text}, significantly better than {'the other loss' if tested == 1 else f'all {tested} others'}" + (
            " (signed-rank, Holm)"
        )
    return (
        f"{text}, significantly better than {beaten} of the {tested} other losses and not significantly different from "
        f"the rest (signed-rank, Holm)"
    )


def _beaten(tests: pd.DataFrame, dataset: str, label: str, best: str) -> tuple[int, int]:
    """How many losses the best one beats significantly, and against how many it was tested."""
    rows = tests[
        (tests["dataset"] == dataset)
        & (tests["label"] == label)
        & (tests["metric"] == "dsc")
        & (tests["test"] == SIGNED_RANK)
        & ((tests["first"] == best) | (tests["second"] == best))
        & tests["p_holm"].notna()
    ]
    effect = rows["effect"].where(rows["first"] == best, -rows["effect"])
    return int(((rows["p_holm"] < ALPHA) & (effect > 0)).sum()), len(rows)


def _how_much_gamma(stability: pd.DataFrame) -> str:
    if stability.empty:
        return "How much γ matters was not tested: no loss has finished with two values of γ."
    widest = stability.iloc[stability["range"].argmax()]
    known = stability[stability["p_best_vs_recommended"].notna()]
    differs = int(known["best_differs_from_recommended"].astype(bool).sum())
    where = f"{widest['variant']} on {widest['dataset']}"
    if len(stability) > 1:
        least, most = stability["range"].min(), widest["range"]
        text = f"Over γ the mean test DSC moved by {least:.3f} to {most:.3f} (most: {where})"
    else:
        text = f"Over {widest['gammas']} values of γ the mean test DSC of {where} moved by {widest['range']:.3f}"
    if known.empty:
        return f"{text}; γ = {RECOMMENDED_GAMMA:g} did not run, so the recommended value was not tested."
    recommended = f"significantly from the recommended {RECOMMENDED_GAMMA:g}"
    if len(known) == 1:
        return f"{text}; the best γ {'differed' if differs else 'did not differ'} {recommended}."
    each = "losses" if known["dataset"].nunique() == 1 else "pairs of loss and data set"
    return f"{text}; the best γ differed {recommended} for {differs or 'none'} of the {len(known)} {each}."


def _the_paper(claims: pd.DataFrame) -> str:
    own = claims[claims["in_paper"]]
    counts = own["verdict"].value_counts()
    holds, fails, untested = (int(counts.get(v, 0)) for v in (HOLDS, FAILS, UNTESTED))
    if holds + fails == 0:
        return f"None of the paper's {len(own)} claims was tested here, because its data sets were not run for real."
    return (
        f"Of the paper's {len(own)} claims (per data set and class) {holds} hold in these runs, {fails} "
        f"{'does' if fails == 1 else 'do'} not, and {untested} could not be tested."
    )


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
