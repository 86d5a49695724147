"""The answer in three sentences, made from the numbers: which loss, how much γ matters, whether the findings hold.

The language is careful on purpose. "Better" is said of new images and new trainings alone; with one run of a loss a
sentence is about the trained networks. A difference that was not shown is never called "equal", and a rehearsal answers
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeper.analysis.claims import ONE_RUN
from sweeper.analysis.comparisons import NEW_TRAININGS
from sweeper.analysis.power import Enough, what_more_would_tell
from sweeper.analysis.rankings import Ranking, who_may_be_best
from sweeper.analysis.selection import RECOMMENDED_GAMMA
from sweeper.analysis.significance import ALPHA
from sweeper.analysis.verdicts import FAILS, HOLDS, NOT_SHOWN, UNTESTED
from sweeper.units import listing

NOTHING_FINISHED = "No trial has finished yet, so no question is answered."
_NAMED_IN_FULL = 2
"""Up to so many data sets and classes are answered one by one; more are counted."""


def three_sentences(
    table: pd.DataFrame,
    comparisons: pd.DataFrame,
    rankings: Sequence[Ranking],
    enough: Sequence[Enough],
    stability: pd.DataFrame,
    claims: pd.DataFrame,
) -> tuple[str, ...]:
    """The answers to the study's three questions; one sentence where nothing has finished.

    Args:
        table: `result_table`.
        comparisons: `compare_metrics`.
        rankings: `rank_losses`.
        enough: `enough_of`.
        stability: `stability`.
        claims: `judge`.
    """
    dsc = table[(table["metric"] == "dsc") & table["mean"].notna()]
    if dsc.empty:
        return (NOTHING_FINISHED,)
    return _which_loss(dsc, comparisons, rankings, enough), _how_much_gamma(stability), _the_paper(claims)


def chosen_on_validation(best: pd.DataFrame) -> str:
    """What validation scores alone would choose on each data set; empty where there are none.

    Args:
        best: `best_on_validation`.
    """
    return "; ".join(
        f"{r['variant']}{_at(r['gamma'])} on {r['dataset']} (mean validation DSC {r['val_dsc']:.3f} over "
        f"{r['repeats']} run{'' if r['repeats'] == 1 else 's'}, test DSC {r['test_dsc']:.3f})"
        for r in best.to_dict("records")
    )


def _at(gamma: float) -> str:
    return "" if np.isnan(gamma) else f" at γ = {gamma:g}"


@dataclass(frozen=True)
class _Winner:
    """The loss of the highest mean in one place, and in how many comparisons it was better than another loss."""

    place: str
    row: pd.Series
    rivals: int
    tested: int
    beaten: int
    untested: str = ""
    """Why no comparison is about new trainings, where none is."""

    @property
    def clear(self) -> bool:
        return 0 < self.rivals == self.beaten


def _winner(place: tuple[str, str], group: pd.DataFrame, comparisons: pd.DataFrame) -> _Winner:
    best = group.iloc[group["mean"].argmax()]
    own = comparisons[
        (comparisons["dataset"] == place[0]) & (comparisons["class"] == place[1]) & (comparisons["metric"] == "dsc")
    ]
    rows = own[(own["loss_a"] == best["variant"]) | (own["loss_b"] == best["variant"])]
    difference = rows["difference"].where(rows["loss_a"] == best["variant"], -rows["difference"])
    beaten = int(((rows["p_holm"] < ALPHA) & (difference > 0)).sum())
    repeated = bool(((rows["runs_a"] > 1) & (rows["runs_b"] > 1)).any())
    return _Winner(
        f"{place[0]} ({place[1]})", best, len(group) - 1, int(rows["p"].notna().sum()), beaten,
        _ONE_UNIT if repeated else _ONE_RUN,
    )  # fmt: skip


def _which_loss(
    dsc: pd.DataFrame, comparisons: pd.DataFrame, rankings: Sequence[Ranking], enough: Sequence[Enough]
) -> str:
    places = dsc.groupby(["dataset", "label"], sort=False, observed=True)
    winners = [_winner((str(dataset), str(label)), group, comparisons) for (dataset, label), group in places]
    if len(winners) <= _NAMED_IN_FULL:
        ranked = {f"{r.dataset} ({r.label})": r for r in rankings if r.about == NEW_TRAININGS}
        more = {f"{e.dataset} ({e.label})": what_more_would_tell(e) for e in enough}
        said = ((f"{_one_winner(w, ranked.get(w.place))}.", "" if w.clear else more.get(w.place, "")) for w in winners)
        return " ".join(part for parts in said for part in parts if part)
    counts: dict[str, list[str]] = {}
    for winner in winners:
        counts.setdefault(str(winner.row["variant"]), []).append(winner.place)
    ordered = sorted(counts.items(), key=lambda item: -len(item[1]))
    text = f"The highest mean test DSC went to {'; '.join(f'{v} on {listing(places)}' for v, places in ordered)}"
    if not any(w.tested for w in winners):
        reasons = dict.fromkeys(w.untested for w in winners)
        return f"Of these trained networks, {text[:1].lower()}{text[1:]}; {', and '.join(reasons)}."
    clear = sum(w.clear for w in winners)
    return (
        f"{text}; the best loss was better than every other one in new trainings (p < {ALPHA:g} after Holm) on "
        f"{clear} of these {len(winners)}."
    )


_ONE_RUN = "one run per loss says nothing about new trainings"
_ONE_UNIT = "a single image or patient that all have says nothing about new ones"


def _one_winner(winner: _Winner, ranking: Ranking | None) -> str:
    best, beaten, tested = winner.row, winner.beaten, winner.tested
    at = "" if np.isnan(best["gamma"]) else f" (γ = {best['gamma']:g})"
    interval = "" if np.isnan(best["half_width"]) else f" ± {best['half_width']:.3f}"
    over = f"{best['n']} image{'' if best['n'] == 1 else 's'}"
    if best["repeats"] > 1:
        over += f" and {best['repeats']} runs"
    score = f"had the highest mean test DSC, {best['mean']:.3f}{interval} over {over}"
    text = f"On {winner.place}, {best['variant']}{at} {score}"
    if not winner.rivals:
        return f"{text}, but no other loss has scores here"
    if not tested:
        return f"On {winner.place}, of these trained networks that of {best['variant']}{at} {score}; {winner.untested}"
    others = "the other loss" if tested == 1 else f"the {tested} other losses"
    untested = winner.rivals - tested
    rest = f"; {untested} more had one run and could not be compared" if untested else ""
    if ranking is not None:
        rest += f"; {who_may_be_best(ranking)}"
    how = f"in new trainings (p < {ALPHA:g} after Holm)"
    if not beaten:
        any_of = others if tested == 1 else f"any of {others}"
        return f"{text}, but it was not shown to be better than {any_of} {how}{rest}"
    if beaten == tested:
        return f"{text}, better than {others if tested == 1 else f'all {tested} others'} {how}{rest}"
    return f"{text}, better than {beaten} of {others} {how}; of the rest it was not shown{rest}"


def _how_much_gamma(stability: pd.DataFrame) -> str:
    if stability.empty:
        return "How much γ matters was not tested: no loss has finished with two values of γ."
    widest = stability.iloc[stability["range"].argmax()]
    where = f"{widest['variant']} on {widest['dataset']}"
    if len(stability) > 1:
        least, most = stability["range"].min(), widest["range"]
        text = f"Over γ the mean test DSC moved by {least:.3f} to {most:.3f} (most: {where})"
    else:
        text = f"Over {widest['gammas']} values of γ the mean test DSC of {where} moved by {widest['range']:.3f}"
    known = stability[stability["farthest_gamma"].notna()]
    if known.empty:
        return f"{text}; γ = {RECOMMENDED_GAMMA:g} did not run, so the recommended value was not tested."
    verdicts = known["verdict"].tolist()
    if set(verdicts) == {UNTESTED}:
        return f"{text} in these trained networks; one run for each γ says nothing about new trainings."
    margin = f"{known['margin'].iloc[0]:g}"
    if len(verdicts) == 1:
        return f"{text}; {_SET[verdicts[0]].format(margin=margin, gamma=f'{RECOMMENDED_GAMMA:g}')}."
    each = "losses" if known["dataset"].nunique() == 1 else "pairs of loss and data set"
    counted = [f"{_HOW_OFTEN[v]} {verdicts.count(v)}" for v in (HOLDS, FAILS, NOT_SHOWN, UNTESTED) if v in verdicts]
    equal = f"that every γ is within {margin} of {RECOMMENDED_GAMMA:g}"
    return f"{text}; {equal} {', '.join(counted)} of {len(verdicts)} {each}."


_SET = {
    HOLDS: "every γ was within {margin} of the recommended {gamma}",
    FAILS: "not every γ was within {margin} of the recommended {gamma}",
    NOT_SHOWN: "that every γ is within {margin} of the recommended {gamma} was not shown",
    UNTESTED: "whether every γ is within {margin} of the recommended {gamma} was not tested",
}
_HOW_OFTEN = {
    HOLDS: "holds for",
    FAILS: "does not hold for",
    NOT_SHOWN: "was not shown for",
    UNTESTED: "was not tested for",
}


def _the_paper(claims: pd.DataFrame) -> str:
    own = claims[claims["in_paper"]]
    counts = own["verdict"].value_counts()
    holds, fails, open_ = (int(counts.get(v, 0)) for v in (HOLDS, FAILS, NOT_SHOWN))
    if holds + fails + open_ == 0:
        return f"None of the paper's {len(own)} claims was tested here, because {_why_untested(own)}."
    return (
        f"Of the paper's {len(own)} claims (per data set and class) {holds} {'holds' if holds == 1 else 'hold'} "
        f"in new trainings, {fails} {'does' if fails == 1 else 'do'} not, {open_} {'was' if open_ == 1 else 'were'} "
        f"not shown, and {len(own) - holds - fails - open_} could not be tested."
    )


def _why_untested(claims: pd.DataFrame) -> str:
    alone = claims["numbers"].str.contains(ONE_RUN, regex=False).any()
    return _ONE_RUN if alone else "its data sets were not run for real"
