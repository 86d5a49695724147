"""Every figure of a small study by the textbook's formula, written out here and not taken from the packages used."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from study_maker import paper_like

from sweeper.analysis import Answers, analyse, score_frame, trial_frame

GAMMAS = (0.1, 0.3, 0.5, 0.7)


@pytest.fixture(scope="module")
def answers() -> Answers:
    study = paper_like(images=9, gammas=GAMMAS, seed=3)
    return analyse(trial_frame(study.trials), score_frame(study.columns))


@pytest.fixture(scope="module")
def scores(answers: Answers) -> dict[str, np.ndarray]:
    """The test DSC of each loss at its γ, image by image."""
    table = answers.selected.pivot(index="case", columns="variant", values="dsc")
    return {name: table[name].to_numpy() for name in table.columns}


def ranks_of(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties shared."""
    return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])


def signed_rank(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Exact two-sided p by going through all signs, and (W⁺ − W⁻) / (W⁺ + W⁻) (Wilcoxon 1945; Kerby 2014)."""
    d = x - y
    ranks = ranks_of(np.abs(d))
    plus = ranks[d > 0].sum()
    sums = [sum(chosen) for n in range(d.size + 1) for chosen in itertools.combinations(ranks, n)]
    tail = min(np.mean([s <= plus for s in sums]), np.mean([s >= plus for s in sums]))
    return min(1.0, 2 * float(tail)), (2 * plus - ranks.sum()) / ranks.sum()


def rank_sum(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Exact two-sided p by going through all divisions of the ranks, and the share of pairs won less that lost."""
    n = x.size
    observed = ranks_of(np.concatenate([x, y]))[:n].sum()
    sums = np.array([sum(chosen) for chosen in itertools.combinations(range(1, 2 * n + 1), n)])
    tail = min((sums <= observed).mean(), (sums >= observed).mean())
    won = sum(int(a > b) - int(a < b) for a in x for b in y)
    return min(1.0, 2 * float(tail)), won / n**2


def holm(p: list[float]) -> list[float]:
    """Holm (1979): the i-th smallest of m times m − i + 1, never below the one before."""
    corrected, before = [0.0] * len(p), 0.0
    for place, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        before = corrected[index] = max(before, min(1.0, (len(p) - place) * p[index]))
    return corrected


@pytest.mark.parametrize(("name", "test"), [("signed_rank", signed_rank), ("rank_sum", rank_sum)])
def test_all_pairs(answers: Answers, scores: dict[str, np.ndarray], name: str, test: object) -> None:
    rows = answers.significance
    rows = rows[(rows["metric"] == "dsc") & (rows["test"] == name)]
    assert len(rows) == math.comb(8, 2)
    expected = [test(scores[a], scores[b]) for a, b in zip(rows["first"], rows["second"], strict=True)]  # type: ignore[operator]
    assert rows["p"].tolist() == pytest.approx([p for p, _ in expected])
    assert rows["effect"].tolist() == pytest.approx([effect for _, effect in expected])
    assert rows["p_holm"].tolist() == pytest.approx(holm([p for p, _ in expected]))
    assert (rows["family_size"] == 28).all()


def test_friedman(answers: Answers, scores: dict[str, np.ndarray]) -> None:
    """χ² = 12 / (n k (k + 1)) Σ R² − 3 n (k + 1), without ties (Friedman 1937; Demšar 2006)."""
    (summary,) = answers.ranks
    table = np.array(list(scores.values())).T
    n, k = table.shape
    ranks = np.array([ranks_of(-row) for row in table])
    statistic = 12 / (n * k * (k + 1)) * (ranks.sum(axis=0) ** 2).sum() - 3 * n * (k + 1)
    assert summary.statistic == pytest.approx(statistic)
    assert summary.mean_ranks == pytest.approx(dict(zip(scores, ranks.mean(axis=0), strict=True)))


@pytest.mark.parametrize("name", ["signed_rank", "rank_sum"])
def test_estimate_and_interval_of_the_difference(answers: Answers, scores: dict[str, np.ndarray], name: str) -> None:
    """The median of the candidates (Hodges and Lehmann 1963), and those that the printed tables of both tests cut off:
    for nine pairs W ≤ 5, for nine against nine images U ≤ 17 (two-sided, 0.05)."""
    rows = answers.significance
    for row in rows[(rows["metric"] == "dsc") & (rows["test"] == name)].to_dict("records"):
        x, y = scores[row["first"]], scores[row["second"]]
        if name == "signed_rank":
            candidates = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(x - y, 2))
        else:
            candidates = sorted(a - b for a in x for b in y)
        cut = {"signed_rank": 5, "rank_sum": 17}[name]
        assert row["median_difference"] == pytest.approx(np.median(candidates))
        assert (row["low"], row["high"]) == pytest.approx((candidates[cut], candidates[-1 - cut]))
        assert row["estimate"].startswith("Hodges–Lehmann")


def test_stability(answers: Answers, scores: dict[str, np.ndarray]) -> None:
    selection = answers.selection.set_index("variant")
    baseline = selection[~selection.index.str.startswith("unified")]["val_dsc"].idxmax()
    for row in answers.stability.to_dict("records"):
        own = answers.images[answers.images["variant"] == row["variant"]]
        at = {g: own[own["gamma"] == g].sort_values("case")["dsc"].to_numpy() for g in GAMMAS}
        means, gammas = np.array([at[g].mean() for g in GAMMAS]), np.array(GAMMAS)
        centred = gammas - gammas.mean()
        assert row["range"] == pytest.approx(means.max() - means.min())
        assert row["sd"] == pytest.approx(math.sqrt(((means - means.mean()) ** 2).sum() / (len(GAMMAS) - 1)))
        assert row["slope"] == pytest.approx((centred * means).sum() / (centred**2).sum())
        assert row["baseline"] == baseline
        above = means > scores[baseline].mean()
        tests = [signed_rank(at[g], scores[baseline]) for g in GAMMAS]
        agrees = [p < 0.05 and effect > 0 for p, (_, effect) in zip(holm([p for p, _ in tests]), tests, strict=True)]
        assert row["share_above_baseline"] == above.mean()
        assert row["share_significantly_above"] == (above & agrees).mean()
        best = GAMMAS[int(means.argmax())]
        others = [g for g in GAMMAS if g != 0.5]
        corrected = dict(zip(others, holm([signed_rank(at[g], at[0.5])[0] for g in others]), strict=True))
        assert row["p_best_vs_recommended"] == pytest.approx(corrected.get(best, 1.0))
