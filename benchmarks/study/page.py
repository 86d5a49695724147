"""docs/study.md from the sweeps in docs/study: every table and every number of the page, as text for its template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from benchmarks.study import pilot, questions, read
from benchmarks.study.study import BASELINES, Study
from benchmarks.study.text import (
    NOT_YET,
    filled,
    interval,
    listing,
    number,
    percent,
    signed,
    small,
    table,
)
from sweeper.analysis.rankings import CLEAR, MAY_BE_BEST, NEW_TRAININGS
from sweeper.analysis.selection import UNIFIED, at_selected_gamma, select_gamma, trial_scores
from sweeper.analysis.verdicts import FAILS, HOLDS
from sweeper.data.preparation import bare_identities
from sweeper.grids.expansion import expand
from sweeper.grids.files import load_grid

TEMPLATE = Path(__file__).parent / "page.md"
SYM, ASYM = UNIFIED
RARE = ("idrid_lesions", "ms_lesions")
HIGH_GAMMA = 0.7
FOUND = 0.05
"""A class with a lower mean DSC counts as not found."""

NO_NEW = "one run of each loss says nothing about new trainings"


def page(study: Study) -> str:
    """The whole page."""
    return filled(TEMPLATE.read_text(encoding="utf-8"), values(study))


def values(study: Study) -> dict[str, str]:
    """What the template asks for."""
    return {
        "progress": progress(study),
        "short": short_answer(study),
        "sets": sets(study),
        "pilot": pilot_table(study),
        "pilot_figure": image("pilot", "Validation DSC of the pilot over its epochs") if study.pilots else "",
        "chosen": chosen(study),
        "ran": ran(study),
        "best": best(study),
        "means": means(study),
        "consensus": consensus(study),
        "gamma": gamma(study),
        "gamma_summary": gamma_summary(study),
        "gamma_figures": "\n\n".join(
            image(f"gamma-{one}", f"DSC against γ on {one}")
            for one in dict.fromkeys(study.answers.stability["dataset"])
        ),
        "gains": gain_table(study),
        "gain_figure": ""
        if study.gains["dataset"].nunique() < 2
        else image("gain", "The gain in mean DSC against the foreground's share"),
        "rarity": rarity(study),
        "rarity_summary": rarity_summary(study),
        "balance": balance(study),
        "claims": claims(study),
        "power": power(study),
        "single": single(study),
        "further": further(study),
        "further_means": means(study.further),
        "further_consensus": consensus(study.further),
        "rare": rare(study),
        "same": same(study),
        "rates": own_rates(study),
        "shown": shown(study),
    }


def image(name: str, words: str) -> str:
    """A figure of `figures.write`."""
    return f"![{words}](study/figures/{name}.png)"


def progress(study: Study) -> str:
    """How much has run."""
    runs = read.runs_of(study.sweep.trials)
    finished, planned = int(runs["finished"].sum()), _planned()
    head = f"**{finished} of {planned} trials have finished.**"
    if finished == planned:
        return f"{head} The study is complete."
    whole = [f"{row.dataset} {row.whole}" for row in runs.itertuples()]
    return (
        f"{head} The study is not complete, and this page is of what has run: whole runs of each set, "
        f"{', '.join(whole)}. A run counts when every loss has it; the page is written again as more runs end."
    )


def _planned() -> int:
    """The trials of the shipped grid."""
    grid = load_grid("public")
    return len(expand(grid, bare_identities(grid)))


def short_answer(study: Study) -> str:
    """The answers in a few lines."""
    lines = []
    repeated = {dataset: one for dataset, one in study.rankings.items() if one.about == NEW_TRAININGS}
    if single := [dataset for dataset in study.rankings if dataset not in repeated]:
        lines.append(f"On {listing(single)} each loss has one run so far, which says nothing about new trainings.")
    if repeated:
        clear = [f"{one.best} on {dataset}" for dataset, one in repeated.items() if one.best is not None]
        named = f": {listing(clear)}" if clear else ""
        lines.append(
            f"A loss is the best with a probability above {CLEAR:g} on {len(clear)} of {len(repeated)} sets{named}."
        )
    for over in BASELINES:
        own = study.gains[(study.gains["loss"] == ASYM) & (study.gains["over"] == over)]
        higher = int((own["gain"] > 0).sum())
        line = f"The asymmetric unified loss has a higher mean than {over} on {higher} of {len(own)} sets"
        if repeated:
            known = own[own["dataset"].isin(repeated)]
            sure = known[known["p_holm"] < questions.ALPHA]
            better, worse = (_counted(sure.loc[side, "dataset"]) for side in (sure["gain"] > 0, sure["gain"] < 0))
            line += f"; about new trainings it is shown to be better on {better} and worse on {worse} of {len(known)}"
        lines.append(f"{line}.")
    lines.append(gamma_summary(study))
    lines.append(rarity_summary(study))
    if (alone := study.single_runs) is not None:
        share = _span(alone["other"], 0)
        lines.append(
            f"A single run of each loss names another loss as the best than all runs together, in {share} of draws."
        )
    if (beside := study.further) is not None and beside.rankings:
        own = set(study.tested["variant"])
        found = beside.rankings.values()
        first, clear = sum(one.losses[0] not in own for one in found), sum(one.best is not None for one in found)
        further = set(beside.tested["variant"]) - own
        lines.append(
            f"With {len(further)} further losses beside, one of these has the highest mean on {first} of {len(found)} "
            f"sets, and a loss is the best with a probability above {CLEAR:g} on {clear}."
        )
    if study.same_loss:
        paper, ours = (_span([getattr(one, way) for one in study.same_loss]) for way in ("paper", "ours"))
        lines.append(
            f"One loss against itself, trained with other seeds: the paper's test calls {paper} of the pairs "
            f"significant, the product's {ours}."
        )
    if (rates := study.own_rates) is not None:
        moved = int((rates["first"] != rates["first_own"]).sum())
        lines.append(
            f"With the best of {len(study.rates) + 1} rates for each loss, another loss is first on {moved} of "
            f"{len(rates)} sets."
        )
    return "\n".join(f"- {line}" for line in lines if line != NOT_YET)


def _counted(names: Iterable[str]) -> str:
    """`2 (a and b)`; `0`."""
    named = sorted(names)
    return f"{len(named)} ({listing(named)})" if named else "0"


def _span(shares: Iterable[float], digits: int = 1) -> str:
    """`2.0% to 3.1%`: the smallest and the largest."""
    values = list(shares)
    return f"{percent(min(values), digits)} to {percent(max(values), digits)}"


def sets(study: Study) -> str:
    """Each data set as it was scored."""
    rows = []
    for dataset, own in study.shares.groupby("dataset", sort=False, observed=True):
        split = study.sweep.trials
        folds = split.loc[split["dataset"] == dataset, "fold"].nunique()
        labels = ", ".join(f"{row.label} {percent(row.share, 2)}" for row in own.itertuples())
        images, tested = int(own["images"].max()), int(own["tested"].max())
        rows.append((dataset, images, tested, labels, f"{folds} folds" if folds > 1 else "one test set"))
    return table(("data set", "images scored", "test images", "foreground", "tested by"), rows)


def pilot_table(study: Study) -> str:
    """The best validation DSC of each pilot run."""
    if not study.pilots:
        return NOT_YET
    best = pilot.best_by_rate(pilot.curves(study.pilots))
    rows = [(*key, *(number(value) for value in row)) for key, row in zip(best.index, best.to_numpy(), strict=True)]
    told = table(("data set", "loss", *(f"rate {rate:g}" for rate in best.columns)), rows)
    lacking = best.index.get_level_values("dataset")[best.isna().any(axis=1)]
    if not len(lacking):
        return told
    sets = listing(list(dict.fromkeys(map(str, lacking))))
    return f"{told}\n\nNot run yet at every rate: {sets}. What is chosen for these sets is not final."


def chosen(study: Study) -> str:
    """What the pilot chose, and what the sweep was trained with."""
    if not study.pilots:
        return NOT_YET
    found = pilot.choose(pilot.curves(study.pilots))
    return table(("data set", "rate", "epochs"), ((name, f"{one.rate:g}", one.epochs) for name, one in found.items()))


def ran(study: Study) -> str:
    """How far each set is, and how the launches went."""
    runs = read.runs_of(study.sweep.trials)
    how = read.running(study.sweep)
    rows = [(row.dataset, row.whole, row.finished, row.failed) for row in runs.itertuples()]
    return (
        table(("data set", "whole runs", "trials finished", "failed"), rows)
        + f"\n\nThe trials took {how.hours:.1f} hours in all, two at once, in {how.launches} launches: "
        "each after the first went on with what the one before had left, or with what was asked for next. "
        f"Of {how.attempts} attempts "
        f"{how.lost} were lost with their process, {how.stopped} were stopped and trained on later, and "
        f"{how.failed} failed."
    )


def best(study: Study) -> str:
    """Which loss is best where, and how sure that is."""
    rows = []
    for dataset, one in study.rankings.items():
        may = [f"{loss} {one.best_probability[loss]:.2f}" for loss in one.candidates]
        if one.about != NEW_TRAININGS:
            may = ["not known from one run"]
        shown = study.pairs[(study.pairs["dataset"] == dataset) & (study.pairs["p_holm"] < questions.ALPHA)]
        pairs = int((study.pairs["dataset"] == dataset).sum())
        rows.append(
            (dataset, one.losses[0], number(one.means[0]), ", ".join(may), one.units, min(one.runs.values()),
             f"{len(shown)} of {pairs}")
        )  # fmt: skip
    head = ("data set", "highest mean", "DSC", f"may be best (probability ≥ {MAY_BE_BEST:g})", "units", "runs",
            "pairs that differ")  # fmt: skip
    return table(head, rows)


def means(study: Study | None) -> str:
    """The mean DSC of each loss on each set, by which the losses are ranked."""
    if study is None or not study.rankings:
        return NOT_YET
    by_set = {set_: dict(zip(one.losses, one.means, strict=True)) for set_, one in study.rankings.items()}
    wide = pd.DataFrame(by_set)
    rows = [(loss, *(number(value) for value in row)) for loss, row in zip(wide.index, wide.to_numpy(), strict=True)]
    return table(("mean DSC", *map(str, wide.columns)), sorted(rows))


def further(study: Study) -> str:
    """Which of the paper's losses and the further ones is best where."""
    if study.further is None or not study.further.rankings:
        return NOT_YET
    trained = int((~study.further.trials["hash"].isin(study.sweep.trials["hash"])).sum())
    return f"{best(study.further)}\n\nFor this {trained} more trials were trained."


def consensus(study: Study | None) -> str:
    """The losses over all sets, by mean rank."""
    found = None if study is None else study.answers.consensus
    if found is None or found.about != NEW_TRAININGS:
        return NOT_YET
    rows = [
        (loss, number(rank, 2), number(found.best_probability[loss], 2))
        for loss, rank in zip(found.losses, found.mean_ranks, strict=True)
    ]
    return table(("loss", "mean rank", "probability of being best"), rows)


def gamma(study: Study) -> str:
    """How much γ matters."""
    rows = [
        (row.dataset, row.variant, number(row.range), f"{row.best_gamma:g}", f"{row.worst_gamma:g}",
         f"{row.farthest_gamma:g}: {signed(row.difference)} ({interval(row.low, row.high)})", row.verdict)
        for row in study.answers.stability.itertuples()
    ]  # fmt: skip
    head = ("data set", "loss", "range of mean DSC", "best γ", "worst γ", "farthest from γ = 0.5 (90% interval)",
            "within 0.01")  # fmt: skip
    return table(head, rows)


def gamma_summary(study: Study) -> str:
    """The same in a sentence."""
    found = study.answers.stability
    if found.empty:
        return NOT_YET
    verdicts = Counter(found["verdict"])
    untold = len(found) - verdicts[HOLDS] - verdicts[FAILS]
    high = int((found["worst_gamma"] >= HIGH_GAMMA).sum())
    least, most = (number(value) for value in (found["range"].min(), found["range"].max()))
    return (
        f"Of {len(found)} pairs of a unified loss and a set, every γ is within 0.01 of γ = 0.5 in {verdicts[HOLDS]}, "
        f"some γ is shown to be farther away in {verdicts[FAILS]}, and the runs are too few to tell in "
        f"{untold}. The mean DSC over γ spans {least} to "
        f"{most}; the worst γ is {HIGH_GAMMA:g} or more in {high}."
    )


def gain_table(study: Study) -> str:
    """The gain of the unified losses on each set."""
    rarest = study.shares.groupby("dataset", observed=True)["share"].mean()
    ordered = study.gains.assign(share=study.gains["dataset"].map(rarest)).sort_values(["share", "loss", "over"])
    rows = [
        (row.dataset, percent(row.share, 2), row.loss, row.over, signed(row.gain), interval(row.low, row.high),
         small(row.p_holm))
        for row in ordered.itertuples()
    ]  # fmt: skip
    return table(("data set", "foreground", "loss", "over", "gain in DSC", "95% interval", "p after Holm"), rows)


def rarity(study: Study) -> str:
    """The regression of the gain on rarity."""
    rows = [
        (row.loss, row.over, signed(row.slope), interval(row.low, row.high), small(row.p), row.sets,
         interval(row.least, row.most))
        for row in study.rarity.itertuples()
    ]  # fmt: skip
    head = ("loss", "over", "gain for each tenfold rarer foreground", "95% interval", "p", "sets", "without one set")
    return table(head, rows)


def rarity_summary(study: Study) -> str:
    """What the regression shows."""
    found = study.rarity
    if found.empty:
        return NOT_YET
    rising = found[(found["low"] > 0)]
    falling = found[(found["high"] < 0)]
    half = (found["high"] - found["low"]) / 2
    return (
        f"Of {len(found)} slopes of the gain on the rarity of the foreground, {len(rising)} are shown to rise and "
        f"{len(falling)} to fall. With {int(found['sets'].max())} sets a slope has to be beyond about "
        f"{number(half.min(), 2)} to {number(half.max(), 2)} for each tenfold rarer foreground to be told from none."
    )


def balance(study: Study) -> str:
    """Recall less precision, a row for each loss and a column for each set."""
    found = questions.balance(study.tested, study.scores, study.selection)
    wide = found.pivot(index="variant", columns="dataset", values="difference")
    rows = [(loss, *(signed(value, 2) for value in row)) for loss, row in zip(wide.index, wide.to_numpy(), strict=True)]
    return table(("recall − precision", *wide.columns), rows)


def claims(study: Study) -> str:
    """Which of the paper's claims carry over, set by set."""
    rows = []
    probabilities = {dataset: one.best_probability for dataset, one in study.rankings.items()}
    repeated = {dataset for dataset, one in study.rankings.items() if one.about == NEW_TRAININGS}
    if not repeated:
        return f"*Not tested: {NO_NEW}.*"
    asym = {dataset: probabilities[dataset][ASYM] for dataset in sorted(repeated) if ASYM in probabilities[dataset]}
    rows.append(
        ("the asymmetric unified loss is the best", sum(p > CLEAR for p in asym.values()),
         sum(p < MAY_BE_BEST for p in asym.values()), len(asym))
    )  # fmt: skip
    for loss in UNIFIED:
        for over in BASELINES:
            own = study.gains[(study.gains["loss"] == loss) & (study.gains["over"] == over)]
            own = own[own["dataset"].isin(repeated)]
            known = own["p_holm"] < questions.ALPHA
            rows.append(
                (f"{loss} is better than {over}", int((known & (own["gain"] > 0)).sum()),
                 int((known & (own["gain"] < 0)).sum()), len(own))
            )  # fmt: skip
    steady = study.answers.stability
    steady = steady[steady["dataset"].isin(repeated)]
    for loss in UNIFIED:
        verdicts = Counter(steady.loc[steady["variant"] == loss, "verdict"])
        rows.append((f"γ of {loss} is easy to set", verdicts[HOLDS], verdicts[FAILS], sum(verdicts.values())))
    shown = [(claim, holds, fails, of - holds - fails, of) for claim, holds, fails, of in rows]
    return table(("claim", "holds on", "does not hold on", "not shown on", "sets"), shown)


def power(study: Study) -> str:
    """What these runs could find, and how many find 0.01."""
    rows = [
        (one.dataset, one.label, one.design.units, one.design.runs, number(one.finds),
         "none would" if one.repeats is None else one.repeats)
        for one in study.answers.enough
    ]  # fmt: skip
    return table(("data set", "class", "units", "runs", "finds (80%)", "runs that find 0.01"), rows)


def single(study: Study) -> str:
    """What one run of each loss would have concluded."""
    if study.single_runs is None:
        return NOT_YET
    rows = [
        (row.dataset, row.best, row.runs, percent(row.other), row.named, percent(row.worse, 1), percent(row.clear, 1))
        for row in study.single_runs.itertuples()
    ]
    head = ("data set", "best over all runs", "runs", "another is named", "losses named", "and “significantly” better",
            "named “significantly” above the second")  # fmt: skip
    return table(head, rows)


def rare(study: Study) -> str:
    """Calibration and scores of lesions of the rare sets."""
    named = study.trials[study.trials["dataset"].isin(RARE)]
    if named.empty:
        return NOT_YET
    rows = at_selected_gamma(trial_scores(named, study.scores), select_gamma(named))
    wanted = [column for column in ("dsc", "lesion_f1", "lesion_detection", "ece") if column in rows]
    means = rows.groupby(["dataset", "label", "variant"], observed=True)[wanted].mean()
    body = [(*key, *(number(value) for value in row)) for key, row in zip(means.index, means.to_numpy(), strict=True)]
    highest = means["dsc"].groupby(["dataset", "label"], observed=True).max()
    missed = [f"{label} ({dataset})" for dataset, label in highest.index[highest < FOUND]]
    said = f"No loss has a mean DSC above {FOUND:g} on {listing(missed)}: these classes say little of the losses."
    return table(("data set", "class", "loss", *wanted), body) + (f"\n\n{said}" if missed else "")


def same(study: Study) -> str:
    """The A/A comparison."""
    if not study.same_loss:
        return NOT_YET
    rows = [
        (one.dataset, one.loss, one.runs, f"{percent(one.paper, 1)} of {one.pairs} pairs of seeds",
         f"{percent(one.ours, 1)} of {one.halves} halvings")
        for one in study.same_loss
    ]  # fmt: skip
    return table(("data set", "loss", "seeds", "significant by the paper's test", "by the product's"), rows)


def own_rates(study: Study) -> str:
    """How the ranking moves when each loss gets its own best rate."""
    if (found := study.own_rates) is None:
        return NOT_YET
    rows = [
        (row.dataset, number(row.tau, 2), row.first, row.first_own, row.moved, row.losses) for row in found.itertuples()
    ]
    head = ("data set", "Kendall's τ of both rankings", "first at one rate", "first at own rates", "losses that move",
            "losses")  # fmt: skip
    return table(head, rows)


def shown(study: Study) -> str:
    """The sets that enter no test."""
    named = study.trials[study.trials["dataset"].isin(questions.SHOWN_ONLY)]
    if named.empty:
        return NOT_YET
    selection = select_gamma(named)
    rows = [
        (row.variant, "" if row.gammas == 1 else f"{row.gamma:g}", number(row.test_dsc), row.repeats)
        for row in selection.sort_values("test_dsc", ascending=False).itertuples()
    ]
    return table(("loss", "γ", "mean test DSC", "runs"), rows)
