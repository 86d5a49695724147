"""The p values of all pairs of losses as one matrix per data set and class, and the critical-difference diagram."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dashboards.figures.registry import ReportFigure
from dashboards.figures.style import BLUE, GROUND, INK, MUTED, RULE, Drawing, draw, short
from dashboards.study_data import StudyData
from sweeper.analysis import Answers
from sweeper.analysis.ranks import RankSummary
from sweeper.analysis.significance import ALPHA, RANK_SUM, SIGNED_RANK
from sweeper.analysis.statistical_tests import TESTS

_STEPS = (0.001, 0.01, 0.05)
_STRENGTH = (1.0, 0.45, 0.2)


@dataclass(frozen=True, slots=True)
class Half:
    """What one half of a matrix shows: p values of pairs, in words, and in rows.

    `rows` has the columns first, second, p and difference (or an effect of the same sign).
    """

    words: str
    rows: pd.DataFrame


def p_value_matrices(dataset: str, label: str, answers: Answers, order: list[str]) -> list[Drawing]:
    """DSC, all pairs: the paper's rank-sum and the new trainings in one matrix, then one for each added test.

    Args:
        dataset: the data set.
        label: the class.
        answers: of the study.
        order: the variants, best first.
    """
    tests = answers.significance
    tests = tests[(tests["dataset"] == dataset) & (tests["label"] == label) & (tests["metric"] == "dsc")]
    tests = tests.rename(columns={"effect": "difference"})
    pairs = answers.comparisons
    pairs = pairs[(pairs["dataset"] == dataset) & (pairs["class"] == label) & (pairs["metric"] == "dsc")]
    pairs = pairs.rename(columns={"loss_a": "first", "loss_b": "second"})
    made = set(tests["test"].unique())
    added = [t for t in TESTS.values() if t.name not in (RANK_SUM, SIGNED_RANK) and t.name in made]
    below = "new trainings, Holm-corrected p" if pairs["p"].notna().any() else "nothing: one run per loss"
    first = _matrix(
        f"p-values-{dataset}-{label}",
        f"p values of all pairs, DSC, {dataset} ({label})",
        "Above the diagonal: Wilcoxon rank-sum over images only, uncorrected, as the paper tests; runs are ignored. "
        "Below: differences in new trainings, Holm-corrected over all pairs; empty where a loss has one run.",
        (dataset, label, order),
        (
            Half("images only, rank-sum, p", tests[tests["test"] == RANK_SUM]),
            Half(below, pairs.assign(p=pairs["p_holm"])),
        ),
    )
    return [first] + [
        _matrix(
            f"p-values-{t.name}-{dataset}-{label}",
            f"p values of all pairs, DSC, {t.heading}, {dataset} ({label})",
            f"{t.heading[:1].upper()}{t.heading[1:]}, over images only. Above the diagonal: uncorrected. Below: "
            "Holm-corrected over all pairs.",
            (dataset, label, order),
            (
                Half(f"{t.heading}, p", own := tests[tests["test"] == t.name]),
                Half(f"{t.heading}, Holm-corrected p", own.assign(p=own["p_holm"])),
            ),
        )
        for t in added
    ]


def _matrix(
    name: str, title: str, caption: str, data: tuple[str, str, list[str]], halves: tuple[Half, Half]
) -> Drawing:
    """One matrix; `halves` are shown above and below the diagonal."""
    dataset, label, order = data
    size = len(order)
    p, better = np.full((size, size), np.nan), np.zeros((size, size), dtype=int)
    place = {variant: i for i, variant in enumerate(order)}
    for half, above in zip(halves, (True, False), strict=True):
        for row in half.rows.to_dict("records"):
            i, j = sorted((place[row["first"]], place[row["second"]]))
            at = (i, j) if above else (j, i)
            p[at] = row["p"]
            sign = 1 if order[at[0]] == row["first"] else -1
            better[at] = sign * int(np.sign(np.nan_to_num(row["difference"])))
    cell = 0.62 if size <= 12 else 0.42

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.grid(visible=False)
        for i in range(size):
            for j in range(size):
                _cell(axes, i, j, float(p[i, j]), int(better[i, j]), small=size > 12)
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        names = [short(v) for v in order]
        axes.set_xticks(range(size), names, rotation=40, ha="left", rotation_mode="anchor")
        axes.set_yticks(range(size), names)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.set_aspect("equal")
        for spine in axes.spines.values():
            spine.set_visible(False)
        above, below = halves
        figure.supxlabel(f"above: {above.words}\nbelow: {below.words}", fontsize=8, color=MUTED)

    below = halves[1]
    pairs = below.rows[below.rows["p"] < ALPHA]
    found = "; ".join(f"{r['first']} and {r['second']}, p {r['p']:.3g}" for r in pairs.to_dict("records"))
    return draw(
        name,
        title,
        f"{caption} ▲ the row's loss scores higher, ▼ lower; shaded where p < 0.05.",
        f"Matrix of p values between {size} losses on {dataset}, class {label}. Below the diagonal: {below.words}; "
        f"below 0.05: {found or 'none'}.",
        (max(4.2, 2.0 + cell * size), max(3.6, 1.7 + cell * size)),
        paint,
        data=pd.concat([h.rows.assign(half=place) for h, place in zip(halves, ("above", "below"), strict=True)])[
            ["half", "first", "second", "difference", "p"]
        ],
        how="Losses stand in the order of their mean DSC. Each pair is tested twice: the column `half` of the CSV file "
        "says which p stands above and which below the diagonal, and `difference` which of the two scores higher (the "
        "first where it is positive; above the diagonal it is the effect of the rank test).",
    )


def critical_difference(summary: RankSummary) -> Drawing:
    """Mean ranks on a line; each bar's dots are losses that were not shown to differ (Holm).

    A bar may pass losses that have no dot on it: pairwise tests need not agree with the order of the mean ranks.
    """
    import scikit_posthocs  # here: it takes a second, and the board needs this package without it

    names = list(summary.mean_ranks)
    # By number, best first: the package keeps sets, and those of names would be drawn in another order in each process.
    ranks = pd.Series(list(summary.mean_ranks.values()))
    matrix = pd.DataFrame(summary.corrected.loc[names, names].fillna(1.0).to_numpy(float))

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.grid(visible=False)
        artists = scikit_posthocs.critical_difference_diagram(
            ranks, matrix, alpha=ALPHA, ax=axes, label_fmt_left="{label}", label_fmt_right="{label}",
            label_props={"fontsize": 9}, marker_props={"marker": "o", "s": 14, "clip_on": False},
            elbow_props={"color": INK, "linewidth": 0.8, "clip_on": False},
            crossbar_props={"color": BLUE, "linewidth": 2, "alpha": 0.8, "marker": "o", "markersize": 6},
            text_h_margin=0.2,
        )  # fmt: skip
        for text in artists["labels"]:
            place = int(text.get_text())
            name, rank = short(names[place]), f"({ranks[place]:.2f})"
            text.set_text(f"{name} {rank}  " if text.get_ha() == "right" else f"  {rank} {name}")
        axes.spines["top"].set_visible(True)
        axes.set_xlim(1, len(ranks))
        axes.set_xlabel("mean rank (1 is best)", color=MUTED)
        axes.xaxis.set_label_position("top")

    listed = ", ".join(f"{v} {r:.2f}" for v, r in summary.mean_ranks.items())
    return draw(
        f"ranks-{summary.name}".replace(" · ", "-").replace(" ", "-"),
        f"Critical differences, {summary.name}",
        "Mean rank of each loss by DSC. Of the losses with a dot on one bar no two were shown to differ "
        f"({summary.how}, Holm); a loss that a bar passes without a dot is not among them.",
        f"Critical-difference diagram of {summary.name}. Mean ranks, best first: {listed}.",
        (6.2, 1.3 + 0.22 * len(ranks)),
        paint,
        data=pd.DataFrame({"loss": names, "mean_rank": list(summary.mean_ranks.values())}),
        how=f"In each of {summary.blocks} blocks (images; over data sets, data sets) the losses are ranked by DSC, "
        "equal scores share their mean rank, and ranks are averaged. Two losses are joined where Holm's p of the pair "
        "is at least 0.05.",
    )


def _cell(axes: Axes, i: int, j: int, p: float, better: int, *, small: bool) -> None:
    if i == j:
        axes.add_patch(_square(i, j, RULE, 0.5))
        return
    strength = next((s for step, s in zip(_STEPS, _STRENGTH, strict=True) if p < step), 0.0)
    axes.add_patch(_square(i, j, BLUE, strength) if strength else _square(i, j, RULE, 0.12))
    text = "–" if np.isnan(p) else "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0") if p < 0.9995 else "1"
    sign = {1: "▲", -1: "▼", 0: ""}[better] if p < ALPHA else ""
    colour = GROUND if strength > 0.5 else INK
    axes.text(j, i, f"{text}\n{sign}" if sign else text, ha="center", va="center", color=colour,
              fontsize=5 if small else 7, linespacing=0.95)  # fmt: skip


def _square(i: int, j: int, colour: str, alpha: float) -> Rectangle:
    return Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, facecolor=colour, alpha=alpha, linewidth=0)


def _matrices(data: StudyData) -> Iterator[Drawing]:
    for dataset, label in data.places:
        order = data.ordered_variants(dataset, label)
        if len(order) > 1:
            for drawing in p_value_matrices(dataset, label, data.answers, order):
                yield replace(drawing, place=(dataset, label))


def _mean_ranks(data: StudyData) -> Iterator[Drawing]:
    for place, summary in zip(data.places, data.answers.ranks, strict=True):
        if len(data.ordered_variants(*place)) > 1 and _comparable(summary):
            yield replace(critical_difference(summary), place=place)


def _mean_ranks_across(data: StudyData) -> Iterator[Drawing]:
    if data.answers.across is not None and _comparable(data.answers.across):
        yield critical_difference(data.answers.across)


def _comparable(summary: RankSummary) -> bool:
    return summary.blocks > 1 and len(summary.mean_ranks) > 1


P_VALUES = ReportFigure("p-values", "significance", _matrices)
MEAN_RANKS = ReportFigure("mean-ranks", "significance", _mean_ranks)
MEAN_RANKS_ACROSS = ReportFigure("mean-ranks-across", "significance", _mean_ranks_across)
